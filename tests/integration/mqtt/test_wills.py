"""Wills: when they are sent, when not, and that a device's will goes down the pipeline like its other messages."""

import asyncio

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import EDGE, SENSOR, VIEWER, serve

STATE = b"cf/v1/d/wl-1/state"
WILL = (STATE, b"gone", 1, False)
KEEP = [(17, 300)]


async def watch(viewer: RawClient) -> None:
    await viewer.connect(VIEWER)
    await viewer.subscribe((b"cf/v1/#", 2 | 8))  # retain as published


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(("qos", "retain"), [(0, False), (1, True), (2, True)])
async def test_a_lost_connection_sends_the_will(version, qos, retain):
    async with serve() as server, RawClient(server.port) as viewer, RawClient(server.port, version) as client:
        await watch(viewer)
        await client.connect(will=(STATE, b"gone", qos, retain))
        client.drop()
        message = await viewer.reply()
        assert (message.topic, message.payload, message.qos, message.retain) == (STATE, b"gone", qos, retain)
        assert server.count("retained") == retain
        assert server.count("wills") == 1
        await server.until("chunks", 1)
        assert (server.taken[0].topic, server.taken[0].sender) == (STATE, server.index.find_device(SENSOR))


async def test_a_good_bye_takes_the_will_along_and_reason_4_does_not():
    async with serve() as server, RawClient(server.port) as viewer:
        await watch(viewer)
        async with RawClient(server.port, 4) as client:
            await client.connect(will=WILL)
            await client.leave()
        async with RawClient(server.port) as client:
            await client.connect(will=WILL)
            await client.leave(0)
        await viewer.ping()
        async with RawClient(server.port) as client:
            await client.connect(will=WILL)
            await client.leave(4)
        assert (await viewer.reply()).payload == b"gone"


@pytest.mark.parametrize("cause", ["keep alive", "kick", "protocol error"])
async def test_whatever_else_ends_the_connection_sends_the_will(cause):
    async with serve() as server, RawClient(server.port) as viewer, RawClient(server.port) as client:
        await watch(viewer)
        await client.connect(will=WILL, keep_alive_s=1)
        if cause == "kick":
            server.endpoint.kick(SENSOR)
        elif cause == "protocol error":
            client.send(mq.connect())
        assert (await viewer.reply()).payload == b"gone"


async def test_a_will_waits_for_its_delay_and_a_return_cancels_it():
    async with serve() as server, RawClient(server.port) as viewer:
        await watch(viewer)
        for _ in range(2):
            async with RawClient(server.port) as client:
                await client.connect(clean=False, props=KEEP, will=WILL, will_props=[(24, 1)])
                client.drop()
            await asyncio.sleep(0.05)
            await viewer.ping()
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=KEEP)  # without a will
            await asyncio.sleep(1.4)
            await viewer.ping()
            await client.leave()
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=KEEP, will=WILL, will_props=[(24, 1)])
            client.drop()
        await asyncio.sleep(0.1)
        await viewer.ping()
        assert (await viewer.reply()).payload == b"gone"
        assert server.count("sessions") == 2


async def test_a_session_that_ends_first_sends_the_will():
    async with serve() as server, RawClient(server.port) as viewer:
        await watch(viewer)
        async with RawClient(server.port) as client:
            await client.connect(props=[(17, 1)], will=WILL, will_props=[(24, 300)])
            client.drop()
        assert (await viewer.reply()).payload == b"gone"
        async with RawClient(server.port) as client:  # no session at all: at once
            await client.connect(will=WILL, will_props=[(24, 300)])
            client.drop()
        assert (await viewer.reply()).payload == b"gone"
        async with RawClient(server.port) as client:  # a clean start ends it
            await client.connect(props=KEEP, will=WILL, will_props=[(24, 300)])
            client.drop()
        await viewer.ping()
        async with RawClient(server.port) as client:
            await client.connect(clean=True, props=KEEP)
            assert (await viewer.reply()).payload == b"gone"


@pytest.mark.parametrize(("delay", "sent"), [(0, True), (300, False)])
async def test_a_takeover_sends_only_a_will_without_delay(delay, sent):
    async with (
        serve() as server,
        RawClient(server.port) as viewer,
        RawClient(server.port) as first,
        RawClient(server.port) as second,
    ):
        await watch(viewer)
        await first.connect(props=KEEP, will=WILL, will_props=[(24, delay)])
        await second.connect(clean=False, props=KEEP)
        if sent:
            assert (await viewer.reply()).payload == b"gone"
        await viewer.ping()
        await second.ping()


async def test_the_properties_of_a_will_are_those_of_its_message():
    props = [(1, 1), (3, b"text/plain"), (8, b"answer"), (9, b"id"), (38, (b"b", b"1")), (38, (b"a", b"2"))]
    async with serve() as server, RawClient(server.port) as viewer, RawClient(server.port) as client:
        await watch(viewer)
        await client.connect(will=WILL, will_props=[*props, (2, 60), (24, 0)])
        client.drop()
        found = (await viewer.reply()).properties
        assert found.pop(2) in (59, 60)
        assert found == {**dict(props[:4]), 38: ((b"b", b"1"), (b"a", b"2"))}


@pytest.mark.parametrize(("version", "code"), [(4, 5), (5, 0x87)])
@pytest.mark.parametrize("topic", [b"cf/v1/d/wl-2/state", b"any/topic", b"spBv1.0/city/NDEATH/edge"])
async def test_a_will_on_a_foreign_topic_is_refused(version, code, topic):
    async with serve() as server, RawClient(server.port, version) as client:
        assert (await client.connect(will=(topic, b"", 0, False))).reasons == (code,)
        assert await client.until_closed() == []
        assert server.count("connects.will_refused") == 1


async def test_a_will_that_is_not_the_text_it_says_is_refused():
    async with serve() as server, RawClient(server.port) as client:
        assert (await client.connect(will=(STATE, b"\xff", 0, False), will_props=[(1, 1)])).reasons == (0x99,)


async def test_the_death_of_an_edge_node_goes_down_the_pipeline():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(EDGE, will=(b"spBv1.0/city/NDEATH/edge", b"bdSeq", 1, False))
        client.drop()
        await server.until("chunks", 1)
        assert (server.taken[0].topic, server.taken[0].payload) == (b"spBv1.0/city/NDEATH/edge", b"bdSeq")


async def test_the_end_of_the_server_sends_no_wills():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(will=WILL)
        await server.endpoint.close()
        assert [reply.reasons for reply in await client.until_closed()] == [(0x8B,)]
        assert server.count("wills") == 0
        assert server.taken == []
