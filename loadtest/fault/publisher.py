"""Many devices that publish at QoS 1, reconnect, send again what was not acknowledged, and know what was."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping

from loadtest.fault.grpc_link import GrpcLink
from loadtest.fault.link import Device, Link
from loadtest.fault.mqtt_link import MqttLink
from loadtest.fault.sequence import Sequence
from loadtest.fault.trial import History

_TICK_S = 0.005
_PATIENCE_S = 20.0


class Fleet:
    """`async with Fleet(port, tokens, seed, ...) as fleet: ...; fleet.stop(); await fleet.drain(30)`.

    Args:
        tokens: as `devices.provision` gives them: gateways `gw-N`, and gauges `{prefix}-N`, of which the first `gauges`
            are behind gateway N modulo `gateways`; the rest connect themselves.
        rate: messages a second of all devices together, while any is connected.
        per_message: readings in a message.
        count: messages after which nothing new is sent; 0: no such bound.
        window: messages of a connection that are sent and not acknowledged.
        grpc, streams: so many of the last devices speak gRPC, at this address, `HOST:PORT`.
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
        grpc: str = "",
        streams: int = 0,
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

        def mqtt(user: str) -> MqttLink:
            return MqttLink(self, port, user, tokens[user], window, patience_s, random.Random(f"{seed}/{user}"))

        self._links: list[Link] = [mqtt(f"gw-{number}") for number in range(gateways)]
        for index in range(gauges + alone):
            name = f"{prefix}-{index}"
            if index < gauges:
                link = self._links[index % gateways]
                topic, fixed = f"cf/v1/g/{link.user}/telemetry/batch", self.sequence.fixed(name)
            else:
                is_grpc = index >= gauges + alone - streams
                link = GrpcLink(self, grpc, name, tokens[name], window) if is_grpc else mqtt(name)
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

    def go_on(self) -> None:
        """After `stop`: new messages again."""
        self._is_stopped = False

    async def drain(self, seconds: float) -> bool:
        """Wait until everything sent is acknowledged; whether it was in time."""
        return await self._until(lambda: not any(link.owes for link in self._links), seconds)

    async def everybody(self, seconds: float) -> bool:
        """Wait until something of each device was acknowledged; whether it was in time."""
        return await self._until(lambda: all(device.newest_acked >= 0 for device in self.devices), seconds)

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

    def payload(self, device: Device, message: int) -> bytes:
        """The `ReadingBatch`, counted as sent."""
        if device.sends[message]:
            self.repeats += 1
        if device.sends[message] < 255:
            device.sends[message] += 1
        self.sent_messages += 1
        self._note("sent", device.id, message)
        return self.sequence.payload(device.fixed, device.index, message)

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
