"""The spool's files: an open segment that grows by fsynced records, closed segments that wait to be written.

A closed segment never changes. Names are `<node>-<number>`, the number never goes back, so that a name is a token.
"""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from ingest.model import TABLES, SealedBatch, Segment
from ingest.settings import SpoolSettings
from ingest.spool.record import encode, scan

log = structlog.get_logger()

_SUFFIX = ".seg"
_NOTHING = (0,) * len(TABLES)


def _added(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(left, right, strict=True))


class Spool:
    """Not thread-safe: one caller at a time. Everything here may block on the disk, so call it off the loop."""

    def __init__(self, folder: Path, settings: SpoolSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)
        self._node = self._node_name()
        self._file: int | None = None
        self._path = folder
        self._opened_at = 0.0
        self._size = 0
        self._rows = _NOTHING
        self._readings = _NOTHING
        self.damaged_bytes = 0
        existing = [int(path.stem.rpartition("-")[2]) for path in folder.glob(f"*{_SUFFIX}")]
        counter = folder / "next"
        self._next = max([int(counter.read_text()) if counter.exists() else 1, *(number + 1 for number in existing)])

    def _node_name(self) -> str:
        """A name that no other spool has, so that tokens of two nodes never meet."""
        path = self._folder / "node"
        if not path.exists():
            path.write_text(secrets.token_hex(6))
            self._sync_folder()
        return path.read_text().strip()

    def recover(self) -> list[Segment]:
        """Segments left by the process before, oldest first; what is torn or damaged is cut off and counted."""
        found = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda entry: int(entry.stem.rpartition("-")[2])):
            data = memoryview(path.read_bytes())
            whole, rows, readings = 0, _NOTHING, _NOTHING
            for record in scan(data):
                whole, rows, readings = record.end, _added(rows, record.rows), _added(readings, record.readings)
            if whole < len(data):
                self.damaged_bytes += len(data) - whole
                log.warning("spool_tail_cut", segment=path.stem, whole_bytes=whole, cut_bytes=len(data) - whole)
                with path.open("r+b") as file:
                    file.truncate(whole)
                    os.fsync(file.fileno())
            if whole:
                found.append(Segment(path.stem, path, whole, rows, readings))
            else:
                path.unlink()
        return found

    def append(self, batch: SealedBatch) -> None:
        """Make one record durable: on return it is on disk, checksummed.

        Raises: OSError (disk full, I/O error); then nothing of the record counts, and the caller must not acknowledge.
        """
        file = self._open() if self._file is None else self._file
        buffers = encode(batch)
        wanted = sum(map(len, buffers))
        try:
            written = os.writev(file, buffers)
            if written < wanted:
                rest = memoryview(b"".join(buffers))[written:]
                while rest:
                    rest = rest[os.write(file, rest) :]
            os.fdatasync(file)
        except OSError:
            os.ftruncate(file, self._size)
            os.lseek(file, self._size, os.SEEK_SET)
            raise
        self._size += wanted
        self._rows = _added(self._rows, batch.rows)
        self._readings = _added(self._readings, batch.readings)

    @property
    def age_s(self) -> float:
        """Seconds since the open segment got its first record; 0 if it has none."""
        return self._clock() - self._opened_at if self._size else 0.0

    def closes_in_s(self, *, is_awaited: bool) -> float:
        """Seconds until the open segment is to be closed; 0 when it is time. It must have rows.

        Args:
            is_awaited: the store has nothing else to do, so a small segment need not wait for company. A large one
                does: few large inserts leave the engine less to merge.
        """
        settings = self._settings
        rows = max(self._rows)
        if self._size >= settings.segment_max_bytes or rows >= settings.segment_max_rows:
            return 0.0
        limit_s = settings.segment_max_age_s
        if is_awaited and rows < settings.segment_early_rows:
            limit_s = min(limit_s, settings.segment_early_age_s)
        return max(0.0, limit_s - self.age_s)

    @property
    def has_open_rows(self) -> bool:
        return self._size > 0

    def close_segment(self) -> Segment:
        """Close the open segment, which must have rows."""
        assert self._file is not None
        os.close(self._file)
        segment = Segment(self._path.stem, self._path, self._size, self._rows, self._readings)
        self._file, self._size, self._rows, self._readings = None, 0, _NOTHING, _NOTHING
        return segment

    def _open(self) -> int:
        number, self._next = self._next, self._next + 1
        # The counter is written ahead in steps: numbers may be skipped after a crash, never used twice.
        if number % 1000 == 1 or not (self._folder / "next").exists():
            draft = self._folder / "next.draft"
            with draft.open("w") as counter:
                counter.write(str(number + 1000))
                counter.flush()
                os.fsync(counter.fileno())
            draft.replace(self._folder / "next")
        self._path = self._folder / f"{self._node}-{number}{_SUFFIX}"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        self._opened_at = self._clock()
        self._sync_folder()
        return self._file

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
