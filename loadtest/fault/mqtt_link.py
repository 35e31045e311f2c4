"""A device or gateway over MQTT."""

import asyncio
import contextlib
import random
import struct
import time
from typing import TYPE_CHECKING, cast

from loadtest.fault.link import Device, Link
from loadtest.fault.sequence import varint

if TYPE_CHECKING:
    from loadtest.fault.publisher import Fleet

_BACKOFF_S = (0.05, 1.0)
_REFUSED_AGAIN_S = 0.2
_CONNACK, _PUBACK, _DISCONNECT = 0x20, 0x40, 0xE0
_RECEIVE_MAXIMUM = 0x21
# Lengths of MQTT 5 properties in a CONNACK, by identifier; 0: a string or bytes with its own length.
_PROPERTY_SIZES = {
    0x11: 4, 0x12: 0, 0x13: 2, 0x15: 0, 0x16: 0, 0x1A: 0, 0x1C: 0, 0x1F: 0, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1,
    0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1,
}  # fmt: skip


class MqttLink(Link, asyncio.Protocol):
    """MQTT 5 in raw packets, a write for each lot of messages."""

    def __init__(
        self, fleet: "Fleet", port: int, user: str, token: str, window: int, patience_s: float, chance: random.Random
    ) -> None:
        super().__init__(fleet, user, token, window)
        self._port = port
        self._asked_window = window
        self._patience_s = patience_s
        self._chance = chance
        self._packet_id = 0
        self._later = 0
        self._rest = b""
        self._is_full = False
        self._heard_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._is_leaving = False

    @property
    def owes(self) -> int:
        return super().owes + self._later

    @property
    def room(self) -> bool:
        return super().room and not self._is_full

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._connect(), name=self.user)

    async def end(self) -> None:
        self._is_leaving = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._transport is not None:
            if self.is_open:
                self._transport.write(b"\xe0\x00")
            self._transport.close()

    def send(self, most: int) -> int:
        packets: list[bytes] = []
        most = min(most, self._window - len(self._in_flight))
        while len(packets) < most and (picked := self._pick()) is not None:
            self._packet_id = self._packet_id % 65535 + 1
            while self._packet_id in self._in_flight:
                self._packet_id = self._packet_id % 65535 + 1
            self._in_flight[self._packet_id] = picked
            device, message = picked
            payload = self._fleet.payload(device, message)
            body = b"".join((device.topic, self._packet_id.to_bytes(2, "big"), b"\x00", payload))
            packets.append(b"".join((b"\x32", varint(len(body)), body)))
        if packets and self._transport is not None:
            self._transport.write(b"".join(packets))
        return len(packets)

    def look_at_clock(self, now: float) -> None:
        if self.is_open and not self._in_flight:
            self._heard_at = now
        elif self._transport is not None and self._patience_s and now - self._heard_at > self._patience_s:
            self._fleet.told("impatient", self.user)
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport, self._rest, self._is_full = cast(asyncio.Transport, transport), b"", False
        self._heard_at = time.monotonic()
        names = (self.user.encode(), self.user.encode(), self._token.encode())
        body = b"\x00\x04MQTT\x05\xc2\x00\x00\x00" + b"".join(struct.pack(">H", len(name)) + name for name in names)
        self._transport.write(b"\x10" + varint(len(body)) + body)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()
        self._transport = None
        if not self._is_leaving:
            self.begin()

    def data_received(self, data: bytes) -> None:
        now = self._heard_at = time.monotonic()
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while at + 2 <= size:
            length, first, shift = data[at + 1] & 0x7F, at + 2, 7
            while data[first - 1] & 0x80:
                if first == size:
                    self._rest = data[at:]
                    return
                length |= (data[first] & 0x7F) << shift
                first, shift = first + 1, shift + 7
            if first + length > size:
                break
            self._packet(data[at], data[first : first + length], now)
            at = first + length
        self._rest = data[at:]

    def _packet(self, kind: int, body: bytes, now: float) -> None:
        if kind == _PUBACK:
            owed = self._in_flight.pop(body[0] << 8 | body[1], None)
            if owed is None:
                return
            reason = body[2] if len(body) > 2 else 0
            self._fleet.settled(*owed, reason, now)
            if reason >= 0x80:
                self._later += 1
                asyncio.get_running_loop().call_later(_REFUSED_AGAIN_S, self._send_again, owed)
        elif kind == _CONNACK:
            if body[1]:
                self._fleet.connects_refused[body[1]] += 1
                if self._transport is not None:
                    self._transport.close()
            else:
                self._window = min(self._asked_window, _receive_maximum(body[2:]))
                self.is_open, self._failures = True, 0
                self._fleet.connects += 1
                self._fleet.told("connected", self.user)
        elif kind == _DISCONNECT:
            self._fleet.told("disconnect", self.user, reason=body[0] if body else 0)

    def _send_again(self, owed: tuple[Device, int]) -> None:
        self._later -= 1
        self._again.append(owed)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._failures:
                pause_s = min(_BACKOFF_S[0] * 2.0 ** min(self._failures, 10), _BACKOFF_S[1])
                await asyncio.sleep(pause_s * self._chance.uniform(0.5, 1.0))
            self._failures += 1
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(10):
                    await loop.create_connection(lambda: self, "127.0.0.1", self._port)
                return


def _receive_maximum(properties: bytes) -> int:
    """Of a CONNACK's properties with their length."""
    at = 1 if properties and properties[0] < 0x80 else 2
    while at < len(properties):
        kind = properties[at]
        size = _PROPERTY_SIZES.get(kind)
        if size is None:
            break
        if kind == _RECEIVE_MAXIMUM:
            return int.from_bytes(properties[at + 1 : at + 3], "big")
        at += 1 + (size or 2 + int.from_bytes(properties[at + 1 : at + 3], "big"))
    return 65535
