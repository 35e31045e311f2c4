"""The spool's files: an open segment that grows by fsynced records, closed segments that wait to be written.

A closed segment never changes. Names are `<node>-<number>`, the number never goes back, so that a name is a token.
Each step is durable before the next one relies on it; docs/spool.md says what a crash between any two of them leaves.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from ingest.disk import sync_folder, write_all
from ingest.model import TABLES, SealedBatch, Segment
from ingest.settings import SpoolSettings
from ingest.spool.backlog import Backlog, Spares
from ingest.spool.metrics import FILES_SET_ASIDE, FREE_BYTES, SEGMENT_FILES
from ingest.spool.numbers import Numbers
from ingest.spool.record import RecordPlace, encode, end_mark, name_seed
from ingest.spool.recover import SUFFIX, Loss, Recovery
from ingest.spool.segment import OpenSegment

log = structlog.get_logger()

_NOTHING = SealedBatch((b"",) * len(TABLES), (0,) * len(TABLES), (0,) * len(TABLES), on_durable=lambda: None)


class Spool:
    """Not thread-safe: one caller at a time. Everything here may block on the disk, so call it off the loop."""

    # Whether `append` waits for a disk.
    is_on_disk = True

    def __init__(
        self,
        folder: Path,
        settings: SpoolSettings,
        clock: Callable[[], float] = time.monotonic,
        backlog: Backlog | None = None,
    ) -> None:
        """Args: backlog: shared by the spools of one process. Raises: OSError if there is no such folder to be had."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._numbers = Numbers(folder, FILES_SET_ASIDE.inc)
        self._spares = Spares(folder)
        self._file: int | None = None
        self._path = folder
        self._place = RecordPlace(0, 0)
        # Number and readings of the segment closed last.
        self._previous = (0, 0)
        self._open = OpenSegment(settings, clock)
        # The disk failed in a way that leaves unknown what is behind the last record.
        self._is_spoiled = False
        self.backlog = Backlog(clock) if backlog is None else backlog
        self.losses: list[Loss] = []
        # Why nothing can be appended just now; empty: it can.
        self.problem = ""

    def recover(self) -> list[Segment]:
        """Segments left by the process before, oldest first, with what is whole in them; `losses` has what is not."""
        recovery = Recovery(self._folder, self._numbers)
        segments = recovery.run()
        self.losses = recovery.losses
        with contextlib.suppress(OSError):
            self._spares.find()
        now_s, now = time.time(), self._clock()
        return [
            self.backlog.add(
                segment,
                # Clocks step; nothing is from the future, or older than this.
                now - max(0.0, now_s - segment.received_ms[0] / 1000 if segment.received_ms[0] else 0.0),
                is_damaged=segment.name in recovery.damaged,
            )
            for segment in segments
        ]

    def drain(self) -> list[Segment]:
        """As `recover`, for a spool that nothing is appended to any more: it keeps no file to be written over."""
        segments = self.recover()
        with contextlib.suppress(OSError):
            self._spares.clear()
        return segments

    def append(self, batch: SealedBatch) -> None:
        """Make one record durable: on return it is on disk, checksummed.

        Raises: OSError (disk full, I/O error); then nothing of the record counts, and the caller must not acknowledge.
            It may be called again; but first, if `is_spoiled`, the segment is to be closed.
        """
        assert not self._is_spoiled
        try:
            self._leave_room(batch.size_bytes)
            file = self._begin() if self._file is None else self._file
            buffers = encode(batch, self._place)
            size_bytes = sum(map(len, buffers))
            self._write(file, [*buffers, end_mark(self._place.seed, self._open.size_bytes + size_bytes)])
        except OSError as exc:
            if exc.errno == errno.ENOSPC:
                self._spares.clear()
            raise
        self._open.add(batch, size_bytes)
        self._place.number += 1
        self._place.readings_before += sum(batch.readings)

    @property
    def limit_bytes(self) -> int:
        """So much may wait for the store."""
        return self._settings.max_bytes

    @property
    def has_open_rows(self) -> bool:
        return self._open.size_bytes > 0

    @property
    def is_spoiled(self) -> bool:
        """Nothing may be appended to the open segment any more; it has rows and is to be closed."""
        return self._is_spoiled

    def closes_in_s(self, *, is_awaited: bool) -> float:
        """As OpenSegment's."""
        return self._open.closes_in_s(is_awaited=is_awaited)

    def close_segment(self) -> Segment:
        """Close the open segment, which must have rows. Never raises: its records are durable already."""
        file, opened = self._file, self._open
        assert file is not None
        if not self._is_spoiled:
            with contextlib.suppress(OSError):
                self._write_end(file)
        with contextlib.suppress(OSError):
            os.close(file)
        segment = Segment(
            self._path.stem, self._path, opened.size_bytes, opened.rows, opened.readings, opened.received_ms
        )
        segment = self.backlog.add(segment, opened.began_at, spares=None if self._is_spoiled else self._spares)
        self._previous = (self._place.segment, sum(opened.readings))
        self._file, self._is_spoiled = None, False
        opened.clear()
        return segment

    def _write_end(self, file: int) -> None:
        """An empty record, so that recovery knows how many readings there should be; not synced, for it may be missing.
        What is behind is of the segment that had the file before.
        """
        buffers = encode(_NOTHING, self._place)
        write_all(file, buffers, self._open.size_bytes)
        end = self._open.size_bytes + sum(map(len, buffers))
        if os.fstat(file).st_size > end:
            os.ftruncate(file, end)

    def _begin(self) -> int:
        """The file of the next segment, its name durable before anything is in it. Raises: OSError."""
        node, number = self._numbers.take()
        path = self._folder / f"{node}-{number}{SUFFIX}"
        is_used = self._spares.take(path)
        file = -1
        try:
            file = os.open(path, os.O_WRONLY if is_used else os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            sync_folder(self._folder)
        except OSError:
            if file >= 0:
                os.close(file)
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
        SEGMENT_FILES.labels("used" if is_used else "new").inc()
        self._path, self._file = path, file
        previous, previous_readings = self._previous
        self._place = RecordPlace(name_seed(path.stem), number, 0, 0, previous, previous_readings)
        return file

    def _write(self, file: int, buffers: list[bytes]) -> None:
        try:
            write_all(file, buffers, self._open.size_bytes)
        except OSError:
            self._cut(file)
            raise
        try:
            os.fdatasync(file)
        except OSError:
            # The kernel has forgotten which pages it could not write: a second fdatasync would say that all is well.
            self._cut(file)
            self._spoil()
            raise

    def _cut(self, file: int) -> None:
        """Take back what was written behind the last record."""
        try:
            os.ftruncate(file, self._open.size_bytes)
        except OSError as exc:
            log.error("spool_truncate_failed", segment=self._path.stem, reason=exc.strerror)
            self._spoil()

    def _spoil(self) -> None:
        if self._open.size_bytes:
            self._is_spoiled = True
        elif self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._file = None

    def _leave_room(self, wanted: int) -> None:
        """Raises: OSError (ENOSPC) if the disk would have less left than it must."""
        about = os.statvfs(self._folder)
        free = about.f_bavail * about.f_frsize
        FREE_BYTES.set(free)
        if free - wanted < self._settings.min_free_bytes:
            text = f"less than ingest.spool.min_free_bytes left: {free} bytes"
            raise OSError(errno.ENOSPC, text)
