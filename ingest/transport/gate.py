"""The gate: how much is between the sockets and the store, and whose sockets are no longer read when it is too much.

There is one cap on memory, counted in bytes from the socket to the committed row, and one on the backlog on disk. Each
class of traffic stops being read at its own fraction of both, the least urgent first, and goes on when half of that
(memory) or a little less (disk) is left. Frames are taken as they come; what else lives in memory is told by accounts.
"""

import asyncio
import time
from collections.abc import Callable
from enum import IntEnum

from ingest.settings import Watermarks

# Memory goes on at this part of a watermark, the backlog on disk at that.
_MEMORY_AGAIN = 0.5
_DISK_AGAIN = 0.95
# In a drain a class is read again with so much more of the burst: to pause and resume thousands of sockets costs.
_CREDIT_AGAIN = 0.5
# Intake's part of the cap. The rest is kept for what is made of it (rows, blocks, insert bodies), so that an urgent
# class does not lose its room to what others sent before. Segments of a run with other settings may need more, but not
# all.
_INTAKE_PART = (0.1, 0.4)
# How fast the estimate follows of how many bytes in the spool a byte of frames becomes.
_FOLLOW = 0.2


class Traffic(IntEnum):
    """Classes of traffic, from the least to the most urgent."""

    BROKER = 0
    GATEWAYS = 1  # and the gRPC stream
    DEVICES = 2  # that speak for themselves, and operators


class _Door:
    """One class: whether it is read, and since when it is not."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.shut_at_s = 0.0
        self.why = ""
        self.listeners: list[tuple[Callable[[], None], Callable[[], None]]] = []


class Gate:
    """Not thread-safe; one event loop.

    Args:
        limit_bytes: of memory, from the sockets to the committed row.
        watermarks: at which fraction of the limits a class is no longer read.
        clock: monotonic, seconds.
    """

    def __init__(
        self,
        limit_bytes: int,
        watermarks: Watermarks = Watermarks(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit_bytes
        self._marks = (watermarks.broker, watermarks.gateways, watermarks.devices)
        self._refuse_after_s = watermarks.refuse_after_s
        self._clock = clock
        self._frames = 0
        self._held = 0
        self._accounts: dict[str, int] = {}
        self._work: dict[str, int] = {}
        self._backlog = 0
        self._backlog_limit = 1 << 62  # not told yet
        # Bytes in the spool for one of frames, and the two totals of the last look.
        self._growth = 1.0
        self._durable = 0
        self._seen = (0, 0)
        self._reasons: dict[str, None] = {}
        # While the store catches up: what intake may still bring, in bytes in the spool, and how much that may become.
        self._credit: float | None = None
        self._burst = 1.0
        self._doors = tuple(_Door() for _ in Traffic)
        self.shut_count = [0] * len(Traffic)

    # What is known

    @property
    def held_bytes(self) -> int:
        """Everything in memory that counts against the cap."""
        return self._frames + self._held + sum(self._work.values())

    @property
    def accounts(self) -> dict[str, int]:
        """Bytes in memory by what they are."""
        return {"frames": self._frames, **self._accounts, **self._work}

    @property
    def is_open(self) -> bool:
        """Whether everybody is read."""
        return all(door.open.is_set() for door in self._doors)

    def is_open_for(self, traffic: Traffic) -> bool:
        return self._doors[traffic].open.is_set()

    def why_shut(self, traffic: Traffic) -> str:
        """`memory`, `disk`, `drain`, or what holds it shut; empty while it is open."""
        return self._doors[traffic].why

    def refuses(self, traffic: Traffic) -> bool:
        """Whether it has been shut for so long that nobody of this class is let in any more."""
        door = self._doors[traffic]
        return not door.open.is_set() and self._clock() - door.shut_at_s >= self._refuse_after_s

    def on_change(self, closed: Callable[[], None], opened: Callable[[], None], traffic: Traffic) -> None:
        """Have `closed` and `opened` called when the gate changes for this class."""
        self._doors[traffic].listeners.append((closed, opened))

    async def wait_open(self, traffic: Traffic) -> None:
        await self._doors[traffic].open.wait()

    # What is told

    def take(self, size_bytes: int) -> None:
        """Frames came."""
        self._frames += size_bytes
        if self._credit is not None:
            self._credit -= size_bytes * self._growth
        self._update()

    def give_back(self, size_bytes: int) -> None:
        """Frames are durable, and gone from memory."""
        self._frames -= size_bytes
        self._durable += size_bytes
        self._update()

    def account(self, name: str, size_bytes: int) -> None:
        """What `name` holds in memory now, beside the frames, of what senders have sent."""
        self._held += size_bytes - self._accounts.get(name, 0)
        self._accounts[name] = size_bytes
        self._update()

    def account_work(self, name: str, size_bytes: int) -> None:
        """What `name` holds now of what is made of the frames. What all of it leaves of the cap is intake's."""
        self._work[name] = size_bytes
        self._update()

    def disk(self, backlog_bytes: int, limit_bytes: int, appended_bytes: int = 0) -> None:
        """What waits on disk for the store, how much may, and what was appended since the start.

        What is in memory counts as it will be on disk: there it may be many times as large.
        """
        appended, durable = appended_bytes - self._seen[0], self._durable - self._seen[1]
        if appended > 0 and durable > 0:
            self._growth += _FOLLOW * (appended / durable - self._growth)
        self._seen = (appended_bytes, self._durable)
        self._backlog, self._backlog_limit = backlog_bytes, max(1, limit_bytes)
        self._update()

    def drain(self, burst_bytes: float, earned_bytes: float = 0.0) -> None:
        """While the store catches up intake may bring what it has earned, in bytes in the spool.

        Frames are paid for as they come: when they are in the spool it is too late to stop reading.

        Args:
            burst_bytes: at most so much is kept for later, and at first; 0: no drain.
            earned_bytes: since the last call.
        """
        if not burst_bytes:
            self._credit = None
        elif self._credit is None:
            self._credit = burst_bytes
        else:
            self._credit = min(self._credit + earned_bytes, burst_bytes)
        self._burst = burst_bytes
        self._update()

    def shut(self, is_shut: bool, reason: str = "shut") -> None:
        """Hold the gate shut for everybody while there is a reason, or no longer for this one."""
        if is_shut:
            self._reasons[reason] = None
        else:
            self._reasons.pop(reason, None)
        self._update()

    def _update(self) -> None:
        least, most = _INTAKE_PART
        room = max(self._limit * least, min(self._limit * most, self._limit - sum(self._work.values())))
        intake = self._frames + self._held
        disk = (self._backlog + self._growth * self._frames) / self._backlog_limit
        for traffic, door in enumerate(self._doors):
            mark = self._marks[traffic]
            is_open = door.open.is_set()
            if self._reasons:
                why = next(iter(self._reasons))
            elif intake > mark * room * (1.0 if is_open else _MEMORY_AGAIN):
                why = "memory"
            elif disk >= mark * (1.0 if is_open else _DISK_AGAIN):
                why = "disk"
            elif self._credit is not None and self._credit < self._burst * min(
                1.0, 1.0 - mark + (0.0 if is_open else _CREDIT_AGAIN)
            ):
                why = "drain"
            else:
                why = ""
            if why:
                door.why = why
            if is_open != bool(why):
                continue
            self._turn(door, traffic, why)

    def _turn(self, door: _Door, traffic: int, why: str) -> None:
        door.why = why
        if why:
            door.open.clear()
            door.shut_at_s = self._clock()
            self.shut_count[traffic] += 1
        else:
            door.open.set()
        for closed, opened in door.listeners:
            (closed if why else opened)()
