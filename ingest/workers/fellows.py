"""What the workers tell each other: downlinks, and that a client has come back elsewhere."""

import asyncio
import time

import msgspec
import structlog

from ext.mqtt.connection import Connection
from ingest.transport.mqtt import MqttEndpoint
from ingest.workers.bus import Bus

log = structlog.get_logger()

_DELIVER = "deliver"
_TAKE_OVER = "take_over"


class Downlink(msgspec.Struct, array_like=True, frozen=True):
    device_id: bytes
    topic: bytes
    payload: bytes
    qos: int
    retain: bool


class Delivered(msgspec.Struct, array_like=True, frozen=True):
    count: int


class TakeOver(msgspec.Struct, array_like=True, frozen=True):
    """A client has come. `since_ns` is the machine's monotonic clock, the same for all workers."""

    key: bytes
    since_ns: int


class HandedOver(msgspec.Struct, array_like=True, frozen=True):
    session: bytes | None = None


class Fellows:
    """This worker's endpoint among the others."""

    def __init__(self, bus: Bus, endpoint: MqttEndpoint) -> None:
        self._bus = bus
        self._endpoint = endpoint
        self._coming: dict[bytes, tuple[int, asyncio.Future[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        endpoint.on_coming = self.on_coming
        bus.handlers |= {_DELIVER: self._on_deliver, _TAKE_OVER: self._on_take_over}

    # Downlinks

    async def deliver(self, device_id: bytes, topic: bytes, payload: bytes, qos: int, retain: bool = False) -> int:
        """As MqttEndpoint.deliver, to the sessions of all workers."""
        given = self._endpoint.deliver(device_id, topic, payload, qos, retain)
        answers = await self._bus.ask_all(_DELIVER, Downlink(device_id, topic, payload, qos, retain), Delivered)
        return given + sum(answer.count for answer in answers)

    async def _on_deliver(self, _: int, body: msgspec.Raw) -> Delivered:
        message = msgspec.msgpack.decode(body, type=Downlink)
        return Delivered(
            self._endpoint.deliver(message.device_id, message.topic, message.payload, message.qos, message.retain)
        )

    # A client that comes back on another worker

    def on_coming(self, connection: Connection, key: bytes) -> None:
        """A client waits for its CONNACK: end what it has elsewhere, and bring its session here."""
        task = asyncio.ensure_future(self._fetch(connection, key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, connection: Connection, key: bytes) -> None:
        while key in self._coming:  # the same client twice here: one after the other, the second takes over
            await asyncio.shield(self._coming[key][1])
        since_ns = time.monotonic_ns()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._coming[key] = since_ns, done
        try:
            await self._bus.ask_all(_TAKE_OVER, TakeOver(key, since_ns), HandedOver)
            connection.go_on()
        finally:
            del self._coming[key]
            done.set_result(None)

    async def _on_take_over(self, worker: int, body: msgspec.Raw) -> HandedOver:
        message = msgspec.msgpack.decode(body, type=TakeOver)
        coming = self._coming.get(message.key)
        if coming is not None:
            since_ns, done = coming
            if (since_ns, self._bus.number) > (message.since_ns, worker):
                return HandedOver()  # that client is the older one: it connects there, and then we take it over
            await asyncio.shield(done)
        return HandedOver(self._endpoint.export_session(message.key))
