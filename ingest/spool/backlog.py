"""Closed segments until the store has them: how much waits, since when, and what becomes of their files."""

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from ingest.disk import move_aside
from ingest.model import Segment
from ingest.spool.metrics import OLDEST_AGE_SECONDS, WAITING_BYTES, WAITING_SEGMENTS
from ingest.spool.save import save

log = structlog.get_logger()

# Used files that are kept to be written over, which spares the file system the allocation: enough for the open segment
# and the one that is being inserted.
_SPARES = 3
_SPARE_SUFFIX = ".spare"
# Damaged files that are kept for a person once their whole records are in the store.
_DAMAGED = 16
DAMAGED_SUFFIX = ".damaged"


class Spares:
    """Files that may be written over. Threads may use it side by side."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: deque[Path] = deque()

    def find(self) -> None:
        """Take over those of the process before."""
        for path in sorted(self._folder.glob(f"*{_SPARE_SUFFIX}")):
            self._keep(path)

    def offer(self, path: Path) -> None:
        """Keep a file that nobody needs, or remove it. Raises: OSError."""
        spare = path.with_name(path.name + _SPARE_SUFFIX)
        path.rename(spare)
        self._keep(spare)

    def _keep(self, path: Path) -> None:
        if len(self._paths) < _SPARES and path.is_file():
            self._paths.append(path)
        else:
            path.unlink()

    def take(self, path: Path) -> bool:
        """Have a spare file become `path`; the caller makes the name durable. False: there is none."""
        while self._paths:
            try:
                self._paths.popleft().rename(path)
                return True
            except OSError as exc:
                log.warning("spool_spare_gone", reason=exc.strerror)
        return False

    def clear(self) -> None:
        """Give the disk back what is kept."""
        while self._paths:
            self._paths.popleft().unlink(missing_ok=True)


class _Waiting(msgspec.Struct, frozen=True):
    segment: Segment
    began_at: float
    is_damaged: bool
    # Who may write its file over; None: it is removed.
    spares: Spares | None


class Backlog:
    """The keeper of closed segments. Threads may use it side by side."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # In the order in which they were closed: the first is the oldest.
        self._waiting: dict[str, _Waiting] = {}
        self._lock = threading.Lock()
        self.size_bytes = 0
        # Of these, what is in memory.
        self.memory_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self, segment: Segment, began_at: float, *, is_damaged: bool = False, spares: Spares | None = None
    ) -> Segment:
        """Keep it from now on; returns it with this as its keeper.

        Args:
            began_at: when its first record was made durable, by this backlog's clock.
            is_damaged: its file is kept for a person when the store has what is whole in it.
            spares: who takes the file then. Only for files of this version: their records carry the segment's name, so
                that they are nothing to the next one.
        """
        segment = msgspec.structs.replace(segment, keeper=self)
        with self._lock:
            self._waiting[segment.name] = _Waiting(segment, began_at, is_damaged, spares)
            self.size_bytes += segment.size_bytes
            self.memory_bytes += segment.size_bytes if segment.windows is not None else 0
        return segment

    @property
    def oldest_age_s(self) -> float:
        """Seconds since the first record of the oldest waiting segment; 0 if none waits."""
        with self._lock:
            if not self._waiting:
                return 0.0
            return max(0.0, self._clock() - next(iter(self._waiting.values())).began_at)

    def expose(self) -> None:
        """Have the gauges tell of this one."""
        WAITING_SEGMENTS.set_function(lambda: len(self))
        WAITING_BYTES.set_function(lambda: self.size_bytes)
        OLDEST_AGE_SECONDS.set_function(lambda: self.oldest_age_s)

    def waiting(self) -> list[Segment]:
        """Oldest first."""
        with self._lock:
            return [one.segment for one in self._waiting.values()]

    def damaged(self, segment: Segment) -> None:
        """Keep its file for a person when the store has what is whole in it."""
        with self._lock:
            if (waiting := self._waiting.get(segment.name)) is not None:
                self._waiting[segment.name] = msgspec.structs.replace(waiting, is_damaged=True)

    def remove(self, segment: Segment) -> None:
        waiting = self._waiting.get(segment.name)
        if segment.windows is None:
            self._let_go(segment.path, waiting)
        self._forget(segment)

    def set_aside(self, segment: Segment) -> Path:
        if segment.windows is not None:
            save(segment)
        aside = segment.path.rename(segment.path.with_suffix(".poison"))
        self._forget(segment)
        return aside

    def _let_go(self, path: Path, waiting: _Waiting | None) -> None:
        try:
            if waiting is not None and waiting.is_damaged and _has_room_for_damaged(path.parent):
                aside = move_aside(path, DAMAGED_SUFFIX)
                log.warning("spool_damaged_file_kept", segment=path.stem, path=str(aside))
            elif waiting is not None and waiting.spares is not None:
                waiting.spares.offer(path)
            else:
                path.unlink()
        except FileNotFoundError:
            log.warning("spool_file_gone", segment=path.stem)

    def _forget(self, segment: Segment) -> None:
        with self._lock:
            if (waiting := self._waiting.pop(segment.name, None)) is not None:
                self.size_bytes -= waiting.segment.size_bytes
                self.memory_bytes -= waiting.segment.size_bytes if waiting.segment.windows is not None else 0


def _has_room_for_damaged(folder: Path) -> bool:
    return sum(1 for _ in folder.glob(f"*{DAMAGED_SUFFIX}")) < _DAMAGED
