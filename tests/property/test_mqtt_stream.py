"""Properties of the MQTT byte stream: how it is cut changes nothing, and no bytes disturb the server."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import VIEWER, MqttServer, serve

TOPIC = b"cf/v1/d/wl-1/telemetry"


def run(scenario: Callable[[MqttServer, Any], Any], argument: Any) -> None:
    """Run one example against a fresh server on a loop of its own."""

    async def body() -> None:
        async with serve(gather_ms=0.1) as server:
            await scenario(server, argument)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body())


payloads = st.lists(st.binary(max_size=300) | st.just(bytes(2000)), min_size=1, max_size=8)
cuts = st.lists(st.integers(0, 6000), max_size=25)


async def publish_in_pieces(server: MqttServer, example: tuple[int, list[bytes], list[int]]) -> None:
    version, bodies, where = example
    messages = [mq.publish(TOPIC, body, i, version=version) for i, body in enumerate(bodies, 1)]
    stream = mq.connect(version) + b"".join(messages) + b"\xc0\x00"
    edges = sorted({0, len(stream), *(cut % len(stream) for cut in where)})
    async with RawClient(server.port, version) as client:
        for start, end in itertools.pairwise(edges):
            client.send(stream[start:end])
            await asyncio.sleep(0)
        replies = await client.replies(len(bodies) + 2)
        assert [reply.packet_id for reply in replies if reply.type == mq.PUBACK] == list(range(1, len(bodies) + 1))
    assert [taken.payload for taken in server.taken] == bodies


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.tuples(st.sampled_from([4, 5]), payloads, cuts))
def test_any_cutting_of_a_stream_gives_the_same_frames(example):
    run(publish_in_pieces, example)


async def survive(server: MqttServer, junk: tuple[int, bool, list[bytes]]) -> None:
    version, logged_in, pieces = junk
    async with RawClient(server.port) as witness, RawClient(server.port, version) as client:
        await witness.connect(b"wl-2")
        server.endpoint.deliver(b"wl-1", b"cf/v1/d/wl-1/commands", b"kept", 1, True)
        if logged_in:
            await client.connect()
        for piece in pieces:
            if client.writer.transport.is_closing():
                break
            client.send(piece)
            await asyncio.sleep(0)
        witness.send(mq.publish(b"cf/v1/d/wl-2/telemetry", b"fine", 1))
        assert await witness.reply() == mq.Reply(mq.PUBACK, 1, (0,))
    assert b"fine" in [taken.payload for taken in server.taken]


# Random bytes rarely pass a header, so some pieces have a right one, and some are good packets with a few bad bytes.
packets = st.builds(mq.packet, st.integers(0, 15), st.binary(max_size=80), st.integers(0, 15))
good = [
    mq.connect(props=[(17, 9), (38, (b"k", b"v")), (34, 3)], will=(b"cf/v1/d/wl-1/state", b"w", 1, False)),
    mq.connect(clean=False, props=[(17, 9), (33, 1)], will=(TOPIC, b"w", 2, True), will_props=[(24, 1), (2, 9)]),
    mq.publish(TOPIC, b"x" * 30, 5, props=[(1, 1), (3, b"batch"), (35, 2)]),
    mq.publish(TOPIC, b"x", 5, qos=2, props=[(2, 9), (8, b"r"), (9, b"c"), (38, (b"k", b"v")), (35, 2)]),
    mq.publish(b"", b"x", 6, qos=2, retain=True, dup=True, props=[(35, 2)]),
    mq.subscribe(3, [(b"cf/v1/d/wl-1/#", 2), (b"#", 0)], props=[(11, 9)]),
    mq.subscribe(4, [(b"$share/g/cf/v1/d/wl-1/+", 2), (b"cf/v1/d/wl-1/+/x", 0x2E)]),
    mq.unsubscribe(3, [b"cf/v1/d/wl-1/#"]),
    *(mq.ack(type_, packet_id) for type_ in (mq.PUBACK, mq.PUBREC, mq.PUBREL, mq.PUBCOMP) for packet_id in (1, 5)),
    mq.ack(mq.PUBREC, 1, 0x80, [(31, b"no")]),
    mq.disconnect(4),
    mq.disconnect(0, [(31, b"bye")]),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


# What several clients do: each step is one client's packet, or the loss of its connection.
steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.one_of(
            st.tuples(st.just("publish"), st.integers(0, 2), st.booleans()),
            st.tuples(st.just("subscribe"), st.just(2), st.sampled_from([b"cf/v1/#", b"cf/v1/d/+/telemetry"])),
            st.tuples(st.just("unsubscribe"), st.just(0), st.sampled_from([b"cf/v1/#", b"cf/v1/d/+/telemetry"])),
            st.tuples(st.just("drop"), st.just(0), st.just(b"")),
        ),
    ),
    min_size=1,
    max_size=25,
)


class Player:
    """One client that keeps its session, answers by the book, and notes what it has got at QoS 2."""

    def __init__(self, server: MqttServer, number: int, size: int) -> None:
        self.server, self.number, self.size = server, number, size
        self.client: RawClient | None = None
        self.seen: list[bytes] = []
        self.held: set[int] = set()
        self.unacknowledged: dict[int, bytes] = {}  # our QoS 2 messages: the packet to repeat
        self.next_id = 0

    async def link(self) -> RawClient:
        if self.client is None:
            self.client = RawClient(self.server.port)
            await self.client.__aenter__()
            name = VIEWER if self.number else b"wl-1"
            connack = await self.client.connect(name, b"p%d" % self.number, clean=False, props=[(17, 60), (33, 2)])
            if not connack.session_present:
                self.held.clear()
            for packet in self.unacknowledged.values():
                await self.send(packet)
        return self.client

    async def send(self, packet: bytes) -> None:
        """In pieces of `size`, each in a turn of the loop of its own."""
        client = await self.link()
        for at in range(0, len(packet), self.size):
            client.send(packet[at : at + self.size])
            await asyncio.sleep(0)

    async def drop(self) -> None:
        if self.client is not None:
            self.client.drop()
            await self.client.__aexit__(None, None, None)
            self.client = None

    async def publish(self, payload: bytes, qos: int, retain: bool) -> None:
        await self.link()
        self.next_id += 1
        packet = mq.publish(TOPIC, payload, self.next_id, qos=qos, retain=retain)
        if qos == 2:
            self.unacknowledged[self.next_id] = mq.publish(TOPIC, payload, self.next_id, qos=2, dup=True)
        await self.send(packet)

    async def settle(self) -> None:
        """Answer all that comes until a ping is answered and nothing is open any more."""
        client = await self.link()
        while True:
            client.send(b"\xc0\x00")
            is_quiet = True
            while (reply := await client.reply()).type != mq.PINGRESP:
                is_quiet = False
                if reply.type == mq.PUBLISH:
                    if reply.qos != 2 or reply.packet_id not in self.held:
                        self.seen.append(reply.payload)
                    if reply.qos == 2:
                        self.held.add(reply.packet_id)
                    if reply.qos:
                        client.ack(reply)
                elif reply.type == mq.PUBREL:
                    self.held.discard(reply.packet_id)
                    client.send(mq.ack(mq.PUBCOMP, reply.packet_id))
                elif reply.type == mq.PUBREC:
                    self.unacknowledged[reply.packet_id] = mq.ack(mq.PUBREL, reply.packet_id)
                    client.send(mq.ack(mq.PUBREL, reply.packet_id))
                elif reply.type == mq.PUBCOMP:
                    self.unacknowledged.pop(reply.packet_id, None)
            if is_quiet and not self.unacknowledged:
                return


async def play(server: MqttServer, example: tuple[list[Any], int]) -> None:
    game, size = example
    players = [Player(server, number, size) for number in range(3)]
    device, *viewers = players
    sent: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    try:
        for i, (number, (action, qos, detail)) in enumerate(game):
            payload = b"%d" % i
            if action == "publish":
                sent[qos].append(payload)
                await device.publish(payload, qos, detail)
            elif action == "drop":
                await players[number].drop()
            elif action == "subscribe":
                await viewers[number % 2].send(mq.subscribe(7, [(detail, qos | 0x20)]))
            else:
                await viewers[number % 2].send(mq.unsubscribe(8, [detail]))
        for player in players:
            await player.settle()
        taken = [frame.payload for frame in server.taken]
        assert len(set(taken)) == len(taken), "one frame for each message"
        assert set(sent[2]) <= set(taken), "QoS 2 is repeated until it is taken"
        for viewer in viewers:
            assert set(viewer.seen) <= set(taken)
            twos = [payload for payload in viewer.seen if payload in sent[2]]
            assert twos == sorted(set(twos), key=int), "once, and in the order of sending"
        assert server.count("queued_bytes") == 0
    finally:
        for player in players:
            await player.drop()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.tuples(steps, st.sampled_from([1, 3, 7, 1000])))
def test_several_clients_lose_nothing_at_qos_2_however_their_bytes_and_connections_are_cut(example):
    run(play, example)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.tuples(
        st.sampled_from([4, 5]),
        st.booleans(),
        st.lists(st.binary(max_size=60) | packets | damaged(), min_size=1, max_size=6),
    )
)
def test_no_bytes_disturb_another_device(junk):
    run(survive, junk)
