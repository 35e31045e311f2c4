"""Many devices that publish at QoS 1, reconnect, send again what was not acknowledged, and know what was."""

import asyncio
import contextlib
import random
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import cast

from loadtest.fault.sequence import Sequence, varint
from loadtest.fault.trial import History

_TICK_S = 0.005
_BACKOFF_S = (0.05, 1.0)
_REFUSED_AGAIN_S = 0.2
_PATIENCE_S = 20.0
_CONNACK, _PUBACK, _DISCONNECT = 0x20, 0x40, 0xE0
_RECEIVE_MAXIMUM = 0x21
# Lengths of MQTT 5 properties in a CONNACK, by identifier; 0: a string or bytes with its own length.
_PROPERTY_SIZES = {
    0x11: 4, 0x12: 0, 0x13: 2, 0x15: 0, 0x16: 0, 0x1A: 0, 0x1C: 0, 0x1F: 0, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1,
    0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1,
}  # fmt: skip


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


class Fleet:
    """`async with Fleet(port, tokens, seed, ...) as fleet: ...; fleet.stop(); await fleet.drain(30)`.

    Args:
        tokens: as `devices.provision` gives them: gateways `gw-N`, and gauges `{prefix}-N`, of which the first `gauges`
            are behind gateway N modulo `gateways`; the rest connect themselves.
        rate: messages a second of all devices together, while any is connected.
        per_message: readings in a message.
        count: messages after which nothing new is sent; 0: no such bound.
        window: messages of a connection that are sent and not acknowledged.
        patience_s: a connection that owes acknowledgements and is silent for so long is made anew.
    """

    def __init__(
        self,
        port: int,
        tokens: Mapping[str, str],
        seed: str,
        *,
        gateways: int,
        gauges: int,
        alone: int = 0,
        prefix: str = "wl",
        rate: float = 500.0,
        per_message: int = 20,
        count: int = 0,
        window: int = 32,
        patience_s: float = _PATIENCE_S,
        history: History | None = None,
        metric: str = "water_level_m",
    ) -> None:
        self.sequence = Sequence(seed, per_message, metric)
        self.prefix = prefix
        self.rate = rate
        self.per_message = per_message
        self.sent_messages = 0
        self.acked_messages = 0
        # Messages that were to be sent again, and PUBACKs that refused, by reason code.
        self.repeats = 0
        self.refusals: Counter[int] = Counter()
        self.connects = 0
        self.connects_refused: Counter[int] = Counter()
        self.last_ack_at = time.monotonic()
        self._chance = random.Random(seed)
        self._count = count
        self._new = 0
        self._is_stopped = False
        self._task: asyncio.Task[None] | None = None
        self._note: Callable[[str, str, int], None] = history.message if history else lambda *_: None
        self._event: Callable[..., None] = history.append if history else lambda *_, **__: None
        self.devices: list[Device] = []
        self._links = [
            _Link(
                self,
                port,
                f"gw-{number}",
                tokens[f"gw-{number}"],
                window,
                patience_s,
                random.Random(f"{seed}/gw/{number}"),
            )
            for number in range(gateways)
        ]
        for index in range(gauges + alone):
            name = f"{prefix}-{index}"
            if index < gauges:
                link = self._links[index % gateways]
                topic, fixed = f"cf/v1/g/{link.user}/telemetry/batch", self.sequence.fixed(name)
            else:
                link = _Link(self, port, name, tokens[name], window, patience_s, random.Random(f"{seed}/{name}"))
                self._links.append(link)
                topic, fixed = f"cf/v1/d/{name}/telemetry/batch", self.sequence.fixed("")
            device = Device(index, name, topic.encode(), fixed)
            self.devices.append(device)
            link.devices.append(device)

    async def __aenter__(self) -> "Fleet":
        for link in self._links:
            link.begin()
        self._task = asyncio.create_task(self._run(), name="fleet")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for link in self._links:
            await link.end()

    @property
    def acknowledged(self) -> int:
        """Readings, each counted once."""
        return self.per_message * sum(device.acked.count(1) for device in self.devices)

    @property
    def connected(self) -> int:
        return sum(link.is_open for link in self._links)

    def stop(self) -> None:
        """Nothing new; what is under way is sent until it is acknowledged."""
        self._is_stopped = True

    async def drain(self, seconds: float) -> bool:
        """Wait until everything sent is acknowledged; whether it was in time."""
        return await self._until(lambda: not any(link.owes for link in self._links), seconds)

    async def acknowledges(self, more: int = 1, seconds: float = 60.0) -> float:
        """Wait for so many more acknowledged messages; returns the seconds that took. Raises: TimeoutError."""
        began, wanted = time.monotonic(), self.acked_messages + more
        if not await self._until(lambda: self.acked_messages >= wanted, seconds):
            raise TimeoutError(f"nothing was acknowledged for {seconds:g} s")
        return time.monotonic() - began

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    async def _run(self) -> None:
        """Hand out what the rate allows, to each connection in turn."""
        credit, before = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            # What could not be sent for half a second is not caught up with.
            credit, before = min(credit + (now - before) * self.rate, 1 + self.rate / 2), now
            ready = [link for link in self._links if link.room]
            share = int(credit) // len(ready) + 1 if ready else 0
            for link in self._chance.sample(ready, len(ready)) if len(ready) > credit else ready:
                if credit < 1:
                    break
                credit -= link.send(min(share, int(credit)))
            for link in self._links:
                link.look_at_clock(now)

    def next_of(self, device: Device) -> int | None:
        """The number of the device's next new message; None if there is to be none."""
        if self._is_stopped or (self._count and self._new >= self._count):
            return None
        self._new += 1
        device.sends.append(0)
        device.acked.append(0)
        return len(device.sends) - 1

    def packet(self, device: Device, message: int, packet_id: int) -> bytes:
        """The PUBLISH, counted as sent. MQTT 5: no properties."""
        if device.sends[message]:
            self.repeats += 1
        if device.sends[message] < 255:
            device.sends[message] += 1
        self.sent_messages += 1
        self._note("sent", device.id, message)
        payload = self.sequence.payload(device.fixed, device.index, message)
        body = b"".join((device.topic, packet_id.to_bytes(2, "big"), b"\x00", payload))
        return b"".join((b"\x32", varint(len(body)), body))

    def settled(self, device: Device, message: int, reason: int, now: float) -> None:
        if reason >= 0x80:
            self.refusals[reason] += 1
            self._event("refused", device=device.id, message=message, reason=reason)
            return
        self.last_ack_at = now
        self.acked_messages += 1
        device.acked[message] = 1
        self._note("acked", device.id, message)

    def told(self, event: str, link: str, **fields: object) -> None:
        self._event(event, link=link, **fields)


class _Link(asyncio.Protocol):
    """One connection, made again for ever. What it owes goes first when it is back."""

    def __init__(
        self, fleet: Fleet, port: int, user: str, token: str, window: int, patience_s: float, chance: random.Random
    ) -> None:
        self.user = user
        self.devices: list[Device] = []
        self.is_open = False
        self._fleet = fleet
        self._port = port
        self._token = token
        self._asked_window = self._window = window
        self._patience_s = patience_s
        self._chance = chance
        self._turn = 0
        self._packet_id = 0
        self._in_flight: dict[int, tuple[Device, int]] = {}
        self._again: deque[tuple[Device, int]] = deque()
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
        """Messages that were sent and not acknowledged."""
        return len(self._in_flight) + len(self._again) + self._later

    @property
    def room(self) -> bool:
        return self.is_open and not self._is_full and len(self._in_flight) < self._window

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
        """Write up to `most` messages at once; returns how many."""
        packets: list[bytes] = []
        most = min(most, self._window - len(self._in_flight))
        while len(packets) < most:
            if self._again:
                device, message = self._again.popleft()
            else:
                device = self.devices[self._turn % len(self.devices)]
                self._turn += 1
                new = self._fleet.next_of(device)
                if new is None:
                    break
                message = new
            self._packet_id = self._packet_id % 65535 + 1
            while self._packet_id in self._in_flight:
                self._packet_id = self._packet_id % 65535 + 1
            self._in_flight[self._packet_id] = device, message
            packets.append(self._fleet.packet(device, message, self._packet_id))
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
        if self.is_open:
            self._fleet.told("lost", self.user, owes=len(self._in_flight))
        self.is_open, self._transport = False, None
        self._again.extendleft(reversed(self._in_flight.values()))
        self._in_flight.clear()
        if not self._is_leaving:
            self._task = asyncio.get_running_loop().create_task(self._connect(), name=self.user)

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
