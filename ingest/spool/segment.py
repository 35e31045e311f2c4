"""The open segment as numbers: what it holds, and when it is to be closed."""

from collections.abc import Callable

from ingest.model import TABLES, SealedBatch
from ingest.settings import SpoolSettings

_NOTHING = (0,) * len(TABLES)


class OpenSegment:
    """Grows by records until its size, its rows or its age say that it is enough."""

    def __init__(self, settings: SpoolSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self.began_at = 0.0
        self.size_bytes = 0
        self.rows = _NOTHING
        self.readings = _NOTHING
        self.received_ms = (0, 0)

    def clear(self) -> None:
        self.size_bytes = 0
        self.rows = self.readings = _NOTHING
        self.received_ms = (0, 0)

    def add(self, batch: SealedBatch, size_bytes: int) -> None:
        if not self.size_bytes:
            self.began_at = self._clock()
        self.size_bytes += size_bytes
        self.rows = _added(self.rows, batch.rows)
        self.readings = _added(self.readings, batch.readings)
        if batch.received_ms != (0, 0):
            first_ms, last_ms = batch.received_ms
            if self.received_ms != (0, 0):
                first_ms, last_ms = min(first_ms, self.received_ms[0]), max(last_ms, self.received_ms[1])
            self.received_ms = (first_ms, last_ms)

    @property
    def age_s(self) -> float:
        """Seconds since it got its first record; 0 if it has none."""
        return self._clock() - self.began_at if self.size_bytes else 0.0

    def closes_in_s(self, *, is_awaited: bool) -> float:
        """Seconds until it is to be closed; 0 when it is time. It must have rows.

        Args:
            is_awaited: the store has nothing else to do, so a small segment need not wait for company. A large one
                does: few large inserts leave the engine less to merge.
        """
        settings = self._settings
        rows = max(self.rows)
        if self.size_bytes >= settings.segment_max_bytes or rows >= settings.segment_max_rows:
            return 0.0
        limit_s = settings.segment_max_age_s
        if is_awaited and rows < settings.segment_early_rows:
            limit_s = min(limit_s, settings.segment_early_age_s)
        return max(0.0, limit_s - self.age_s)


def _added(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(left, right, strict=True))
