"""Live telemetry and plain messages: who subscribed gets them, the pipeline gets its own, and nothing is echoed."""

import pytest

from ext.telemetry.frames import ENCODING_NAMES, REASON_NAMES
from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import (
    ADMIN,
    CHILD,
    CHIRPSTACK,
    EDGE,
    GATEWAY,
    OTHER,
    SENSOR,
    TTS,
    VIEWER,
    serve,
)  # fmt: skip

TELEMETRY = b"cf/v1/d/wl-1/telemetry"
NO_LOCAL = 4


@pytest.mark.parametrize("version", [4, 5])
async def test_an_operator_sees_telemetry_live_and_the_pipeline_gets_it_too(version):
    async with serve() as server, RawClient(server.port, version) as viewer, RawClient(server.port) as device:
        await viewer.connect(VIEWER)
        await device.connect()
        assert await viewer.subscribe((b"cf/v1/d/+/telemetry/#", 1)) == (1,)
        device.publish(TELEMETRY + b"/batch", b"zero")
        device.publish(TELEMETRY, b"one", 7)
        device.publish(b"cf/v1/d/wl-1/state", b"not asked for", 8)
        assert [reply.packet_id for reply in await device.replies(2)] == [7, 8]
        assert await viewer.replies(2) == [
            mq.Reply(mq.PUBLISH, 0, topic=TELEMETRY + b"/batch", payload=b"zero"),
            mq.Reply(mq.PUBLISH, 1, topic=TELEMETRY, payload=b"one", qos=1),
        ]
        await viewer.ping()
        assert [taken.payload for taken in server.taken] == [b"zero", b"one", b"not asked for"]


async def test_wildcards_match_levels_and_nothing_else():
    filters = {
        b"cf/v1/#": True,
        b"cf/+/d/+/telemetry": True,
        b"+/+/+/+/+": True,
        b"cf/v1/d/wl-1/telemetry/#": True,
        b"#": True,
        TELEMETRY: True,
        b"cf/v1/d/+": False,
        b"cf/v1/d/+/telemetry/+": False,
        b"cf/v1/d/wl-2/#": False,
        b"/#": False,
        TELEMETRY + b"/": False,
    }
    async with serve() as server, RawClient(server.port) as viewer, RawClient(server.port) as device:
        await viewer.connect(ADMIN)
        await device.connect()
        for packet_id, (filter_, matches) in enumerate(filters.items(), 1):
            assert await viewer.subscribe((filter_, 0)) == (0,)
            device.publish(TELEMETRY, filter_, packet_id)
            await device.reply()
            if matches:
                assert (await viewer.reply()).payload == filter_
            await viewer.ping()
            assert await viewer.unsubscribe(filter_) == (0,)
        device.publish(TELEMETRY, b"nobody listens", 99)
        await device.reply()
        await viewer.ping()
        assert server.count("subscriptions") == 0


async def test_topics_that_begin_with_a_dollar_are_not_for_wildcards():
    async with serve() as server, RawClient(server.port) as viewer:
        await viewer.connect(ADMIN)
        await viewer.subscribe((b"#", 0), (b"+/x", 0))
        assert server.endpoint.publish(b"$SYS/x", b"") == 0
        assert server.endpoint.publish(b"a/x", b"") == 1
        assert (await viewer.reply()).topic == b"a/x"


@pytest.mark.parametrize(
    ("device", "topic", "whose", "scope"),
    [
        (GATEWAY, b"cf/v1/g/gw-1/telemetry/batch", GATEWAY, 1),
        (GATEWAY, b"cf/v1/d/wl-gw-1-a/telemetry/batch", CHILD, 0),
        (EDGE, b"spBv1.0/city/NBIRTH/edge", EDGE, 1),
        (EDGE, b"spBv1.0/city/DDATA/edge/pump", EDGE, 1),
        (TTS, b"v3/app@tenant/devices/dev-1/up", TTS, 1),
        (CHIRPSTACK, b"application/7/device/0102030405060708/event/up", CHIRPSTACK, 1),
    ],
)
async def test_gateways_publish_in_their_own_language(device, topic, whose, scope):
    encoding = {EDGE: "sparkplug", TTS: "tts", CHIRPSTACK: "chirpstack"}.get(device, "batch")
    async with serve() as server, RawClient(server.port) as viewer, RawClient(server.port, 4) as client:
        await viewer.connect(ADMIN)
        await viewer.subscribe((b"#", 2))
        await client.connect(device)
        client.publish(topic, b"x", 3)
        assert await client.reply() == mq.Reply(mq.PUBACK, 3, (0,))
        assert (await viewer.reply()).topic == topic
        assert server.taken == [(topic, b"x", server.index.find_device(whose), ENCODING_NAMES[encoding], scope, 0)]


@pytest.mark.parametrize(
    ("device", "topic"),
    [
        (SENSOR, b"spBv1.0/city/NBIRTH/edge"),
        (GATEWAY, b"spBv1.0/city/NBIRTH/edge"),
        (EDGE, b"spBv1.0/city/NCMD/other"),
        (EDGE, b"spBv1.0/city/DCMD/other/pump"),
        (EDGE, b"spBv1.0/STATE/host"),
        (EDGE, b"v3/app/devices/dev/up"),
        (TTS, b"application/7/device/0102030405060708/event/up"),
        (CHIRPSTACK, b"spBv1.0/city/NBIRTH/edge"),
        (VIEWER, TELEMETRY),
        (VIEWER, b"other"),
    ],
)
async def test_what_is_not_ones_own_is_refused(device, topic):
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(device)
        client.publish(topic, b"x", 3)
        client.publish(topic, b"x", 4, qos=2)
        assert await client.replies(2) == [mq.Reply(mq.PUBACK, 3, (0x87,)), mq.Reply(mq.PUBREC, 4, (0x87,))]
        assert server.taken == []


async def test_foreign_topics_that_nothing_consumes_go_to_quarantine():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(CHIRPSTACK)
        client.publish(b"application/7/device/0102030405060708/event/join", b"x", 3)
        await client.reply()
        assert server.taken[0].reason == REASON_NAMES.index("unsupported_topic")


async def test_operators_talk_to_each_other_and_to_devices_but_never_to_the_pipeline():
    async with (
        serve() as server,
        RawClient(server.port) as operator,
        RawClient(server.port) as viewer,
        RawClient(server.port) as device,
    ):
        await operator.connect(ADMIN)
        await viewer.connect(VIEWER)
        await device.connect()
        await viewer.subscribe((b"plain/+", 2))
        await device.subscribe((b"cf/v1/d/wl-1/commands", 1))
        operator.publish(b"plain/x", b"hello", 1)
        assert await operator.reply() == mq.Reply(mq.PUBACK, 1, (0,))
        assert (await viewer.reply()).payload == b"hello"
        operator.publish(b"cf/v1/d/wl-1/commands", b"open", 2)
        assert await operator.reply() == mq.Reply(mq.PUBACK, 2, (0,))
        assert (await device.reply()).payload == b"open"
        operator.publish(b"nobody/listens", b"", 3)
        operator.publish(b"nobody/listens", b"", 4, qos=2)
        assert [reply.reasons for reply in await operator.replies(2)] == [(0x10,), (0x10,)]
        assert server.taken == []
        assert server.count("messages.plain") == 4


async def test_no_local_keeps_ones_own_messages_away():
    async with serve() as server, RawClient(server.port) as first, RawClient(server.port) as second:
        await first.connect()
        await second.connect(client_id=b"c2")
        await first.subscribe((b"cf/v1/d/wl-1/#", NO_LOCAL | 1))
        await second.subscribe((b"cf/v1/d/wl-1/#", 1))
        first.publish(TELEMETRY, b"mine")
        assert (await second.reply()).payload == b"mine"
        second.publish(TELEMETRY, b"yours")
        assert (await second.reply()).payload == b"yours"
        assert (await first.reply()).payload == b"yours"
        await first.subscribe((TELEMETRY, 1), (b"cf/v1/d/wl-1/#", NO_LOCAL | 1))
        first.publish(TELEMETRY, b"by the other subscription")
        assert (await first.reply()).payload == b"by the other subscription"
        await first.ping()


async def test_properties_go_on_as_they_came_and_in_their_order():
    props = [
        (1, 1),
        (3, b"text/plain"),
        (8, b"answers/here"),
        (9, b"\0\xff"),
        (38, (b"b", b"1")),
        (38, (b"a", b"2")),
        (38, (b"b", b"1")),
    ]
    async with serve() as server, RawClient(server.port) as viewer, RawClient(server.port, 4) as old:
        await viewer.connect(VIEWER)
        await old.connect(VIEWER, b"old")
        await viewer.subscribe((b"cf/v1/#", 0))
        await old.subscribe((b"cf/v1/#", 0))
        async with RawClient(server.port) as device:
            await device.connect()
            device.publish(TELEMETRY, b"x", props=[(35, 3), *props[:4], (2, 100), *props[4:]])
            forwarded = (await viewer.reply()).properties
            assert forwarded.pop(2) in (99, 100)
            assert forwarded == {**dict(props[:4]), 38: ((b"b", b"1"), (b"a", b"2"), (b"b", b"1"))}
            assert await old.reply() == mq.Reply(mq.PUBLISH, topic=TELEMETRY, payload=b"x")
            device.publish(b"", b"by alias", props=[(35, 3)])
            assert (await viewer.reply()).topic == TELEMETRY


async def test_a_kicked_operator_is_gone():
    async with serve() as server, RawClient(server.port) as viewer:
        await viewer.connect(VIEWER)
        await viewer.subscribe((b"cf/v1/#", 0))
        assert server.endpoint.kick(VIEWER) == 1
        assert [reply.reasons for reply in await viewer.until_closed()] == [(0x98,)]
        assert server.count("subscriptions") == 0


@pytest.mark.parametrize("name", [b"operator:stranger", b"operator:", VIEWER])
async def test_an_operator_needs_its_token(name):
    async with serve() as server, RawClient(server.port) as client:
        client.send(mq.connect(5, b"c", name, b"wrong"))
        assert [reply.reasons for reply in await client.until_closed()] == [(0x86,)]


async def test_who_subscribes_to_another_gateways_child_hears_it_no_longer():
    async with serve() as server, RawClient(server.port) as gateway, RawClient(server.port) as child:
        await gateway.connect(GATEWAY)
        await gateway.subscribe((b"cf/v1/d/wl-gw-1-a/#", 1), (b"cf/v1/d/wl-gw-1-a/state", 0))
        await child.connect(CHILD)
        child.publish(b"cf/v1/d/wl-gw-1-a/state", b"behind it", 1)
        await child.reply()
        assert (await gateway.reply()).payload == b"behind it"
        server.index.put_device(4, CHILD.decode(), 1, "00070", 0, [], True)
        child.publish(b"cf/v1/d/wl-gw-1-a/state", b"moved", 2)
        await child.reply()
        await gateway.ping()
        assert OTHER != CHILD
