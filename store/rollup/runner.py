"""Runs steps: finds their due windows, computes each by one INSERT SELECT, and makes due what follows from it.

Everything may break off at any time and be done again: a window's rows carry the time of the run as their version, so a
repeated run replaces them. What follows from a window is made due before it is noted as done.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import combinations

import msgspec
import structlog

from store.migrate import Ask
from store.rollup import ledger, metrics
from store.rollup.ledger import Clock
from store.rollup.step import BLOCK_DEVICES, Step, floor_sql
from store.rollup.window import Cell, Window, windows

log = structlog.get_logger()
# Buckets are computed together while their rows are about so many.
_ROWS = 4_000_000
# A repeated window must not be taken for a repeated insert; windows of a backfill touch many partitions.
_SETTINGS = {
    "insert_deduplicate": 0,
    "max_partitions_per_insert_block": 0,
    "throw_on_max_partitions_per_insert_block": 0,
    "do_not_merge_across_partitions_select_final": 1,
    # A late reading's window is a few rows of large parts.
    "optimize_move_to_prewhere_if_final": 1,
    "join_use_nulls": 0,
    # Whoever asks goes before. The embedded store sets it for all that a pass runs.
    "os_thread_priority": 10,
    # The same few statements over many rows, for which nobody waits.
    "compile_expressions": 1,
    "compile_aggregate_expressions": 1,
}
# A change may come into sight so long after its time; what comes later waits until all is looked at.
_SEEN_MS = 300_000
# The same where other processes write.
_SEEN_AFAR_MS = 900_000
_FULL_EVERY_S = 3600.0
_FAILED_AGAIN_S = 300.0
_LIVE_EVERY_S = 60.0
# So long one step has its turn in a pass.
_TURN_S = 60.0
# While what it follows from has a backlog, a step does no more than so much besides its own bucket.
_NEW_S = 3 * 3600
# Cells computed at once by a step that is not on readings, at first: then four times as many while that is short work,
# half when it was long.
_BUCKETS_AT_ONCE = 36
_SHORT_S = 2.0
_LONG_S = 15.0
# Windows at once are for a backlog: of more buckets than these, over more time. What is new comes one after the other.
_BACKLOG_BUCKETS = 3
_BACKLOG_S = 3 * 3600
_AROUND_S = 7 * 86_400
_ALL_BLOCKS = 1 << 24


class StepFailedError(Exception):
    """A step broke off in a pass; the others went on. Its windows stay due: it is tried again."""


class Ran(msgspec.Struct):
    """What a pass did."""

    windows: int = 0
    cells: int = 0


class Runner:
    """Blocks. Two at a time for one store do no harm, but the work twice.

    Args:
        ask: runs a statement as who may do everything; called by as many threads at once as there are `abreast`.
        grace_s, settle_s, late_s: see `Clock`.
        threads: of one query.
        abreast: windows of a backlog that are computed at once, 1 or 2, of steps where none depends on another.
        readings_kept_s: readings older than this may be gone, so windows of before stay as they are. 0: all are kept.
        is_alone: what was inserted is seen by every query that begins after it, as in one process. Then what follows
            from a window is computed once, else again when that has settled.
        is_stopping: asked between two windows.
    """

    def __init__(
        self,
        ask: Ask,
        steps: Sequence[Step],
        *,
        grace_s: float = 45.0,
        settle_s: float = 20.0,
        late_s: float = 0.0,
        threads: int = 1,
        abreast: int = 1,
        readings_kept_s: int = 0,
        is_alone: bool = False,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ask = ask
        self._steps = steps
        self._grace_s = grace_s
        self._settle_s = settle_s
        self._late_s = late_s
        self._abreast = abreast
        self._readings_kept_s = readings_kept_s
        self._settled_s = settle_s if is_alone else 0.0
        # What waits for one of these becomes due when they are over.
        self._back_ms = int((settle_s + late_s) * 1000) + (_SEEN_MS if is_alone else _SEEN_AFAR_MS)
        self._is_stopping = is_stopping
        self._settings = ", ".join(f"{name} = {value}" for name, value in {**_SETTINGS, "max_threads": threads}.items())
        self._columns: dict[str, list[str]] = {}
        self._version = 0
        self._version_lock = threading.Lock()
        self._full_at_s = float("-inf")
        self._looked_ms = 0
        self._live_at_s = float("-inf")
        self._numbers: dict[str, int] = {}
        self._noted: set[str] = set()
        self._told: set[str] = set()
        self._at_once: dict[str, int] = {}
        self._failed: StepFailedError | None = None

    def run(self) -> Ran:
        """One pass over all steps: every closed window that is due, the newest first; the open ones once a minute.

        Raises: StepFailedError of the first step that broke off, when the others are done; what `ask` does if the store
            answers nothing at all. What is done stays done.
        """
        ran = Ran()
        self._failed = None
        began_s = time.monotonic()
        # Now and then all is looked at, should something have been noted late.
        is_full = began_s - self._full_at_s >= _FULL_EVERY_S
        behind, is_backlog = set[str](), False
        self._learn_metrics()
        self._noted.clear()
        asked = [step for step in self._steps if not step.metrics or self._metric_nums(step.metrics)]
        if is_full:
            ledger.adopt(self._ask, asked, self._steps)
        for step in asked:
            self._tell_rest(step)
        clock = self._clock(self._now_ms())
        # The clock may have been set back.
        since_ms = None if is_full else min(self._looked_ms, clock.now_ms) - self._back_ms
        found = ledger.due_of_all(self._ask, asked, clock, since_ms)
        for step in asked:
            numbers = self._metric_nums(step.metrics)
            # What a step before it has just made due was not seen by the look at all.
            cells = None if step.name in self._noted else found.get(step.name)
            is_behind = any(source in behind for source in step.sources)
            try:
                is_all = self._run_due(step, numbers, ran, cells, since_ms=since_ms, is_behind=is_behind)
                is_backlog = is_backlog or not is_all
            except Exception as exc:
                self._note_failure(step, exc)
                is_all = False
            if not is_all:
                behind.add(step.target)
        self._looked_ms = clock.now_ms
        if is_full:
            self._full_at_s = began_s
        if is_backlog:
            self._full_at_s = float("-inf")
        self._live_if_due()
        if self._failed is not None:
            # What it left due may be older than what a usual look sees.
            self._full_at_s = min(self._full_at_s, began_s - _FULL_EVERY_S + _FAILED_AGAIN_S)
            raise self._failed
        return ran

    def _note_failure(self, step: Step, failure: Exception) -> None:
        """One step that cannot be computed must not stop those that can. Raises if the store answers nothing."""
        self._now_ms()
        self._told.discard(step.name)
        reason = (str(failure).strip() or type(failure).__name__).splitlines()[0]
        if self._failed is None:
            self._failed = StepFailedError(f"{step.name}: {reason}")
            self._failed.__cause__ = failure

    def _live_if_due(self) -> None:
        now_s = time.monotonic()
        if now_s - self._live_at_s >= _LIVE_EVERY_S:
            self._live_at_s = now_s
            self._run_live()

    def _run_live(self) -> None:
        """The open buckets of the steps that want them. A step that breaks off is noted for the pass."""
        self._learn_metrics()
        for step in self._steps:
            names = step.live_metrics or step.metrics
            numbers = self._metric_nums(names)
            if not step.is_live or self._is_stopping() or (names and not numbers):
                continue
            now_s = self._now_ms() // 1000
            start = step.floor(now_s - int(self._grace_s))
            window = _all(start, step.floor(now_s) + step.bucket_s)
            try:
                version = self._compute(step, window, numbers, may_have_rows=True)
                # What this changed of before, the window will not find to change when it is closed.
                if step.is_sparse:
                    self._tell(step, self._written(step, version, window))
                elif step.deletes_itself:
                    self._tell(step, self._written(step, version, only_deleted=True))
            except Exception as exc:
                self._note_failure(step, exc)

    def compute(self, step: Step, start_s: int, end_s: int) -> None:
        """One window of a step by whole buckets, whether it is due or not. It stays due if it was."""
        self._learn_metrics()
        window = _all(step.floor(start_s), step.floor(end_s - 1) + step.bucket_s)
        self._compute(step, window, self._metric_nums(step.metrics), may_have_rows=True)

    def _clock(self, now_ms: int) -> Clock:
        return Clock(now_ms, self._grace_s, self._settle_s, self._late_s)

    def _run_due(
        self,
        step: Step,
        numbers: list[int],
        ran: Ran,
        cells: list[Cell] | None,
        *,
        since_ms: int | None,
        is_behind: bool,
    ) -> bool:
        """False if more is left to the next pass: a backlog of one step must not hold up what is new in the others.

        Args:
            cells: that are due; None: not known.
            is_behind: a step that this one follows from has a backlog: what is old would be computed again and again.
        """
        if cells is None:
            cells = ledger.due(self._ask, step, self._clock(self._now_ms()), since_ms)
        metrics.due.labels(step.name).set(len(cells))
        kept = cells
        if cells and self._readings_kept_s and step.needs_readings:
            now_ms = self._now_ms()
            oldest_s = now_ms // 1000 - self._readings_kept_s
            kept = [cell for cell in cells if cell.bucket >= oldest_s]
            if kept != cells:
                ledger.note_done(self._ask, step, (cell for cell in cells if cell.bucket < oldest_s), now_ms)
        is_all = len(cells) < ledger.CELLS
        if kept and is_behind:
            newest_s = self._now_ms() // 1000 - _NEW_S - step.bucket_s
            is_all = is_all and kept[-1].bucket >= newest_s
            kept = [cell for cell in kept if cell.bucket >= newest_s]
        is_all = self._run_cells(step, numbers, ran, kept) and is_all
        if cells:
            metrics.newest_done.labels(step.name).set(cells[0].bucket + step.bucket_s)
        return is_all

    def _run_cells(self, step: Step, numbers: list[int], ran: Ran, left: list[Cell]) -> bool:
        """All of these, or as many as there is time for: False."""
        turn_ends_s = time.monotonic() + _TURN_S
        while left:
            # Of readings it is known how many a cell has; of others how long the last windows took.
            most = _ROWS if step.reads_readings else self._at_once.get(step.name, _BUCKETS_AT_ONCE)
            abreast = self._abreast if _is_backlog(step, left) else 1
            # Two of half the size hold no more in memory than one.
            made = windows(
                left, step.bucket_s, max(most // abreast, 1),
                now_s=self._now_ms() // 1000, counts_cells=not step.reads_readings,
            )  # fmt: skip
            left = []
            while made:
                if self._is_stopping():
                    return False
                # Nothing else runs beside windows that are computed at once.
                self._live_if_due()
                taken = made[:abreast] if _are_apart(made[:abreast]) else made[:1]
                made = made[len(taken) :]
                seconds = self._run_windows(step, taken, numbers, ran)
                if not made:
                    break
                if time.monotonic() > turn_ends_s:
                    return False
                count = sum(len(window.cells) for window in taken)
                if self._learn(step, most, count, seconds) != most:
                    left = [cell for later in made for cell in later.cells]
                    break
        return True

    def _run_windows(self, step: Step, made: Sequence[Window], numbers: list[int], ran: Ran) -> float:
        """One window here, a second beside it; how long the longer took, in seconds.

        Raises: what the first that broke off did, when the other has come to its end too.
        """
        took_s: list[float] = []

        def run(window: Window) -> None:
            began_s = time.monotonic()
            self._run_window(step, window, numbers)
            seconds = time.monotonic() - began_s
            took_s.append(seconds)
            log.debug(
                "rollup", step=step.name, start=window.start, end=window.end, cells=len(window.cells), seconds=seconds
            )

        def count(window: Window) -> None:
            metrics.cells.labels(step.name).inc(len(window.cells))
            ran.windows += 1
            ran.cells += len(window.cells)

        if len(made) == 1:
            run(made[0])
            count(made[0])
        else:
            here, beside = made
            with ThreadPoolExecutor(1, thread_name_prefix="rollup") as pool:
                other = pool.submit(run, beside)
                try:
                    run(here)
                    count(here)
                finally:
                    if other.exception() is None:
                        count(beside)
            other.result()
        metrics.seconds.labels(step.name).inc(sum(took_s))
        return max(took_s)

    def _learn(self, step: Step, most: int, count: int, seconds: float) -> int:
        """How many cells of the step are to be computed at once after a window of `count` took so long."""
        if step.reads_readings:
            return most
        if seconds > _LONG_S:
            most = max(most // 2, 1)
        elif seconds < _SHORT_S and 2 * count > most:
            most *= 4
        self._at_once[step.name] = most
        return most

    def _run_window(self, step: Step, window: Window, numbers: list[int]) -> None:
        # A live run writes rows of a window that is not noted as done.
        live = [] if window.is_redone else self._metric_nums(step.live_metrics)
        may_have_rows = window.is_redone or bool(live) or (step.is_live and not step.live_metrics)
        version = self._compute(step, window, numbers, may_have_rows=may_have_rows, written=live)
        if step.is_sparse or step.deletes_itself or step.replaces_all:
            self._tell(step, self._written(step, version, window))
        # Much time of which there was nothing and is nothing, as of traffic where none is counted.
        elif len(window.cells) == 1 or may_have_rows or not self._gave_nothing(step, window, version):
            self._tell(step, [(cell.bucket, cell.block) for cell in window.cells])
        ledger.note_done(self._ask, step, window.cells, version)

    def _compute(
        self, step: Step, window: Window, numbers: list[int], *, may_have_rows: bool, written: Sequence[int] = ()
    ) -> int:
        """Insert the window's rows, take away those that are no more; returns their version.

        Args:
            numbers: of the metrics that the step takes; none: it takes all.
            written: of the metrics of which there may be rows already; none: of all.
        """
        version = self._next_version()
        parameters = {
            "from": _text(window.start),
            "to": _text(window.end),
            "device_from": str(window.block_start * BLOCK_DEVICES),
            "device_to": str(min(window.block_end * BLOCK_DEVICES, 0xFFFFFFFF)),
            "metrics": str(numbers),
            "written": str(list(written or numbers)),
        }
        if step.question and self._ask(step.question, parameters) == "0":
            return version
        columns = self._columns_of(step.target)
        names = ", ".join(f"`{name}`" for name in columns)
        if step.replaces_all:
            self._replace(step, names, version, parameters)
            return version
        into = f"INSERT INTO {step.target} ({names}, version, is_deleted) SELECT {names}, {version}"
        self._ask(
            f"{into}, {'is_deleted' if step.deletes_itself else '0'} FROM (\n{step.sql}\n) SETTINGS {self._settings}",
            parameters,
        )
        if may_have_rows and not step.is_sparse and not step.deletes_itself:
            where = f"`{step.time}` >= {{from:DateTime('UTC')}} AND `{step.time}` < {{to:DateTime('UTC')}}"
            if step.by_devices:
                where += " AND device_num >= {device_from:UInt32} AND device_num < {device_to:UInt32}"
            if (written or numbers) and "metric_num" in columns:
                where += " AND metric_num IN {written:Array(UInt16)}"
            self._ask(
                f"{into}, 1 FROM {step.target} FINAL WHERE {where} AND version < {version} SETTINGS {self._settings}",
                parameters,
            )
        return version

    def _replace(self, step: Step, names: str, version: int, parameters: Mapping[str, str]) -> None:
        """The step's rows in the place of all there were, at once: whoever asks meanwhile sees those or these.

        Rows that somebody else has written since the run began stay, as newer ones of a ReplacingMergeTree.
        """
        beside = f"{step.target}_next"
        self._ask(f"TRUNCATE TABLE {beside}")
        self._ask(
            f"INSERT INTO {beside} ({names}, version) SELECT {names}, {version} FROM (\n{step.sql}\n) "
            f"SETTINGS {self._settings}",
            parameters,
        )
        # None from a time that is to come, as where the clock was set back.
        since = f"version > {version} AND version <= toUnixTimestamp64Milli(now64(3))"
        self._ask(f"INSERT INTO {beside} SELECT * FROM {step.target} WHERE {since}")
        if self._ask(f"SELECT count() FROM {beside}") == "0":
            self._ask(f"TRUNCATE TABLE {step.target}")
        else:
            self._ask(f"ALTER TABLE {step.target} REPLACE PARTITION tuple() FROM {beside}")

    def _gave_nothing(self, step: Step, window: Window, version: int) -> bool:
        if step.by_devices or not self._dependants(step):
            return False
        answer = self._ask(
            f"SELECT count() FROM (SELECT 1 FROM {step.target} WHERE version = {version} AND `{step.time}` >= "
            f"fromUnixTimestamp({window.start}) AND `{step.time}` < fromUnixTimestamp({window.end}) LIMIT 1)"
        )
        return answer == "0"

    def _dependants(self, step: Step) -> list[Step]:
        return [other for other in self._steps if step.target in other.sources]

    def _tell(self, step: Step, cells: Sequence[tuple[int, int]]) -> None:
        """Make due what follows from these cells (bucket, block) of the step."""
        altered = {
            other.name: {
                (at, block if other.by_devices else 0)
                for bucket, block in cells
                for at in ledger.cells_of(other, bucket, step.bucket_s)
            }
            for other in self._dependants(step)
        }
        ledger.note_changes(self._ask, altered, self._settled_s)
        self._noted.update(name for name, found in altered.items() if found)

    def _tell_rest(self, step: Step) -> None:
        """The same of rows of a run that was killed or broke off before it told: the next finds nothing to change."""
        if step.name in self._told or not (step.is_sparse or step.deletes_itself):
            return
        writers = [one.name for one in self._steps if one.target == step.target]
        try:
            if done_ms := ledger.newest_done_ms(self._ask, writers):
                self._tell(step, self._written(step, done_ms + 1))
        except Exception as exc:
            self._note_failure(step, exc)
        else:
            self._told.add(step.name)

    def _written(
        self, step: Step, version: int, window: Window | None = None, *, only_deleted: bool = False
    ) -> list[tuple[int, int]]:
        """Cells of the step that have rows of this version or later.

        Args: window: of a sparse step, the window that they are about.
        """
        if not self._dependants(step):
            return []
        bucket = floor_sql(f"toInt64(toUnixTimestamp(`{step.time}`))", step.bucket_s)
        block = f"intDiv(device_num, {BLOCK_DEVICES})" if step.by_devices else "0"
        where = f"version >= {version}" + (" AND is_deleted" if only_deleted else "")
        if step.is_sparse and window is not None:
            # Rows about the window may be judged with it; so far out that parts of before are not read for it.
            where += f" AND `{step.time}` BETWEEN fromUnixTimestamp({window.start - _AROUND_S}) "
            where += f"AND fromUnixTimestamp({window.end + _AROUND_S})"
        answer = self._ask(f"SELECT DISTINCT {bucket}, {block} FROM {step.target} WHERE {where}")
        return [(int(at), int(found)) for at, found in (line.split("\t") for line in answer.splitlines())]

    def _columns_of(self, target: str) -> list[str]:
        if target not in self._columns:
            database, table = target.split(".")
            answer = self._ask(
                "SELECT name FROM system.columns WHERE database = {database:String} AND table = {table:String} "
                "AND name NOT IN ('version', 'is_deleted') ORDER BY position",
                {"database": database, "table": table},
            )
            self._columns[target] = answer.splitlines()
        return self._columns[target]

    def _learn_metrics(self) -> None:
        names = {name for step in self._steps for name in (*step.metrics, *step.live_metrics)}
        if not names:
            return
        listed = ", ".join(f"'{name}'" for name in sorted(names))
        answer = self._ask(f"SELECT metric, metric_num FROM cityfleet.metrics FINAL WHERE metric IN ({listed})")
        self._numbers = {name: int(number) for name, number in (line.split("\t") for line in answer.splitlines())}

    def _metric_nums(self, names: Sequence[str]) -> list[int]:
        return [self._numbers[name] for name in names if name in self._numbers]

    def _now_ms(self) -> int:
        return int(self._ask("SELECT toUnixTimestamp64Milli(now64(3))"))

    def _next_version(self) -> int:
        """The store's time, and later than any before, should its clock have been set back."""
        with self._version_lock:
            if self._version == 0:
                newest = self._ask("SELECT toUnixTimestamp64Milli(max(computed_at)) FROM cityfleet.rollup_done")
                self._version = int(newest)
            self._version = max(self._version + 1, self._now_ms())
            return self._version


def _is_backlog(step: Step, cells: Sequence[Cell]) -> bool:
    """Whether these are many that are worth a second core, and may be computed at once."""
    buckets = len({cell.bucket for cell in cells})
    return step.is_by_windows and buckets > _BACKLOG_BUCKETS and buckets * step.bucket_s > _BACKLOG_S


def _are_apart(made: Sequence[Window]) -> bool:
    """Whether no two of them hold the same bucket of the same block."""
    return not any(
        one.start < other.end
        and other.start < one.end
        and one.block_start < other.block_end
        and other.block_start < one.block_end
        for one, other in combinations(made, 2)
    )


def _all(start: int, end: int) -> Window:
    return Window(start, end, 0, _ALL_BLOCKS, ())


def _text(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
