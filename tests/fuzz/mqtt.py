"""Fuzzing the MQTT endpoint: no bytes, however they are cut, crash it or disturb the device beside.

The input's first byte says who sends and how it is cut; the rest is the stream. Bytes go straight into the protocol
that the event loop would call: no sockets, so that there are thousands of inputs a second.
"""

import asyncio
import random
import zlib
from typing import Any

import uvloop

from ext.mqtt.connection import Connection
from tests.support import mqtt_packets as mq
from tests.support.mqtt_server import MqttServer, serve

_TOPIC = b"cf/v1/d/wl-1/telemetry"
_LOGGED_IN, _VERSION_311, _WHOLE = 1, 2, 4


def _stream(*packets: bytes, how: int = _LOGGED_IN) -> bytes:
    return bytes([how]) + b"".join(packets)


CORPUS = [
    _stream(mq.connect(will=(b"t", b"w", 1, False)), mq.publish(_TOPIC, b"x", 1), b"\xc0\x00", how=0),
    _stream(mq.connect(4), mq.publish(_TOPIC, b"x", 1, version=4), mq.disconnect(), how=_VERSION_311),
    _stream(
        mq.publish(_TOPIC, b"x" * 30, 5, props=[(1, 1), (3, b"batch"), (35, 2), (38, (b"k", b"v"))]),
        mq.publish(b"", b"y", 6, props=[(35, 2)]),
        mq.puback(5),
    ),
    _stream(
        mq.subscribe(3, [(b"cf/v1/d/wl-1/commands", 1), (b"cf/v1/d/wl-1/#", 0)]),
        mq.unsubscribe(3, [b"cf/v1/d/wl-1/#"]),
        mq.packet(5, b"\x00\x05"),
        mq.packet(6, b"\x00\x05", 2),
        mq.packet(7, b"\x00\x05\x92"),
        how=_LOGGED_IN | _WHOLE,
    ),
    _stream(mq.publish(_TOPIC, b"z" * 3000, 9, version=4), b"\xc0\x00", how=_LOGGED_IN | _VERSION_311),
    _stream(mq.disconnect(4, [(17, 60), (31, b"bye")])),
]


class _Wire:
    """What a transport is to the connection; keeps what is written. Anything else that is asked of it does nothing."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_over = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: list[bytes]) -> None:
        self.written += b"".join(parts)

    def write_eof(self) -> None:
        self.is_over = True

    abort = close = write_eof

    def is_closing(self) -> bool:
        return self.is_over

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: None


class World:
    """A real endpoint on an event loop that turns only here."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self._serving = serve(gather_ms=0.0)
        self.server: MqttServer = self.loop.run_until_complete(self._serving.__aenter__())
        self.hub = self.server.endpoint._running()
        self.inputs = 0

    def connection(self) -> tuple[Connection, _Wire]:
        connection, wire = Connection(self.hub), _Wire()
        connection.connection_made(wire)
        return connection, wire

    def feed(self, connection: Connection, data: bytes) -> None:
        """As the event loop does when bytes have come."""
        at = 0
        while at < len(data):
            buffer = memoryview(connection.get_buffer(-1))
            size = min(len(buffer), len(data) - at)
            buffer[:size] = data[at : at + size]
            connection.buffer_updated(size)
            at += size

    def settle(self) -> None:
        """Hand the chunk on, which acknowledges it, and let what was put off happen."""
        self.hub.hand_on()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.server.taken.clear()

    def check_witness(self) -> None:
        """Another device connects, publishes and gets its acknowledgement, whatever has been before."""
        witness, wire = self.connection()
        self.feed(witness, mq.connect(5, b"witness", b"wl-2", b"token-wl-2"))
        self.feed(witness, mq.publish(b"cf/v1/d/wl-2/telemetry", b"fine", 1))
        self.hub.hand_on()
        packets, rest = mq.split(bytes(wire.written))
        assert rest == b""
        assert [first >> 4 for first, _ in packets] == [mq.CONNACK, mq.PUBACK], wire.written
        assert self.server.taken[-1].payload == b"fine"
        witness.connection_lost(None)

    def close(self) -> None:
        self.loop.run_until_complete(self._serving.__aexit__(None, None, None))
        asyncio.set_event_loop(None)
        self.loop.close()


_world: World | None = None


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if the endpoint says what is no MQTT, or fails the device beside."""
    global _world
    world = _world = _world or World()
    how, stream = data[:1] or b"\0", data[1:]
    version = 4 if how[0] & _VERSION_311 else 5
    connection, wire = world.connection()
    if how[0] & _LOGGED_IN:
        world.feed(connection, mq.connect(version, b"c", b"wl-1", b"token-wl-1"))
    cuts = random.Random(zlib.crc32(data))
    while stream:
        size = len(stream) if how[0] & _WHOLE else cuts.choice((1, 2, 3, 5, 17, 100, len(stream)))
        world.feed(connection, stream[:size])
        stream = stream[size:]
    world.settle()
    _, rest = mq.split(bytes(wire.written))
    assert rest == b"", wire.written
    connection.connection_lost(None)
    world.inputs += 1
    if world.inputs % 16 == 0:
        world.check_witness()
    if world.inputs % 256 == 0:
        world.hub.tick()
        world.settle()
