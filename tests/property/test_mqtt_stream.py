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
from tests.support.mqtt_server import MqttServer, serve

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
    mq.connect(props=[(17, 9), (38, (b"k", b"v"))], will=(b"t", b"w", 1, False)),
    mq.publish(TOPIC, b"x" * 30, 5, props=[(1, 1), (3, b"batch"), (35, 2)]),
    mq.subscribe(3, [(b"cf/v1/d/wl-1/#", 1), (b"#", 0)]),
    mq.unsubscribe(3, [b"cf/v1/d/wl-1/#"]),
    mq.puback(5),
    mq.disconnect(0, [(31, b"bye")]),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


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
