"""The ledger on disk: what this run of ingest has done, how the runs before ended, and whether they fit together."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from ingest.disk import write_file
from ingest.ledger import Break, Ledger, StageCount, unacknowledged

log = structlog.get_logger()

_RUNS_KEPT = 10
VERSION = 1


class Run(msgspec.Struct, frozen=True):
    """One life of one ingest process. Times are UTC, ISO 8601."""

    started_at: str
    # When this was written.
    at: str
    pid: int
    # running: also what a killed process leaves. stopped: the counts are final. failed: a stage ended with an error.
    state: Literal["running", "stopped", "failed"]
    entries: dict[str, int]
    rejected: dict[str, int]
    stages: list[StageCount]
    breaks: list[Break]
    # By stage: what was not on disk when it ended. Nobody was told that it was taken.
    unacknowledged: dict[str, int] = {}


class LedgerDocument(msgspec.Struct, frozen=True):
    version: int
    run: Run
    # The newest first.
    before: list[Run] = []


def read_ledger(path: Path) -> LedgerDocument | None:
    """None if there is none. Raises: OSError; ValueError if it is not a ledger of this version."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=LedgerDocument)
    except FileNotFoundError:
        return None
    if found.version != VERSION:
        raise ValueError(f"version {found.version} of the ledger's file is not known")
    return found


class LedgerFile:
    """`<data>/ingest/ledger.json` of one process: always whole, and as durable as what it tells of. After a loss of
    power a run that was stopped long before must not seem to be the last."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self._path = path
        self._ledger = ledger
        self._started_at = _now()
        self._before: list[Run] = []
        # What does not fit between the run before and this one.
        self._carried: list[Break] = []

    def begin(self, recovered: int, damaged: int = 0, left_over: "list[Path] | None" = None) -> list[Break]:
        """Read what the run before said, and hold what was found in the spool against it.

        Args:
            recovered: readings found in the spool.
            damaged: readings known to be lost to damage there.
            left_over: ledgers of workers that are no more, whose spools are recovered here; they are taken away.
        Returns: what is missing. A run that was killed has left no final counts, so nothing is said about it.
        """
        expected = [self._take(self._path), *(self._take(path) for path in left_over or ())]
        for path in left_over or ():
            path.unlink(missing_ok=True)
        is_known = all(one is not None for one in expected)
        left = sum(one for one in expected if one) if is_known else recovered + damaged
        if damaged or recovered != left:
            before = f"the run before left {left:,}" if is_known else f"there were at least {left:,}"
            text = f"{before} readings in the spool, {recovered:,} were found there"
            if damaged:
                text += f", {damaged:,} are damaged"
            self._carried = [Break("spool", left - recovered, "readings", text)]
        return self._carried

    def _take(self, path: Path) -> int | None:
        """What the run before left in its spool; None if nobody knows."""
        try:
            found = read_ledger(path)
        except (OSError, ValueError) as exc:
            log.warning("ledger_file_ignored", path=str(path), reason=str(exc))
            return None
        if found is None:
            return None
        self._before = [found.run, *found.before, *self._before][:_RUNS_KEPT]
        if found.run.state != "stopped":
            return None
        return found.run.entries.get("in_spool", 0)

    def now(self, state: Literal["running", "stopped", "failed"] = "running") -> Run:
        """The counts of this moment. Call it in the loop of the stages."""
        found = self._ledger.now()
        return Run(
            started_at=self._started_at,
            at=_now(),
            pid=os.getpid(),
            state=state,
            entries=found.entries,
            rejected=dict(found.rejected),
            stages=found.stages,
            breaks=[*self._carried, *found.breaks(is_final=state == "stopped"), *_lost(found.entries["lost"])],
            unacknowledged={} if state == "running" else unacknowledged(found.stages),
        )

    def keep(self, run: Run) -> None:
        """Write it. May block on the disk; a disk that refuses is logged, for the ledger must not stop ingest."""
        data = msgspec.json.format(msgspec.json.encode(LedgerDocument(VERSION, run, self._before)), indent=1)
        try:
            write_file(self._path, data)
        except OSError as exc:
            log.warning("ledger_not_kept", path=str(self._path), reason=exc.strerror)


def _lost(readings: int) -> list[Break]:
    text = f"{readings:,} readings were acknowledged in memory, and neither the store nor the disk has them"
    return [Break("spool", readings, "readings", text)] if readings else []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
