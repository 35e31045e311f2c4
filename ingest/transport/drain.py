"""The drain rule: while the store catches up with a backlog, intake gets at most a part of what the store takes.

So a backlog is gone in a time that can be told, whatever the devices do. While the store is away, or takes nothing,
there is nothing to catch up with and the spool takes what comes.
"""

import time
from collections import deque
from collections.abc import Callable

from ingest.settings import Watermarks

# The store's rate is that of so long a time, at least and at most.
_RATE_S = (0.5, 5.0)
# A store that has taken nothing for so long, with something to take, counts as away.
_IDLE_S = 10.0
# What intake has not used of its part it may use at once, in seconds of it.
_BURST_S = 0.25
# The drain is over when the store needs so long for what is left.
_DONE_S = 1.0
# Less than this is no backlog: two small segments on their way.
_SMALL_BYTES = 1_000_000


class Drain:
    """Told several times a second how far the store is; says what intake has earned meanwhile."""

    def __init__(self, settings: Watermarks, clock: Callable[[], float] = time.monotonic) -> None:
        self._part = settings.drain_part
        self._backlog_s = settings.drain_backlog_s
        self._clock = clock
        self._taken: deque[tuple[float, int]] = deque()  # inserts: (busy time, bytes taken by then)
        self._busy_s = 0.0  # how long the store has had something to take
        self._was_waiting = False
        self._looked_at_s = clock()
        self.is_on = False
        self.store_bytes_per_s = 0.0

    def look(self, taken_bytes: int, backlog_bytes: int, *, is_away: bool) -> tuple[float, float]:
        """What intake may bring at once, and what it has earned since the last look, in bytes in the spool.

        Args:
            taken_bytes: what the store has taken since the start.
            backlog_bytes: what waits for it now.
            is_away: it refused last time, or cannot be reached.
        Returns: (0, 0) while there is nothing to catch up with.
        """
        now_s = self._clock()
        passed_s, self._looked_at_s = now_s - self._looked_at_s, now_s
        rate = self._rate(passed_s, taken_bytes, backlog_bytes, is_away)
        self.store_bytes_per_s = rate
        if rate == 0.0 or self._part >= 1.0:
            self.is_on = False
        elif not self.is_on:
            self.is_on = backlog_bytes > max(self._backlog_s * rate, _SMALL_BYTES)
        else:
            self.is_on = backlog_bytes > max(_DONE_S * rate, _SMALL_BYTES)
        share = rate * self._part
        return (share * _BURST_S, share * passed_s) if self.is_on else (0.0, 0.0)

    def _rate(self, passed_s: float, taken_bytes: int, backlog_bytes: int, is_away: bool) -> float:
        """Bytes a second that the store takes while it has something to take; 0: nothing, or that is not known yet.

        From one insert to another: they may be seconds apart, and then what is under way must not count as idle.
        """
        samples = self._taken
        if is_away:
            samples.clear()
        if self._was_waiting:
            self._busy_s += passed_s
        self._was_waiting = backlog_bytes > 0
        if not samples or samples[-1][1] != taken_bytes:
            samples.append((self._busy_s, taken_bytes))
            while len(samples) > 2 and self._busy_s - samples[1][0] > _RATE_S[1]:
                samples.popleft()
        since_s = self._busy_s - samples[-1][0]
        if since_s > _IDLE_S:
            samples.clear()
            return 0.0
        over_s, taken = samples[-1][0] - samples[0][0], samples[-1][1] - samples[0][1]
        if over_s < _RATE_S[0]:
            return 0.0
        usual_s = over_s / (len(samples) - 1)
        return taken / (over_s + max(0.0, since_s - usual_s))
