"""What the workers tell each other: downlinks, clients that come back elsewhere, messages for subscribers elsewhere."""

import asyncio
import time
from bisect import bisect_right
from operator import itemgetter

import msgspec
import structlog

from ext.mqtt.connection import Connection
from ext.mqtt.hub import Hub
from ingest.transport.mqtt import MqttEndpoint
from ingest.workers.bus import Bus

log = structlog.get_logger()

_DELIVER, _TAKE_OVER, _FILTERS, _PUBLISH, _RETAINED = "deliver", "take_over", "filters", "publish", "retained"
# Less than a client waits for its CONNACK. Who answers later has given the session away to nobody.
_TAKE_OVER_S = 8.0
# Changes of filters are gathered for so long.
_GATHER_S = 0.005
_PAGE_BYTES = 4_000_000


class Downlink(msgspec.Struct, array_like=True, frozen=True):
    device_id: bytes
    topic: bytes
    payload: bytes
    qos: int
    retain: bool


class Delivered(msgspec.Struct, array_like=True, frozen=True):
    count: int


class TakeOver(msgspec.Struct, array_like=True, frozen=True):
    """A client has come. `key`: user name, a zero byte, client id. `since_ns`: the machine's monotonic clock."""

    key: bytes
    since_ns: int


class HandedOver(msgspec.Struct, array_like=True, frozen=True):
    session: bytes | None = None


class Filters(msgspec.Struct, array_like=True, frozen=True):
    """All that is subscribed on one worker."""

    filters: list[bytes]


class Publication(msgspec.Struct, array_like=True, frozen=True):
    """As `Hub.publish_local` takes it."""

    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    properties: bytes
    expiry_s: int | None
    is_wanted: bool
    groups: list[bytes]


class After(msgspec.Struct, array_like=True, frozen=True):
    """Asks for retained messages of the topics behind this one."""

    topic: bytes


class Page(msgspec.Struct, array_like=True, frozen=True):
    """Retained messages in the order of their topics; empty at the end."""

    messages: list[tuple[bytes, bytes, int, bytes, int | None]]


class Fellows:
    """This worker's endpoint among the others."""

    def __init__(self, bus: Bus, endpoint: MqttEndpoint) -> None:
        self._bus = bus
        self._endpoint = endpoint
        self._hub: Hub | None = None
        self._coming: dict[bytes, tuple[int, asyncio.Future[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._own_filters: list[bytes] = []
        self._filters: dict[int, list[bytes]] = {}
        self._sharing: dict[bytes, list[int]] = {}
        self._turn = 0
        self._telling: asyncio.TimerHandle | None = None
        # Topics retained while pages come from another worker, which are older.
        self._newer: set[bytes] | None = None
        endpoint.before_listening = self._join
        bus.handlers |= {_DELIVER: self._on_deliver, _TAKE_OVER: self._on_take_over, _RETAINED: self._on_retained}
        bus.receivers |= {_FILTERS: self._on_filters, _PUBLISH: self._on_publish}
        bus.on_joined = self._tell_filters_to
        bus.on_left = self._forget

    async def _join(self, hub: Hub) -> None:
        self._hub = hub
        hub.on_coming = self._on_coming
        hub.announce(self._publish, self._filters_changed)
        self._learn()
        await self._fetch_retained(hub)

    # Downlinks

    async def deliver(self, device_id: bytes, topic: bytes, payload: bytes, qos: int, retain: bool = False) -> int:
        """As MqttEndpoint.deliver, to the sessions of all workers."""
        given = self._endpoint.deliver(device_id, topic, payload, qos, retain)
        answers = await self._bus.ask_all(_DELIVER, Downlink(device_id, topic, payload, qos, retain), Delivered)
        return given + sum(answer.count for answer in answers)

    async def _on_deliver(self, _: int, body: msgspec.Raw) -> Delivered:
        if self._hub is None:
            return Delivered(0)
        message = msgspec.msgpack.decode(body, type=Downlink)
        return Delivered(
            self._hub.deliver(message.device_id, message.topic, message.payload, message.qos, message.retain)
        )

    # A client that comes back on another worker

    def _on_coming(self, connection: Connection, key: bytes) -> None:
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
            answers = await self._bus.ask_all(_TAKE_OVER, TakeOver(key, since_ns), HandedOver, _TAKE_OVER_S)
            for answer in answers:
                if answer.session is not None and self._hub is not None:
                    self._hub.import_session(answer.session)
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
        return HandedOver(self._hub.export_session(message.key) if self._hub is not None else None)

    # Messages for subscribers elsewhere

    def _filters_changed(self, filters: list[bytes]) -> None:
        self._own_filters = filters
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_GATHER_S, self._tell_filters)

    def _tell_filters(self) -> None:
        self._telling = None
        self._bus.tell_all(_FILTERS, Filters(self._own_filters))

    def _tell_filters_to(self, worker: int) -> None:
        self._bus.tell(worker, _FILTERS, Filters(self._own_filters))

    def _on_filters(self, worker: int, body: msgspec.Raw) -> None:
        self._filters[worker] = msgspec.msgpack.decode(body, type=Filters).filters
        self._learn()

    def _forget(self, worker: int) -> None:
        self._filters.pop(worker, None)
        self._learn()

    def _learn(self) -> None:
        self._sharing = {}
        for worker, filters in self._filters.items():
            for one in filters:
                if one.startswith(b"$share/"):
                    self._sharing.setdefault(one, []).append(worker)
        if self._hub is not None:
            self._hub.set_remote_filters(list({one for filters in self._filters.values() for one in filters}))

    def _publish(
        self,
        topic: bytes,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: bytes,
        expiry_s: int | None,
        is_wanted: bool,
        groups: list[bytes],
    ) -> None:
        """A message published here that others want; each shared group is given to one worker."""
        given: dict[int, list[bytes]] = {}
        for group in groups:
            members = self._sharing.get(group)
            if members:
                self._turn += 1
                given.setdefault(members[self._turn % len(members)], []).append(group)
        for worker in self._bus.joined:
            own = given.get(worker, [])
            if is_wanted or retain or own:
                message = Publication(topic, payload, qos, retain, properties, expiry_s, is_wanted, own)
                self._bus.tell(worker, _PUBLISH, message)

    def _on_publish(self, _: int, body: msgspec.Raw) -> None:
        message = msgspec.msgpack.decode(body, type=Publication)
        if self._newer is not None and message.retain:
            self._newer.add(message.topic)
        if self._hub is not None:
            self._hub.publish_local(
                message.topic,
                message.payload,
                message.qos,
                message.retain,
                message.properties,
                message.expiry_s,
                message.is_wanted,
                message.groups,
            )

    # Retained messages, for a worker that starts

    async def _fetch_retained(self, hub: Hub) -> None:
        """From the first that answers to the end; all have the same."""
        self._newer = set()
        try:
            for worker in sorted(self._bus.joined):
                after = b""
                while (page := await self._bus.ask(worker, _RETAINED, After(after), Page)) is not None:
                    if not page.messages:
                        return
                    for topic, payload, qos, properties, expiry_s in page.messages:
                        if topic not in self._newer:
                            hub.publish_local(topic, payload, qos, True, properties, expiry_s, False, [])
                    after = page.messages[-1][0]
        finally:
            self._newer = None

    async def _on_retained(self, _: int, body: msgspec.Raw) -> Page:
        after = msgspec.msgpack.decode(body, type=After).topic
        messages = sorted(self._hub.retained_messages() if self._hub is not None else (), key=itemgetter(0))
        page, size = [], 0
        for message in messages[bisect_right(messages, after, key=itemgetter(0)) :]:
            page.append(message)
            size += len(message[0]) + len(message[1]) + len(message[3])
            if size >= _PAGE_BYTES:
                break
        return Page(page)
