"""Retained messages: kept, replaced, deleted, bounded, and told to whom they should be."""

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import ADMIN, SENSOR, VIEWER, serve

TELEMETRY = b"cf/v1/d/wl-1/telemetry"
CONFIG = b"cf/v1/d/wl-1/config"
AS_PUBLISHED, ONLY_NEW, NEVER = 8, 0x10, 0x20


@pytest.mark.parametrize("version", [4, 5])
async def test_a_new_subscriber_gets_the_last_retained_message_of_each_topic(version):
    async with serve() as server, RawClient(server.port, version) as device, RawClient(server.port, version) as viewer:
        await device.connect()
        for packet_id, payload in enumerate([b"old", b"new"], 1):
            device.publish(TELEMETRY, payload, packet_id, retain=True)
        device.publish(b"cf/v1/d/wl-1/state", b"fine", 3, retain=True)
        device.publish(TELEMETRY, b"not retained", 4)
        await device.replies(4)
        assert [taken.payload for taken in server.taken] == [b"old", b"new", b"fine", b"not retained"]
        await viewer.connect(VIEWER)
        assert await viewer.subscribe((b"cf/v1/d/+/telemetry", 1)) == (1,)
        assert await viewer.reply() == mq.Reply(mq.PUBLISH, 1, topic=TELEMETRY, payload=b"new", qos=1, retain=True)
        assert await viewer.subscribe((b"cf/v1/#", 0)) == (0,)
        assert {(m.payload, m.qos, m.retain) for m in await viewer.replies(2)} == {
            (b"new", 0, True),
            (b"fine", 0, True),
        }
        await viewer.ping()


async def test_an_empty_payload_deletes_and_is_delivered():
    async with serve() as server, RawClient(server.port) as device, RawClient(server.port) as viewer:
        await device.connect()
        await viewer.connect(VIEWER)
        device.publish(TELEMETRY, b"x", 1, retain=True)
        await device.reply()
        assert server.count("retained") == 1
        await viewer.subscribe((TELEMETRY, NEVER))
        device.publish(TELEMETRY, b"", 2, retain=True)
        await device.reply()
        assert (await viewer.reply()).payload == b""
        await viewer.subscribe((TELEMETRY, 0))
        await viewer.ping()
        assert server.count("retained") == server.count("retained_bytes") == 0


async def test_retain_handling_says_when():
    async with serve() as server, RawClient(server.port) as viewer:
        server.endpoint.publish(b"plain/x", b"kept", retain=True)
        await viewer.connect(VIEWER)
        for options, sent in [(NEVER, 0), (ONLY_NEW, 0), (0, 1), (0, 1), (ONLY_NEW, 0)]:
            await viewer.subscribe((b"plain/x", options))
            for _ in range(sent):
                assert (await viewer.reply()).payload == b"kept"
            await viewer.ping()
        await viewer.unsubscribe(b"plain/x")
        await viewer.subscribe((b"plain/x", ONLY_NEW))
        assert (await viewer.reply()).payload == b"kept"


async def test_retain_as_published_keeps_the_flag():
    async with serve() as server, RawClient(server.port) as viewer, RawClient(server.port) as plain:
        await viewer.connect(VIEWER)
        await plain.connect(VIEWER, b"c2")
        await viewer.subscribe((b"plain/x", AS_PUBLISHED))
        await plain.subscribe((b"plain/x", 0))
        for retain in (True, False):
            server.endpoint.publish(b"plain/x", b"x", retain=retain)
            assert (await viewer.reply()).retain is retain
            assert (await plain.reply()).retain is False


async def test_retained_messages_expire():
    async with serve() as server, RawClient(server.port) as viewer:
        server.endpoint.publish(b"plain/x", b"kept", retain=True, expiry_s=0)
        server.endpoint.publish(b"plain/y", b"kept", retain=True, expiry_s=100)
        await viewer.connect(VIEWER)
        await viewer.subscribe((b"plain/+", 0))
        message = await viewer.reply()
        assert message.topic == b"plain/y"
        assert message.properties[2] in (99, 100)
        await viewer.ping()


@pytest.mark.parametrize("limit", [{"max_retained": 2}, {"max_retained_bytes": 700}])
async def test_retained_messages_are_bounded(limit):
    async with serve(**limit) as server, RawClient(server.port) as viewer:
        for topic in (b"a", b"b", b"c"):
            server.endpoint.publish(topic, b"x" * 50, retain=True)
        assert (server.count("retained"), server.count("retained_refused")) == (2, 1)
        server.endpoint.publish(b"b", b"y", retain=True)  # takes the place of its own
        server.endpoint.publish(b"a", b"", retain=True)
        server.endpoint.publish(b"c", b"z", retain=True)
        await viewer.connect(ADMIN)
        await viewer.subscribe((b"#", 0))
        assert {m.topic: m.payload for m in await viewer.replies(2)} == {b"b": b"y", b"c": b"z"}


async def test_one_device_does_not_fill_the_room_of_all():
    async with serve(max_retained_of_device=2) as server, RawClient(server.port) as device:
        await device.connect()
        for name in (b"a", b"b", b"c", b"a"):
            device.publish(b"cf/v1/d/wl-1/" + name, name, 1, retain=True)
            await device.reply()
        assert (server.count("retained"), server.count("retained_refused")) == (2, 1)
        device.publish(b"cf/v1/d/wl-1/a", b"", 1, retain=True)
        device.publish(b"cf/v1/d/wl-1/c", b"c", 2, retain=True)
        await device.replies(2)
        server.endpoint.publish(b"cf/v1/d/wl-1/config", b"v1", retain=True)
        assert (server.count("retained"), server.count("retained_refused")) == (3, 1)


async def test_an_expired_message_makes_room():
    async with serve(max_retained=1) as server:
        server.endpoint.publish(b"a", b"x", retain=True, expiry_s=0)
        server.endpoint.publish(b"b", b"x", retain=True)
        assert (server.count("retained"), server.count("retained_refused")) == (1, 0)


async def test_more_retained_messages_than_a_window_or_a_socket_takes_all_arrive():
    async with serve() as server, RawClient(server.port) as viewer:
        for i in range(300):
            server.endpoint.publish(b"plain/%d" % i, b"x" * 2000, 2, retain=True)
        await viewer.connect(VIEWER, props=[(33, 5)])
        for qos in (0, 1):
            await viewer.subscribe((b"plain/+", qos))
            topics = set()
            for _ in range(300):
                message = await viewer.reply()
                topics.add(message.topic)
                if message.qos:
                    viewer.ack(message)
            assert len(topics) == 300
            await viewer.ping()


async def test_a_message_replaced_while_it_waited_is_not_told():
    async with serve() as server, RawClient(server.port) as viewer:
        for i in range(3):
            server.endpoint.publish(b"plain/%d" % i, b"old", 1, retain=True)
        await viewer.connect(VIEWER, props=[(33, 1)])
        await viewer.subscribe((b"plain/+", 1))
        first = await viewer.reply()
        for i in range(3):
            server.endpoint.publish(b"plain/%d" % i, b"new", 1, retain=True)
        viewer.ack(first)
        for _ in range(3):
            message = await viewer.reply()
            assert message.payload == b"new"
            viewer.ack(message)
        await viewer.ping()


async def test_a_downlink_may_be_retained_and_a_device_finds_it():
    async with serve() as server, RawClient(server.port) as device:
        assert server.endpoint.deliver(SENSOR, CONFIG, b"v2", 1, retain=True) == 0
        await device.connect()
        await device.subscribe((b"cf/v1/d/wl-1/config", 1))
        message = await device.reply()
        assert (message.payload, message.retain, message.qos) == (b"v2", True, 1)


async def test_shared_subscriptions_get_no_retained_messages():
    async with serve() as server, RawClient(server.port) as viewer:
        server.endpoint.publish(b"plain/x", b"kept", retain=True)
        await viewer.connect(VIEWER)
        await viewer.subscribe((b"$share/g/plain/x", 1))
        await viewer.ping()
