"""SUBSCRIBE and downlinks: a device hears what is below its id, a gateway its children's too, and nobody else's."""

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import (
    ADMIN,
    CHILD,
    CHIRPSTACK,
    EDGE,
    GATEWAY,
    NOBODY,
    OTHER,
    SENSOR,
    TTS,
    VIEWER,
    serve,
)  # fmt: skip

COMMANDS, CONFIG, FIRMWARE = (b"cf/v1/d/wl-1/" + name for name in (b"commands", b"config", b"firmware"))
CHILD_COMMANDS = b"cf/v1/d/wl-gw-1-a/commands"
NOT_AUTHORIZED, FILTER_INVALID = 0x87, 0x8F


@pytest.mark.parametrize(
    ("device", "filter_", "reason"),
    [
        (SENSOR, b"cf/v1/d/wl-1/commands", 0),
        (SENSOR, b"cf/v1/d/wl-1/commands/#", 0),
        (SENSOR, b"cf/v1/d/wl-1/#", 0),
        (SENSOR, b"cf/v1/d/wl-1/+", 0),
        (SENSOR, b"cf/v1/d/wl-1/+/#", 0),
        (SENSOR, b"cf/v1/d/wl-1/telemetry", 0),
        (SENSOR, b"$share/g/cf/v1/d/wl-1/commands", 0),
        (SENSOR, b"cf/v1/d/wl-1", NOT_AUTHORIZED),
        (SENSOR, b"cf/v1/d/wl-2/commands", NOT_AUTHORIZED),
        (SENSOR, b"$share/g/cf/v1/d/wl-2/commands", NOT_AUTHORIZED),
        (SENSOR, b"cf/v1/d/+/commands", NOT_AUTHORIZED),
        (SENSOR, b"cf/v1/d/wl-gw-1-a/commands", NOT_AUTHORIZED),
        (SENSOR, b"cf/v1/g/wl-1/#", NOT_AUTHORIZED),
        (SENSOR, b"#", NOT_AUTHORIZED),
        (SENSOR, b"$SYS/#", NOT_AUTHORIZED),
        (SENSOR, b"spBv1.0/STATE/#", NOT_AUTHORIZED),
        (SENSOR, b"cf/v1/d/wl-1/com#", FILTER_INVALID),
        (SENSOR, b"cf/v1/d/wl-1/#/x", FILTER_INVALID),
        (SENSOR, b"cf/v1/d/wl-1/a+", FILTER_INVALID),
        (SENSOR, b"cf/v1/d/wl-1" + b"/x" * 80, FILTER_INVALID),
        (SENSOR, b"$share/g", FILTER_INVALID),
        (SENSOR, b"$share//cf/v1/d/wl-1/commands", FILTER_INVALID),
        (SENSOR, b"$share/g+/cf/v1/d/wl-1/commands", FILTER_INVALID),
        (SENSOR, b"$share/g/", FILTER_INVALID),
        (GATEWAY, b"cf/v1/d/gw-1/#", 0),
        (GATEWAY, CHILD_COMMANDS, 0),
        (GATEWAY, b"cf/v1/d/wl-gw-1-a/#", 0),
        (GATEWAY, b"cf/v1/g/gw-1/#", 0),
        (GATEWAY, b"cf/v1/d/wl-1/commands", NOT_AUTHORIZED),
        (GATEWAY, b"cf/v1/d/+/commands", NOT_AUTHORIZED),
        (GATEWAY, b"cf/v1/g/+/#", NOT_AUTHORIZED),
        (GATEWAY, b"spBv1.0/STATE/#", NOT_AUTHORIZED),
        (EDGE, b"spBv1.0/city/NCMD/#", 0),
        (EDGE, b"spBv1.0/city/DCMD/edge/+", 0),
        (EDGE, b"spBv1.0/STATE/#", 0),
        (EDGE, b"STATE/host", 0),
        (EDGE, b"spBv1.0/city/DDATA/#", NOT_AUTHORIZED),
        (EDGE, b"spBv1.0/+/NCMD/#", NOT_AUTHORIZED),
        (EDGE, b"spBv1.0/#", NOT_AUTHORIZED),
        (TTS, b"v3/+/devices/+/down/#", 0),
        (TTS, b"v3/#", NOT_AUTHORIZED),
        (CHIRPSTACK, b"application/+/device/+/command/#", 0),
        (CHIRPSTACK, b"application/+/device/+/event/up", NOT_AUTHORIZED),
        (ADMIN, b"#", 0),
        (ADMIN, b"$share/g/+/x/#", 0),
        (ADMIN, b"$SYS/#", NOT_AUTHORIZED),
        (VIEWER, b"cf/v1/#", 0),
        (VIEWER, b"cf/v1/d/+/telemetry/#", 0),
        (VIEWER, b"cf/v1", 0),
        (VIEWER, b"plain/+", 0),
        (VIEWER, b"plain/#", NOT_AUTHORIZED),
        (VIEWER, b"cf/#", NOT_AUTHORIZED),
        (VIEWER, b"+/v1/#", NOT_AUTHORIZED),
        (NOBODY, b"cf/v1/d/wl-1/commands", NOT_AUTHORIZED),
    ],
)
async def test_only_what_one_may_see_can_be_subscribed(device, filter_, reason):
    async with serve() as server, RawClient(server.port) as v5, RawClient(server.port, 4) as v4:
        await v5.connect(device)
        await v4.connect(device, b"c2")
        assert await v5.subscribe((filter_, 2), (filter_, 1), (filter_, 0)) == tuple(reason or qos for qos in (2, 1, 0))
        assert await v4.subscribe((filter_, 2)) == (min(reason, 0x80) or 2,)


@pytest.mark.parametrize("version", [4, 5])
async def test_a_subscriber_gets_what_is_delivered_at_the_lower_qos(version):
    async with serve() as server, RawClient(server.port, version) as client:
        await client.connect()
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"too early", 1) == 0
        client.send(mq.subscribe(1, [(COMMANDS, 1), (CONFIG, 0)], version=version))
        await client.reply()
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"a", 1) == 1
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"b", 0) == 1
        assert server.endpoint.deliver(SENSOR, CONFIG, b"c", 1) == 1
        assert server.endpoint.deliver(SENSOR, FIRMWARE, b"d", 1) == 0
        assert server.endpoint.deliver(OTHER, b"cf/v1/d/wl-2/commands", b"e", 1) == 0
        assert server.endpoint.deliver(b"nobody", b"cf/v1/d/nobody/commands", b"f", 1) == 0
        assert await client.replies(3) == [
            mq.Reply(mq.PUBLISH, 1, topic=COMMANDS, payload=b"a", qos=1),
            mq.Reply(mq.PUBLISH, 0, topic=COMMANDS, payload=b"b", qos=0),
            mq.Reply(mq.PUBLISH, 0, topic=CONFIG, payload=b"c", qos=0),
        ]
        await client.ping()


async def test_overlapping_subscriptions_bring_one_copy_and_end_one_by_one():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        client.send(mq.subscribe(1, [(b"cf/v1/d/wl-1/#", 0), (COMMANDS, 1)]))
        await client.reply()
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"once", 2) == 1
        assert (await client.reply()).qos == 1
        client.send(mq.unsubscribe(2, [COMMANDS, COMMANDS, b"cf/v1/d/wl-2/commands"]))
        assert await client.reply() == mq.Reply(mq.UNSUBACK, 2, (0, 0x11, 0x11))
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"still", 1) == 1
        assert (await client.reply()).qos == 0
        client.send(mq.unsubscribe(3, [b"cf/v1/d/wl-1/#"]))
        await client.reply()
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"gone", 1) == 0


async def test_3_1_1_unsuback_has_no_reasons():
    async with serve() as server, RawClient(server.port, 4) as client:
        await client.connect()
        client.send(mq.unsubscribe(5, [COMMANDS], version=4))
        assert await client.reply() == mq.Reply(mq.UNSUBACK, 5)


async def test_all_connections_of_a_device_hear_a_delivery():
    async with serve() as server, RawClient(server.port) as first, RawClient(server.port, 4) as second:
        await first.connect(client_id=b"a")
        await second.connect(client_id=b"b")
        first.send(mq.subscribe(1, [(COMMANDS, 1)]))
        second.send(mq.subscribe(1, [(COMMANDS, 1)], version=4))
        await first.reply()
        await second.reply()
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"x", 1) == 2
        assert (await first.reply()).payload == (await second.reply()).payload == b"x"


async def test_a_gateway_hears_for_its_child_until_the_child_moves():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(GATEWAY)
        client.send(mq.subscribe(1, [(CHILD_COMMANDS, 1), (b"cf/v1/d/wl-gw-1-a/#", 0)]))
        await client.reply()
        assert server.endpoint.deliver(CHILD, CHILD_COMMANDS, b"x", 1) == 1
        assert await client.reply() == mq.Reply(mq.PUBLISH, 1, topic=CHILD_COMMANDS, payload=b"x", qos=1)
        client.send(mq.unsubscribe(2, [CHILD_COMMANDS]))
        assert (await client.reply()).reasons == (0,)
        assert server.endpoint.deliver(CHILD, CHILD_COMMANDS, b"y", 1) == 1
        assert (await client.reply()).qos == 0
        server.index.put_device(4, CHILD.decode(), 1, "00070", 0, [], True)
        assert server.endpoint.deliver(CHILD, CHILD_COMMANDS, b"z", 1) == 0
        await client.ping()


async def test_a_watcher_that_left_is_forgotten():
    async with serve() as server:
        async with RawClient(server.port) as client:
            await client.connect(GATEWAY)
            client.send(mq.subscribe(1, [(CHILD_COMMANDS, 1)]))
            await client.reply()
            client.send(mq.disconnect())
            assert await client.until_closed() == []
        assert server.endpoint.deliver(CHILD, CHILD_COMMANDS, b"x", 1) == 0


async def test_a_clients_receive_maximum_is_kept_and_the_rest_waits_for_its_acknowledgements():
    async with serve(queue_messages=2) as server, RawClient(server.port) as client:
        await client.connect(props=[(33, 2)])
        await client.subscribe((COMMANDS, 1))
        assert [server.endpoint.deliver(SENSOR, COMMANDS, b"%d" % i, 1) for i in range(5)] == [1, 1, 1, 1, 0]
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"qos 0 passes", 0) == 1
        assert [reply.payload for reply in await client.replies(3)] == [b"0", b"1", b"qos 0 passes"]
        await client.ping()
        client.send(mq.puback(1), mq.puback(1), mq.puback(999))
        third = await client.reply()
        assert (third.packet_id, third.payload, third.dup) == (3, b"2", False)
        await client.ping()
        client.send(mq.puback(2), mq.puback(3))
        assert (await client.reply()).payload == b"3"
        assert server.count("deliveries_refused") == 1
        client.send(mq.puback(4))
        await client.ping()
        assert server.count("queued_bytes") == 0


async def test_a_clients_maximum_packet_size_is_kept():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(props=[(39, 200)])
        client.send(mq.subscribe(1, [(COMMANDS, 1)]))
        await client.reply()
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"x" * 300, 1) == 0
        assert server.count("deliveries_too_large") == 1
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"x" * 100, 1) == 1
        assert (await client.reply()).packet_id == 1 + 1


@pytest.mark.parametrize(
    "topic", [b"cf/v1/d/wl-2/commands", b"cf/v1/d/wl-1/telemetry", b"cf/v1/g/wl-1/commands", b"x", b"cf/v1/d/wl-1/"]
)
async def test_deliver_takes_only_downlink_topics_of_the_device(topic):
    async with serve() as server:
        with pytest.raises(ValueError, match="not a downlink topic"):
            server.endpoint.deliver(SENSOR, topic, b"", 0)
