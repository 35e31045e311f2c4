"""The spool without a disk, by explicit choice: what is acknowledged is in memory, and lost with the process."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from ingest.model import SealedBatch, Segment
from ingest.settings import SpoolSettings
from ingest.spool.backlog import Backlog
from ingest.spool.numbers import new_node
from ingest.spool.recover import SUFFIX
from ingest.spool.save import save
from ingest.spool.segment import OpenSegment

log = structlog.get_logger()


class MemorySpool:
    """In place of Spool. Its name is a new one for each process: tokens need no counter on disk."""

    is_on_disk = False
    is_spoiled = False

    def __init__(
        self,
        folder: Path,
        settings: SpoolSettings,
        clock: Callable[[], float] = time.monotonic,
        backlog: Backlog | None = None,
    ) -> None:
        """Args: folder: where `keep` writes what is left at the end."""
        self._folder = folder
        self._settings = settings
        self._node = new_node()
        self._number = 1
        self._windows: list[SealedBatch] = []
        self._open = OpenSegment(settings, clock)
        self.backlog = Backlog(clock) if backlog is None else backlog
        self.problem = ""

    @property
    def limit_bytes(self) -> int:
        """So much may wait for the store."""
        return self._settings.max_bytes_memory

    def append(self, batch: SealedBatch) -> None:
        # Not the acknowledgements with their frames: these are gone when it returns.
        self._windows.append(msgspec.structs.replace(batch, on_durable=_nothing))
        # A segment without bytes is none, so that an empty batch has one too.
        self._open.add(batch, batch.size_bytes + 1)

    @property
    def has_open_rows(self) -> bool:
        return self._open.size_bytes > 0

    def closes_in_s(self, *, is_awaited: bool) -> float:
        return self._open.closes_in_s(is_awaited=is_awaited)

    def close_segment(self) -> Segment:
        """Close the open segment, which must have rows."""
        name = f"{self._node}-{self._number}"
        self._number += 1
        opened = self._open
        segment = Segment(
            name,
            self._folder / f"{name}{SUFFIX}",
            opened.size_bytes,
            opened.rows,
            opened.readings,
            opened.received_ms,
            tuple(self._windows),
        )
        self._windows = []
        opened_at = opened.began_at
        opened.clear()
        return self.backlog.add(segment, opened_at)

    def keep(self) -> int:
        """Write what the store did not take to the disk, for the next start to find. Returns the readings lost.

        Call when nobody appends or writes any more. May block on the disk.
        """
        if self.has_open_rows:
            self.close_segment()
        left = [segment for segment in self.backlog.waiting() if segment.windows is not None]
        lost = 0
        for segment in left:
            try:
                save(segment)
            except OSError as exc:
                lost += sum(segment.readings)
                log.error(
                    "spool_memory_lost", segment=segment.name, readings=sum(segment.readings), reason=exc.strerror
                )
        if left:
            readings = sum(sum(segment.readings) for segment in left) - lost
            log.warning("spool_memory_kept", segments=len(left), readings=readings, lost_readings=lost)
        return lost


def _nothing() -> None:
    pass
