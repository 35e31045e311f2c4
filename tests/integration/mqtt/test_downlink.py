"""SUBSCRIBE and deliveries: a device hears its own downlinks, a gateway its children's too, and nobody else's."""

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import CHILD, GATEWAY, OTHER, SENSOR, serve

COMMANDS, CONFIG, FIRMWARE = (b"cf/v1/d/wl-1/" + name for name in (b"commands", b"config", b"firmware"))
CHILD_COMMANDS = b"cf/v1/d/wl-gw-1-a/commands"
NOT_AUTHORIZED, FILTER_INVALID, SHARED = 0x87, 0x8F, 0x9E


@pytest.mark.parametrize(
    ("device", "filter_", "reason"),
    [
        (SENSOR, b"cf/v1/d/wl-1/commands", 1),
        (SENSOR, b"cf/v1/d/wl-1/commands/#", 1),
        (SENSOR, b"cf/v1/d/wl-1/#", 1),
        (SENSOR, b"cf/v1/d/wl-1/+", 1),
        (SENSOR, b"cf/v1/d/wl-1/+/#", 1),
        (SENSOR, b"cf/v1/d/wl-1/telemetry", NOT_AUTHORIZED),
        (SENSOR, b"cf/v1/d/wl-1", NOT_AUTHORIZED),
        (SENSOR, b"cf/v1/d/wl-2/commands", NOT_AUTHORIZED),
        (SENSOR, b"cf/v1/d/+/commands", NOT_AUTHORIZED),
        (SENSOR, b"cf/v1/d/wl-gw-1-a/commands", NOT_AUTHORIZED),
        (SENSOR, b"#", NOT_AUTHORIZED),
        (SENSOR, b"$SYS/#", NOT_AUTHORIZED),
        (SENSOR, b"cf/v1/d/wl-1/com#", FILTER_INVALID),
        (SENSOR, b"cf/v1/d/wl-1/#/x", FILTER_INVALID),
        (SENSOR, b"cf/v1/d/wl-1/a+", FILTER_INVALID),
        (SENSOR, b"$share/g/cf/v1/d/wl-1/commands", SHARED),
        (GATEWAY, b"cf/v1/d/gw-1/#", 1),
        (GATEWAY, CHILD_COMMANDS, 1),
        (GATEWAY, b"cf/v1/d/wl-gw-1-a/#", 1),
        (GATEWAY, b"cf/v1/d/wl-1/commands", NOT_AUTHORIZED),
        (GATEWAY, b"cf/v1/g/gw-1/#", NOT_AUTHORIZED),
    ],
)
async def test_only_downlinks_of_ones_own_can_be_subscribed(device, filter_, reason):
    async with serve() as server, RawClient(server.port) as v5, RawClient(server.port, 4) as v4:
        await v5.connect(device)
        await v4.connect(device, b"c2")
        v5.send(mq.subscribe(3, [(filter_, 1), (filter_, 0)]))
        v4.send(mq.subscribe(3, [(filter_, 2)], version=4))
        assert await v5.reply() == mq.Reply(mq.SUBACK, 3, (reason, min(reason, reason if reason > 1 else 0)))
        assert await v4.reply() == mq.Reply(mq.SUBACK, 3, (min(reason, 0x80),))


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
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"once", 1) == 1
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


async def test_a_clients_receive_maximum_is_kept_until_it_acknowledges():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(props=[(33, 2)])
        client.send(mq.subscribe(1, [(COMMANDS, 1)]))
        await client.reply()
        assert [server.endpoint.deliver(SENSOR, COMMANDS, b"x", 1) for _ in range(3)] == [1, 1, 0]
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"qos 0 passes", 0) == 1
        first, _, _ = await client.replies(3)
        client.send(mq.puback(first.packet_id), mq.puback(first.packet_id), mq.puback(999))
        await client.ping()
        assert [server.endpoint.deliver(SENSOR, COMMANDS, b"x", 1) for _ in range(2)] == [1, 0]
        assert server.count("deliveries_refused") == 2
        assert (await client.reply()).packet_id == 3


async def test_a_clients_maximum_packet_size_is_kept():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(props=[(39, 200)])
        client.send(mq.subscribe(1, [(COMMANDS, 1)]))
        await client.reply()
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"x" * 300, 1) == 0
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"x" * 100, 1) == 1
        assert (await client.reply()).packet_id == 1 + 1


@pytest.mark.parametrize(
    "topic", [b"cf/v1/d/wl-2/commands", b"cf/v1/d/wl-1/telemetry", b"cf/v1/g/wl-1/commands", b"x", b"cf/v1/d/wl-1/"]
)
async def test_deliver_takes_only_downlink_topics_of_the_device(topic):
    async with serve() as server:
        with pytest.raises(ValueError, match="not a downlink topic"):
            server.endpoint.deliver(SENSOR, topic, b"", 0)
