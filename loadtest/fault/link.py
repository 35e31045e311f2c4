"""What every connection of a fleet has: its devices, what it has sent and what it owes."""

import struct
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtest.fault.publisher import Fleet


class Device:
    """One series. A byte a message: how often it was sent (at most 255), and whether it was acknowledged."""

    def __init__(self, index: int, device_id: str, topic: bytes, fixed: bytes) -> None:
        self.index = index
        self.id = device_id
        self.topic = struct.pack(">H", len(topic)) + topic
        self.fixed = fixed
        self.sends = bytearray()
        self.acked = bytearray()

    @property
    def newest_acked(self) -> int:
        """The last message that was acknowledged; -1: none."""
        return self.acked.rfind(1)


class Link:
    """One connection, made again for ever. What it owes goes first when it is back."""

    def __init__(self, fleet: "Fleet", user: str, token: str, window: int) -> None:
        self.user = user
        self.devices: list[Device] = []
        self.is_open = False
        self._fleet = fleet
        self._token = token
        self._window = window
        self._turn = 0
        # By what the acknowledgement will name.
        self._in_flight: dict[int, tuple[Device, int]] = {}
        self._again: deque[tuple[Device, int]] = deque()

    @property
    def owes(self) -> int:
        """Messages that were sent and not acknowledged."""
        return len(self._in_flight) + len(self._again)

    @property
    def room(self) -> bool:
        return self.is_open and len(self._in_flight) < self._window

    def begin(self) -> None:
        """Connect, and again whenever the connection is lost."""
        raise NotImplementedError

    async def end(self) -> None:
        raise NotImplementedError

    def send(self, most: int) -> int:
        """Send up to `most` messages at once; returns how many."""
        raise NotImplementedError

    def look_at_clock(self, now: float) -> None:
        """Called every few milliseconds."""

    def _pick(self) -> tuple[Device, int] | None:
        """What goes next: what must go again, then new messages of the devices in turn."""
        if self._again:
            return self._again.popleft()
        device = self.devices[self._turn % len(self.devices)]
        self._turn += 1
        message = self._fleet.next_of(device)
        return None if message is None else (device, message)

    def _lost(self) -> None:
        if self.is_open:
            self._fleet.told("lost", self.user, owes=len(self._in_flight))
        self.is_open = False
        self._again.extendleft(reversed(self._in_flight.values()))
        self._in_flight.clear()
