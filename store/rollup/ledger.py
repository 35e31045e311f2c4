"""What is due and what is done: cityfleet.rollup_changes against cityfleet.rollup_done."""

from collections.abc import Iterable, Sequence

import msgspec

from store.migrate import Ask
from store.rollup.step import BLOCK_DEVICES, READINGS, READINGS_BUCKET_S, Step, floor, floor_sql
from store.rollup.window import Cell

# Cells a look brings at most, the newest first; the rest comes with the next.
CELLS = 50_000
# Of so many buckets a look takes the changes one by one; of more it goes through all.
_BUCKETS = 2_000
# A statement with more values would be slow to parse.
_VALUES = 5_000
# What changed while or just before the step began may not have been seen by it.
_IS_DUE = "(c.rows != d.done_rows OR c.changed > d.computed - {settle:Int64})"


class Clock(msgspec.Struct, frozen=True):
    """When a window is taken up. `now_ms` is the store's clock.

    Attributes:
        grace_s: a window is closed so long after its end.
        settle_s: a change younger than this may not be seen by every query yet: its window waits, at most ten minutes.
        late_s: a window that was computed is not computed again before so long.
    """

    now_ms: int
    grace_s: float
    settle_s: float
    late_s: float = 0.0


def due(ask: Ask, step: Step, clock: Clock, since_ms: int) -> list[Cell]:
    """Closed cells of which something changed since they were computed, the newest first.

    Args:
        since_ms: look only at those of which something changed since then; 0: at all.
    """
    now_s = clock.now_ms // 1000
    closed = int(now_s - clock.grace_s - step.bucket_s)
    of_source, of_step = _buckets(ask, step, since_ms)
    sql = (
        f"SELECT c.bucket, c.block, c.rows, d.computed > 0 FROM ({_changes(step, of_source, of_step)}) AS c "
        f"LEFT JOIN ({_done(step, of_step)}) AS d USING (bucket, block) WHERE {_IS_DUE} "
        "AND c.bucket <= {closed:Int64} "
        "AND (c.changed <= {settled:Int64} OR c.bucket <= {waited:Int64}) "
        "AND (d.computed = 0 OR d.computed <= {again:Int64}) "
        f"ORDER BY c.bucket DESC, c.block LIMIT {CELLS}"
    )
    answer = ask(
        sql,
        {
            "closed": str(closed),
            "waited": str(closed - 600),
            "settle": str(int(clock.settle_s * 1000)),
            "settled": str(int(clock.now_ms - clock.settle_s * 1000)),
            "again": str(int(clock.now_ms - clock.late_s * 1000)),
        },
    )
    rows = [line.split("\t") for line in answer.splitlines()]
    return [Cell(int(bucket), int(block), int(count), redone == "1") for bucket, block, count, redone in rows]


class Progress(msgspec.Struct, frozen=True):
    """Cells of a step: up to date, due (open ones too), and where the oldest due and the newest done begin; 0: none."""

    done: int
    due: int
    oldest_due_s: int
    newest_done_s: int


def progress(ask: Ask, step: Step) -> Progress:
    answer = ask(
        "SELECT countIf(NOT is_due), countIf(is_due), minIf(bucket, is_due), maxIf(bucket, NOT is_due) FROM "
        f"(SELECT c.bucket AS bucket, {_IS_DUE} AS is_due FROM ({_changes(step, None, None)}) AS c "
        f"LEFT JOIN ({_done(step, None)}) AS d USING (bucket, block))",
        {"settle": "0"},
    )
    return Progress(*map(int, answer.split("\t")))


def is_due(ask: Ask, step: Step, start_s: int, end_s: int) -> bool:
    """Whether a window that has ended is due in this time."""
    answer = ask(
        f"SELECT count() FROM ({_changes(step, None, None)}) AS c LEFT JOIN ({_done(step, None)}) AS d "
        f"USING (bucket, block) WHERE {_IS_DUE} AND c.bucket >= {{start:Int64}} AND c.bucket < {{end:Int64}} "
        f"AND c.bucket + {step.bucket_s} <= toUnixTimestamp(now())",
        {"settle": "0", "start": str(step.floor(start_s)), "end": str(end_s)},
    )
    return answer != "0"


def note_changes(ask: Ask, step: Step, cells: Iterable[tuple[int, int]]) -> None:
    """Make these cells (bucket, block) of a step due."""
    _insert(
        ask,
        "INSERT INTO cityfleet.rollup_changes (source, bucket, block, rows, changed_at) "
        f"SELECT '{step.name}', toDateTime(cell.1, 'UTC'), cell.2, 1, now64(3, 'UTC') FROM ",
        [f"({bucket}, {block})" for bucket, block in sorted(cells)],
    )


def adopt(ask: Ask, step: Step, steps: Sequence[Step]) -> None:
    """Of a step that nothing was ever noted for: make due what follows from all that its sources have done."""
    if step.reads_readings:
        return
    known = ask(f"SELECT count() FROM cityfleet.rollup_changes WHERE source = '{step.name}'")
    if known != "0":
        return
    for source in steps:
        if source.target not in step.sources:
            continue
        first = floor_sql(f"at - {step.reach_back_s}", step.bucket_s)
        last = floor_sql(f"at + {source.bucket_s - 1 + step.reach_s}", step.bucket_s)
        buckets = f"arrayJoin(range(toInt64({first}), toInt64({last}) + 1, {step.bucket_s}))"
        ask(
            "INSERT INTO cityfleet.rollup_changes (source, bucket, block, rows, changed_at) SELECT DISTINCT "
            f"'{step.name}', toDateTime({buckets}, 'UTC'), "
            f"{'block' if step.by_devices else '0'}, 1, now64(3, 'UTC') FROM "
            "(SELECT toInt64(toUnixTimestamp(bucket)) AS at, block FROM cityfleet.rollup_done "
            f"WHERE step = '{source.name}') SETTINGS insert_deduplicate = 0"
        )


def note_done(ask: Ask, step: Step, cells: Iterable[Cell], computed_ms: int) -> None:
    _insert(
        ask,
        "INSERT INTO cityfleet.rollup_done (step, bucket, block, rows, computed_at) SELECT "
        f"'{step.name}', toDateTime(cell.1, 'UTC'), cell.2, cell.3, fromUnixTimestamp64Milli({computed_ms}, 'UTC') "
        "FROM ",
        [f"({cell.bucket}, {cell.block}, {cell.rows})" for cell in cells],
    )


def note_span(ask: Ask, step: Step, start_s: int, end_s: int, steps: Sequence[Step]) -> int:
    """Make all cells of a step from the bucket of `start_s` to that before `end_s` due; returns how many.

    They are those of which its sources, or its own target, have rows.
    """
    tables = [(READINGS, "ts", True)] if step.reads_readings else []
    tables += [(other.target, other.time, other.by_devices) for other in steps if other.target in step.sources]
    if not step.deletes_itself:
        tables.append((step.target, step.time, step.by_devices))
    parts = []
    for table, time_column, by_devices in tables:
        at = floor_sql(f"toInt64(toUnixTimestamp(`{time_column}`))", step.bucket_s)
        block = f"intDiv(device_num, {BLOCK_DEVICES})" if by_devices and step.by_devices else "0"
        parts.append(
            f"SELECT DISTINCT {at} AS at, toUInt32({block}) AS block FROM {table} WHERE `{time_column}` >= "
            f"fromUnixTimestamp({{start:Int64}}) AND `{time_column}` < fromUnixTimestamp({{end:Int64}})"
        )
    span = {"start": str(step.floor(start_s)), "end": str(step.floor(end_s - 1) + step.bucket_s)}
    cells = " UNION DISTINCT ".join(parts)
    count = int(ask(f"SELECT count() FROM ({cells})", span))
    ask(
        "INSERT INTO cityfleet.rollup_changes (source, bucket, block, rows, changed_at) SELECT "
        f"'{step.name}', toDateTime(at, 'UTC'), block, 1, now64(3, 'UTC') FROM ({cells}) "
        "SETTINGS insert_deduplicate = 0",
        span,
    )
    return count


def cells_of(step: Step, at_s: int, length_s: int) -> range:
    """Buckets of the step that a change in [at_s, at_s + length_s) alters."""
    first = step.floor(at_s - step.reach_back_s)
    # A change within a bucket reaches on from its last instant; one at its very end does not touch the next.
    last = step.floor(at_s + length_s - 1 + step.reach_s)
    return range(first, last + 1, step.bucket_s)


def _insert(ask: Ask, head: str, values: list[str]) -> None:
    for at in range(0, len(values), _VALUES):
        array = ", ".join(values[at : at + _VALUES])
        ask(f"{head}(SELECT arrayJoin([{array}]) AS cell) SETTINGS insert_deduplicate = 0")


def _buckets(ask: Ask, step: Step, since_ms: int) -> tuple[set[int] | None, set[int] | None]:
    """Of what changed since then: the buckets of the readings to be counted, and those of the step. None: all."""
    if since_ms <= 0:
        return None, None
    answer = ask(
        "SELECT DISTINCT source = 'readings', toUnixTimestamp(bucket) FROM cityfleet.rollup_changes "
        f"WHERE source IN ({_sources(step)}) AND changed_at >= fromUnixTimestamp64Milli({{since:Int64}}) "
        f"LIMIT {_BUCKETS + 1}",
        {"since": str(since_ms)},
    )
    rows = [line.split("\t") for line in answer.splitlines()]
    if len(rows) > _BUCKETS:
        return None, None
    of_step = {int(bucket) for is_reading, bucket in rows if is_reading == "0"}
    for is_reading, bucket in rows:
        if is_reading == "1":
            of_step.update(cells_of(step, int(bucket), READINGS_BUCKET_S))
    of_source: set[int] = set()
    if step.reads_readings:
        for bucket_s in of_step:
            first = floor(bucket_s - step.reach_s, READINGS_BUCKET_S)
            of_source.update(range(first, bucket_s + step.bucket_s + step.reach_back_s, READINGS_BUCKET_S))
    return of_source, of_step


def _sources(step: Step) -> str:
    return f"'{step.name}'" + (", 'readings'" if step.reads_readings else "")


def _changes(step: Step, of_source: set[int] | None, of_step: set[int] | None) -> str:
    """Of each cell of the step: rows of all that it is made from, and when the last of them changed."""
    parts = [
        "SELECT toInt64(toUnixTimestamp(bucket)) AS at, block, rows, changed_at FROM cityfleet.rollup_changes "
        f"WHERE source = '{step.name}'{_among(of_step)}"
    ]
    if step.reads_readings:
        first = floor_sql(f"source_at - {step.reach_back_s}", step.bucket_s)
        last = floor_sql(f"source_at + {READINGS_BUCKET_S - 1 + step.reach_s}", step.bucket_s)
        at = f"arrayJoin(range(toInt64({first}), toInt64({last}) + 1, {step.bucket_s}))"
        if step.bucket_s == READINGS_BUCKET_S and step.reach_s == step.reach_back_s == 0:
            at = "source_at"
        parts.append(
            f"SELECT {at} AS at, block, rows, changed_at FROM (SELECT toInt64(toUnixTimestamp(bucket)) AS source_at, "
            f"block, rows, changed_at FROM cityfleet.rollup_changes WHERE source = 'readings'{_among(of_source)})"
        )
    return (
        "SELECT at AS bucket, block, sum(rows) AS rows, toUnixTimestamp64Milli(max(changed_at)) AS changed "
        f"FROM ({' UNION ALL '.join(parts)}) GROUP BY bucket, block"
    )


def _done(step: Step, of_step: set[int] | None) -> str:
    return (
        "SELECT toInt64(toUnixTimestamp(bucket)) AS bucket, block, argMax(rows, computed_at) AS done_rows, "
        "toUnixTimestamp64Milli(max(computed_at)) AS computed FROM cityfleet.rollup_done "
        f"WHERE step = '{step.name}'{_among(of_step, 'rollup_done.')} GROUP BY bucket, block"
    )


def _among(buckets: set[int] | None, table: str = "") -> str:
    if buckets is None:
        return ""
    return f" AND {table}bucket IN ({', '.join(map(str, sorted(buckets)))})" if buckets else " AND 0"
