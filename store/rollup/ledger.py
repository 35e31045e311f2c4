"""What is due and what is done: cityfleet.rollup_changes against cityfleet.rollup_done."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from store.migrate import Ask
from store.rollup.step import BLOCK_DEVICES, READINGS, READINGS_BUCKET_S, Step, floor, floor_sql
from store.rollup.window import Cell

# Cells a look brings at most, the newest first, which takes some 60 MB; the rest comes with the next.
CELLS = 400_000
# Of so many buckets a look at one step takes the changes one by one; of more it goes through all.
_BUCKETS = 2_000
# So many buckets of all steps one look takes together: its statement names each three times, and 256 KiB is the most.
_BUCKETS_TOGETHER = 1_500
_VALUES = 50_000
# What changed while or just before the step began may not have been seen by it.
_IS_DUE = "(c.rows != d.done_rows OR c.changed > d.computed - {settle:Int64})"
_TAKEN_UP = f"{_IS_DUE} AND (d.computed = 0 OR d.computed <= {{again:Int64}})"
# A window whose changes do not settle waits at most so long.
_WAITS_S = 600


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


def due(ask: Ask, step: Step, clock: Clock, since_ms: int | None) -> list[Cell]:
    """Closed cells of which something changed since they were computed, the newest first.

    Args:
        since_ms: look only at those that became due since then, by their last change or as they ended; None: at all.
    """
    of_source, of_step = _buckets(ask, step, clock, since_ms)
    answer = ask(
        f"SELECT c.bucket, c.block, c.rows, d.computed > 0 FROM ({_changes(step, of_source, of_step)}) AS c "
        f"LEFT JOIN ({_done(step, of_step)}) AS d USING (bucket, block) WHERE {_TAKEN_UP} "
        f"AND c.bucket <= {{ended:Int64}} - {step.bucket_s} "
        f"AND (c.changed <= {{settled:Int64}} OR c.bucket <= {{ended:Int64}} - {step.bucket_s + _WAITS_S}) "
        f"ORDER BY c.bucket DESC, c.block LIMIT {CELLS}",
        _times(clock),
    )
    rows = [line.split("\t") for line in answer.splitlines()]
    return [Cell(int(bucket), int(block), int(count), redone == "1") for bucket, block, count, redone in rows]


def due_of_all(ask: Ask, steps: Sequence[Step], clock: Clock, since_ms: int | None) -> dict[str, list[Cell]]:
    """The same of all steps at one look, by name; without those of which so much has changed that `due` is to tell."""
    noted = _noted(ask, steps, clock, since_ms, _BUCKETS_TOGETHER)
    altered = {step.name: found for step in steps if (found := _altered_of(step, noted)) is not None}
    cells: dict[str, list[Cell]] = {}
    room = _BUCKETS_TOGETHER
    for name, found in sorted(altered.items(), key=lambda item: len(item[1])):
        room -= len(found)
        if room >= 0:
            cells[name] = []
    of_steps = {name: altered[name] for name in cells if altered[name]}
    asked = [step for step in steps if step.name in of_steps]
    if not asked:
        return cells
    of_source = set[int]().union(*(_read_for(step, of_steps[step.name]) for step in asked))
    own = ", ".join(f"('{name}', {bucket})" for name, buckets in of_steps.items() for bucket in sorted(buckets))
    parts = [
        "SELECT toString(source) AS step, toInt64(toUnixTimestamp(bucket)) AS at, block, rows, changed_at "
        f"FROM cityfleet.rollup_changes WHERE (source, bucket) IN ({own})"
    ]
    shapes: dict[tuple[int, int, int], list[str]] = {}
    for step in asked:
        if step.reads_readings:
            shapes.setdefault((step.bucket_s, step.reach_s, step.reach_back_s), []).append(step.name)
    for (bucket_s, reach_s, reach_back_s), names in shapes.items():
        at = _at_of_reading(bucket_s, reach_s, reach_back_s)
        parts.append(
            f"SELECT arrayJoin({names}) AS step, {at} AS at, block, rows, changed_at FROM "
            "(SELECT toInt64(toUnixTimestamp(bucket)) AS source_at, block, rows, changed_at "
            f"FROM cityfleet.rollup_changes WHERE source = 'readings'{_among(of_source)})"
        )
    # What a reading's bucket reaches beyond those that changed is not counted in full, so it is left out.
    changes = (
        "SELECT step, at AS bucket, block, sum(rows) AS rows, toUnixTimestamp64Milli(max(changed_at)) AS changed "
        f"FROM ({' UNION ALL '.join(parts)}) WHERE (step, at) IN ({own}) GROUP BY step, bucket, block"
    )
    done = (
        "SELECT toString(rollup_done.step) AS step, toInt64(toUnixTimestamp(rollup_done.bucket)) AS bucket, block, "
        "argMax(rows, computed_at) AS done_rows, toUnixTimestamp64Milli(max(computed_at)) AS computed "
        f"FROM cityfleet.rollup_done WHERE (rollup_done.step, rollup_done.bucket) IN ({own}) "
        "GROUP BY step, bucket, block"
    )
    lengths = f"transform(c.step, {[one.name for one in asked]}, {[one.bucket_s for one in asked]}, 0)"
    answer = ask(
        f"SELECT c.step, c.bucket, c.block, c.rows, d.computed > 0 FROM ({changes}) AS c LEFT JOIN ({done}) AS d "
        f"USING (step, bucket, block) WHERE {_TAKEN_UP} AND c.bucket <= {{ended:Int64}} - {lengths} "
        f"AND (c.changed <= {{settled:Int64}} OR c.bucket <= {{ended:Int64}} - {lengths} - {_WAITS_S}) "
        f"ORDER BY c.step, c.bucket DESC, c.block LIMIT {CELLS} BY c.step",
        _times(clock),
    )
    for line in answer.splitlines():
        name, bucket, block, count, redone = line.split("\t")
        cells[name].append(Cell(int(bucket), int(block), int(count), redone == "1"))
    return cells


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


def note_changes(ask: Ask, cells: Mapping[str, Iterable[tuple[int, int]]], settled_s: float = 0.0) -> None:
    """Make these cells (bucket, block) of steps, by name, due.

    Args:
        settled_s: what changed is seen by every query that begins from now on, so it counts as so old.
    """
    if not any(cells.values()):
        return
    now = ask(f"SELECT now64(3, 'UTC') - toIntervalMillisecond({max(0, round(settled_s * 1000) - 1)})")
    _insert(
        ask,
        "rollup_changes (source, bucket, block, rows, changed_at)",
        [
            f"('{step}', '{at}', {block}, 1, '{now}')"
            for step, found in cells.items()
            for at, block in _written(sorted(found))
        ],
    )


def adopt(ask: Ask, asked: Sequence[Step], steps: Sequence[Step]) -> None:
    """Of those `asked` that nothing was ever noted for: make due what follows from all that their sources have done."""
    known = set(ask("SELECT DISTINCT source FROM cityfleet.rollup_changes").splitlines())
    if not known:
        return
    done = set(ask("SELECT DISTINCT step FROM cityfleet.rollup_done").splitlines())
    for step in asked:
        if not step.reads_readings and step.name not in known:
            for source in steps:
                if source.target in step.sources and source.name in done:
                    _adopt(ask, step, source)


def _adopt(ask: Ask, step: Step, source: Step) -> None:
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
    done = list(cells)
    at = datetime.fromtimestamp(computed_ms / 1000, UTC).strftime(f"%Y-%m-%d %H:%M:%S.{computed_ms % 1000:03d}")
    written = _written([(cell.bucket, cell.block) for cell in done])
    _insert(
        ask,
        "rollup_done (step, bucket, block, rows, computed_at)",
        [
            f"('{step.name}', '{bucket}', {block}, {cell.rows}, '{at}')"
            for cell, (bucket, block) in zip(done, written, strict=True)
        ],
    )


def newest_done_ms(ask: Ask, names: Sequence[str]) -> int:
    """When the newest window of these steps that is done was computed: the version of its rows. 0: none is."""
    listed = ", ".join(f"'{name}'" for name in names)
    return int(
        ask(f"SELECT toUnixTimestamp64Milli(max(computed_at)) FROM cityfleet.rollup_done WHERE step IN ({listed})")
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


def _insert(ask: Ask, into: str, values: Sequence[str]) -> None:
    # As data, which is read many times faster than a list in an expression.
    for at in range(0, len(values), _VALUES):
        rows = ", ".join(values[at : at + _VALUES])
        ask(f"INSERT INTO cityfleet.{into} SETTINGS insert_deduplicate = 0 VALUES {rows}")


def _written(cells: Sequence[tuple[int, int]]) -> list[tuple[str, int]]:
    """Cells with their bucket as text."""
    texts = {
        bucket: datetime.fromtimestamp(bucket, UTC).strftime("%Y-%m-%d %H:%M:%S") for bucket in {at for at, _ in cells}
    }
    return [(texts[bucket], block) for bucket, block in cells]


def _buckets(ask: Ask, step: Step, clock: Clock, since_ms: int | None) -> tuple[set[int] | None, set[int] | None]:
    """Of what may have become due since then: buckets of readings to be counted, and those of the step. None: all."""
    if since_ms is None:
        return None, None
    of_step = _altered_of(step, _noted(ask, [step], clock, since_ms, _BUCKETS))
    return (None, None) if of_step is None else (_read_for(step, of_step), of_step)


def _noted(
    ask: Ask, steps: Sequence[Step], clock: Clock, since_ms: int | None, most: int
) -> dict[str, set[int] | None]:
    """Buckets by source from which something may have become due since then; None: more than `most`."""
    lengths: dict[int, list[Step]] = {}
    for step in steps:
        lengths.setdefault(step.bucket_s, []).append(step)
    since = []
    for bucket_s, some in lengths.items():
        lately = ""
        if since_ms is not None:
            # What changed before its bucket had ended became due at the end.
            reach_s = max((step.reach_s + READINGS_BUCKET_S for step in some if step.reads_readings), default=0)
            ended_s = since_ms // 1000 - int(clock.grace_s) - bucket_s - reach_s - 1
            lately = (
                f" AND (changed_at >= fromUnixTimestamp64Milli({since_ms}) "
                f"OR bucket >= fromUnixTimestamp({max(ended_s, 0)}))"
            )
        since.append(f"source IN ({_sources(some)}){lately}")
    if not since:
        return {}
    answer = ask(
        f"SELECT source, arrayStringConcat(groupUniqArray({most + 1})(toUnixTimestamp(bucket)), ' ') "
        f"FROM cityfleet.rollup_changes WHERE {' OR '.join(since)} GROUP BY source"
    )
    found: dict[str, set[int] | None] = {}
    for line in answer.splitlines():
        source, listed = line.split("\t")
        buckets = set(map(int, listed.split(" ")))
        found[source] = buckets if len(buckets) <= most else None
    return found


def _altered_of(step: Step, noted: Mapping[str, set[int] | None]) -> set[int] | None:
    """Buckets of the step that follow from what was noted; None: that is too many."""
    own, of_readings = noted.get(step.name, set()), noted.get("readings", set()) if step.reads_readings else set()
    if own is None or of_readings is None:
        return None
    return own.union(*(cells_of(step, bucket, READINGS_BUCKET_S) for bucket in of_readings))


def _read_for(step: Step, of_step: set[int]) -> set[int]:
    """Buckets of readings from which these of the step are made."""
    found: set[int] = set()
    if step.reads_readings:
        for bucket_s in of_step:
            first = floor(bucket_s - step.reach_s, READINGS_BUCKET_S)
            found.update(range(first, bucket_s + step.bucket_s + step.reach_back_s, READINGS_BUCKET_S))
    return found


def _sources(steps: Sequence[Step]) -> str:
    names = [step.name for step in steps] + (["readings"] if any(step.reads_readings for step in steps) else [])
    return ", ".join(f"'{name}'" for name in names)


def _times(clock: Clock) -> dict[str, str]:
    return {
        "ended": str(int(clock.now_ms // 1000 - clock.grace_s)),
        "settle": str(int(clock.settle_s * 1000)),
        "settled": str(int(clock.now_ms - clock.settle_s * 1000)),
        "again": str(int(clock.now_ms - clock.late_s * 1000)),
    }


def _at_of_reading(bucket_s: int, reach_s: int, reach_back_s: int) -> str:
    """Buckets, in SQL, that the ten minutes `source_at` of readings alter; one row each."""
    if bucket_s == READINGS_BUCKET_S and reach_s == reach_back_s == 0:
        return "source_at"
    first = floor_sql(f"source_at - {reach_back_s}", bucket_s)
    last = floor_sql(f"source_at + {READINGS_BUCKET_S - 1 + reach_s}", bucket_s)
    return f"arrayJoin(range(toInt64({first}), toInt64({last}) + 1, {bucket_s}))"


def _changes(step: Step, of_source: set[int] | None, of_step: set[int] | None) -> str:
    """Of each cell of the step: rows of all that it is made from, and when the last of them changed."""
    parts = [
        "SELECT toInt64(toUnixTimestamp(bucket)) AS at, block, rows, changed_at FROM cityfleet.rollup_changes "
        f"WHERE source = '{step.name}'{_among(of_step)}"
    ]
    if step.reads_readings:
        at = _at_of_reading(step.bucket_s, step.reach_s, step.reach_back_s)
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
