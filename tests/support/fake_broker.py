"""A broker for tests that says what a script tells it to, and a consumer whose chunks the test holds and releases."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ext.mqtt.intake import DeliveryChunk
from ext.telemetry.frames import FrameChunk
from ingest.settings import BrokerSettings, Watermarks
from ingest.transport.broker import BrokerConsumer
from ingest.transport.gate import Gate
from tests.support import mqtt_packets as mq
from tests.support.mqtt_server import fleet

DEADLINE_S = 60.0
PUBREC, PUBREL, PUBCOMP = 5, 6, 7


def connack(session: bool = False, reason: int = 0, props: mq.Properties | None = None, version: int = 5) -> bytes:
    body = bytes((session, reason)) + (mq.properties(props or []) if version == 5 else b"")
    return mq.packet(mq.CONNACK, body)


def ack(type_: int, packet_id: int) -> bytes:
    return mq.packet(type_, struct.pack(">H", packet_id), 2 if type_ == PUBREL else 0)


class Connect(NamedTuple):
    version: int
    is_clean: bool
    keep_alive_s: int
    properties: dict[int, Any]
    client_id: bytes
    rest: bytes


class Peer:
    """One connection, as the broker sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._packets: list[tuple[int, bytes]] = []
        self._rest = b""
        self.version = 5
        self.filters: list[tuple[bytes, int]] = []
        self.unsubscribed: list[bytes] = []

    def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))

    async def next(self) -> tuple[int, bytes]:
        """Type and body of the next packet. Raises EOFError when the client has gone."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._packets:
                try:
                    data = await self._reader.read(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    raise EOFError
                found, self._rest = mq.split(self._rest + data)
                self._packets += found
        first, body = self._packets.pop(0)
        return first >> 4, body

    async def expect(self, type_: int) -> bytes:
        """The body of the next packet, which must be of this type; pings are answered on the way."""
        while True:
            found, body = await self.next()
            if found == mq.PINGREQ and type_ != mq.PINGREQ:
                self.send(b"\xd0\x00")
                continue
            assert found == type_, (found, body, type_)
            return body

    async def expect_ids(self, type_: int, count: int) -> list[int]:
        return [struct.unpack(">H", (await self.expect(type_))[:2])[0] for _ in range(count)]

    async def connect(self) -> Connect:
        """Read the CONNECT."""
        body = await self.expect(mq.CONNECT)
        self.version, flags, keep_alive_s = body[6], body[7], struct.unpack(">H", body[8:10])[0]
        props, rest = mq.read_properties(body[10:]) if self.version == 5 else ({}, body[10:])
        size = struct.unpack(">H", rest[:2])[0]
        return Connect(self.version, bool(flags & 2), keep_alive_s, props, rest[2 : 2 + size], rest[2 + size :])

    async def subscribed(self, reason: int | None = None) -> None:
        """Read the SUBSCRIBE, and an UNSUBSCRIBE before it, and grant all, or answer each with `reason`."""
        type_, body = await self.next()
        if type_ == mq.UNSUBSCRIBE:
            rest = body[3:] if self.version == 5 else body[2:]
            while rest:
                size = struct.unpack(">H", rest[:2])[0]
                self.unsubscribed.append(rest[2 : 2 + size])
                rest = rest[2 + size :]
            head = body[:2] + (b"\0" if self.version == 5 else b"")
            granted = b"\0" * len(self.unsubscribed) if self.version == 5 else b""
            self.send(mq.packet(mq.UNSUBACK, head + granted))
            type_, body = await self.next()
        assert type_ == mq.SUBSCRIBE, type_
        rest = body[3:] if self.version == 5 else body[2:]
        while rest:
            size = struct.unpack(">H", rest[:2])[0]
            self.filters.append((rest[2 : 2 + size], rest[2 + size]))
            rest = rest[3 + size :]
        codes = bytes((options & 3) if reason is None else reason for _, options in self.filters)
        self.send(mq.packet(mq.SUBACK, body[:2] + (b"\0" if self.version == 5 else b"") + codes))

    async def welcome(self, session: bool = False, props: mq.Properties | None = None) -> Connect:
        """The usual beginning: CONNECT, CONNACK, SUBSCRIBE, SUBACK."""
        connect = await self.connect()
        self.send(connack(session, props=props, version=self.version))
        await self.subscribed()
        return connect

    async def until_closed(self) -> list[tuple[int, bytes]]:
        """What the client still sends; pings are answered."""
        found = []
        with contextlib.suppress(EOFError):
            while True:
                packet = await self.next()
                if packet[0] == mq.PINGREQ:
                    self.send(b"\xd0\x00")
                else:
                    found.append(packet)
        return found


class FakeBroker:
    """`async with FakeBroker() as broker`, then `async with broker.peer() as peer` for each connection that comes."""

    def __init__(self) -> None:
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._open: list[Peer] = []
        self.port = 0

    async def __aenter__(self) -> "FakeBroker":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for peer in self._open:
            peer.writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._open.append(peer)
        self._peers.put_nowait(peer)

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """The next connection; closed at the end of the block."""
        async with asyncio.timeout(DEADLINE_S):
            peer = await self._peers.get()
        try:
            yield peer
        finally:
            peer.writer.close()


class Consuming:
    """A consumer, and what it took: tuples as of DeliveryChunk.as_tuples. Chunks wait in `held` unless `acks`."""

    def __init__(self, settings: BrokerSettings, limit_bytes: int, state_file: Path | None) -> None:
        self.gate = Gate(limit_bytes, Watermarks(broker=1.0))
        self.index = fleet()
        self.taken: list[tuple[bytes, bytes, int, int, int, int, bool]] = []
        self.held: list[FrameChunk] = []
        self.acks = True
        self.consumer = BrokerConsumer(settings, self.index, self.gate, self._take, state_file, (0.01, 0.05))

    def _take(self, chunk: FrameChunk) -> None:
        assert isinstance(chunk, DeliveryChunk)
        self.gate.take(chunk.size_bytes)
        self.taken += chunk.as_tuples()
        self.held.append(chunk)
        if self.acks:
            self.release()

    def release(self, count: int | None = None) -> None:
        """Let the oldest chunks be durable."""
        ripe, self.held = self.held[:count], self.held[len(self.held[:count]) :]
        for chunk in ripe:
            assert chunk.on_durable is not None
            chunk.on_durable(chunk)
            self.gate.give_back(chunk.size_bytes)

    @property
    def payloads(self) -> list[bytes]:
        return [frame[1] for frame in self.taken]

    async def until(self, condition: Callable[[], bool], facts: Callable[[], Any] = lambda: "") -> None:
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, (facts(), self.consumer.reconnects(), self.taken[-5:])
            await asyncio.sleep(0.002)

    async def until_taken(self, count: int) -> None:
        await self.until(lambda: len(self.taken) >= count, lambda: (count, len(self.taken)))

    async def until_reconnect(self, cause: str, count: int = 1) -> None:
        await self.until(lambda: self.consumer.reconnects().get(cause, 0) >= count, lambda: cause)


@asynccontextmanager
async def consuming(
    port: int,
    *,
    limit_bytes: int = 256_000_000,
    state_file: Path | None = None,
    before: Callable[[BrokerConsumer], Awaitable[None] | None] | None = None,
    **settings: Any,
) -> AsyncIterator[Consuming]:
    """Run a consumer of one connection against 127.0.0.1:`port`; `settings` are of ingest.broker."""
    given = {"host": "127.0.0.1", "client_id": "node", "connections": 1, "gather_ms": 1.0, **settings}
    one = Consuming(BrokerSettings(port=port, **given), limit_bytes, state_file)
    if before is not None:
        before(one.consumer)
    task = asyncio.create_task(one.consumer.run())
    try:
        yield one
        if task.done():
            task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
