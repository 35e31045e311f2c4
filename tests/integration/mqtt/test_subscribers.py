"""What subscribers get: one copy with all identifiers, aliases, no more than they take, and a fair share of a group."""

import asyncio
import socket

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import ADMIN, OTHER, SENSOR, VIEWER, MqttServer, serve

COMMANDS = b"cf/v1/d/wl-1/commands"
SHARED = b"$share/g/plain/+"
KEEP = [(17, 300)]


def publish(server: MqttServer, payload: bytes, qos: int = 1, topic: bytes = b"plain/x") -> int:
    return server.endpoint.publish(topic, payload, qos)


async def test_overlapping_subscriptions_bring_one_copy_with_all_identifiers_at_the_highest_qos():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(VIEWER)
        await client.subscribe((b"plain/+", 0), props=[(11, 1)])
        await client.subscribe((b"plain/x", 2), props=[(11, 200)])
        await client.subscribe((b"cf/v1/#", 2), props=[(11, 7)])
        assert publish(server, b"x") == 1
        message = await client.reply()
        assert (message.qos, sorted(message.properties[11])) == (1, [1, 200])
        await client.ping()
        await client.subscribe((b"plain/+", 0))  # replaced by one without an identifier
        await client.unsubscribe(b"plain/x")
        publish(server, b"y", 0)
        assert (await client.reply()).properties == {}


async def test_a_subscription_of_the_same_filter_replaces_the_one_before():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(VIEWER)
        await client.subscribe((b"plain/x", 2), props=[(11, 5)])
        await client.subscribe((b"plain/x", 0), props=[(11, 6)])
        publish(server, b"x", 2)
        message = await client.reply()
        assert (message.qos, message.properties) == (0, {11: (6,)})
        await client.ping()
        assert server.count("subscriptions") == 1
        assert await client.unsubscribe(b"plain/x", b"plain/x", b"plain/+") == (0, 0x11, 0x11)


async def test_each_filter_of_a_subscribe_is_judged_alone_and_in_order():
    async with serve(max_subscriptions=2) as server, RawClient(server.port) as client:
        await client.connect(VIEWER)
        asked = [(b"plain/a", 0), (b"secret", 1), (b"plain/b", 2), (b"plain/#/x", 1), (b"plain/c", 0), (b"plain/a", 1)]
        assert await client.subscribe(*asked) == (0, 0x87, 2, 0x8F, 0x97, 1)


@pytest.mark.parametrize(
    ("props", "has_reason"), [([], True), ([(23, 1)], True), ([(23, 0)], False), ([(39, 40)], False)]
)
async def test_a_refused_filter_has_a_reason_string_where_the_client_wants_and_takes_it(props, has_reason):
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(VIEWER, props=props)
        client.send(mq.subscribe(1, [(b"secret", 0)]))
        assert (31 in (await client.reply()).properties) is has_reason


@pytest.mark.parametrize("wanted", [0, 2, 1000])
async def test_topic_aliases_are_used_as_far_as_the_client_takes_them(wanted):
    async with serve(topic_aliases_out=3) as server, RawClient(server.port) as client:
        await client.connect(VIEWER, props=[(34, wanted)] if wanted else [])
        await client.subscribe((b"plain/+", 1))
        sent = [b"plain/%d" % (i % 4) for i in range(12)]
        for topic in sent:
            publish(server, topic, 1, topic)
        aliases: dict[int, bytes] = {}
        used = 0
        for topic in sent:
            message = await client.reply()
            alias = message.properties.get(35)
            if alias is None:
                assert message.topic == topic
                continue
            assert 1 <= alias <= min(wanted, 3)
            used += not message.topic
            aliases[alias] = message.topic or aliases[alias]
            assert aliases[alias] == topic == message.payload
        assert used == 2 * min(wanted, 3)


async def test_aliases_do_not_outlive_the_connection():
    async with serve() as server:
        for _ in range(2):
            async with RawClient(server.port) as client:
                await client.connect(VIEWER, clean=False, props=[*KEEP, (34, 5)])
                await client.subscribe((b"plain/+", 1))
                publish(server, b"x")
                message = await client.reply()
                assert (message.topic, message.properties[35]) == (b"plain/x", 1)
                client.ack(message)
                await client.ping()


async def test_what_is_larger_than_the_client_takes_is_left_out_and_the_rest_goes_on():
    async with serve() as server, RawClient(server.port) as client, RawClient(server.port) as other:
        await client.connect(VIEWER, props=[(39, 100), (34, 5), (33, 2)])
        await other.connect(VIEWER, b"c2")
        await client.subscribe((b"plain/+", 2))
        await other.subscribe((b"plain/+", 2))
        for qos in (0, 1, 2, 1):
            publish(server, bytes(100), qos)
        publish(server, b"small", 1)
        assert (await client.reply()).payload == b"small"
        await client.ping()
        assert len(await other.replies(5)) == 5
        assert server.count("deliveries_too_large") == 4


async def test_a_packet_that_only_an_alias_makes_too_large_goes_without():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(VIEWER, props=[(39, 60), (34, 5)])
        await client.subscribe((b"plain/+", 0))
        publish(server, bytes(60 - 2 - 2 - 7 - 1), 0)
        message = await client.reply()
        assert (message.topic, message.properties) == (b"plain/x", {})


async def test_a_client_that_takes_no_connack_is_let_go():
    async with serve() as server, RawClient(server.port) as client:
        client.send(mq.connect(props=[(39, 5)]))
        assert await client.until_closed() == []
        assert server.count("connects.accepts_too_small_packets") == 1


@pytest.mark.parametrize("version", [4, 5])
async def test_a_group_takes_turns(version):
    async with serve() as server, RawClient(server.port, version) as a, RawClient(server.port, version) as b:
        for name, client in ((b"a", a), (b"b", b)):
            await client.connect(VIEWER, name)
            assert await client.subscribe((SHARED, 1)) == (1,)
        async with RawClient(server.port) as outsider:
            await outsider.connect(VIEWER, b"c")
            await outsider.subscribe((b"plain/+", 0), (b"$share/h/plain/+", 0))
            for i in range(6):
                assert publish(server, b"%d" % i) == 3
            assert [m.payload for m in await a.replies(3)] == [b"0", b"2", b"4"]
            assert [m.payload for m in await b.replies(3)] == [b"1", b"3", b"5"]
            assert len(await outsider.replies(12)) == 12
        await a.unsubscribe(SHARED)
        for i in range(2):
            publish(server, b"%d" % i)
        assert len(await b.replies(2)) == 2


async def test_a_member_who_is_away_gets_nothing_while_another_is_here():
    async with serve() as server, RawClient(server.port) as here:
        async with RawClient(server.port) as client:
            await client.connect(VIEWER, b"away", props=KEEP)
            await client.subscribe((SHARED, 1))
            await client.leave()
        await here.connect(VIEWER, b"here")
        await here.subscribe((SHARED, 1))
        for i in range(4):
            publish(server, b"%d" % i)
        for message in await here.replies(4):
            here.ack(message)
        await here.leave()
        assert publish(server, b"kept") == 1
        assert publish(server, b"not kept", 0) == 0
        async with RawClient(server.port) as client:
            await client.connect(VIEWER, b"away", clean=False, props=KEEP)
            assert (await client.reply()).payload == b"kept"
            await client.ping()


async def test_a_member_whose_window_is_full_is_passed_over():
    async with serve() as server, RawClient(server.port) as slow, RawClient(server.port) as fast:
        await slow.connect(VIEWER, b"slow", props=[(33, 1)])
        await fast.connect(VIEWER, b"fast")
        await slow.subscribe((SHARED, 1))
        await fast.subscribe((SHARED, 1))
        for i in range(5):
            publish(server, b"%d" % i)
        assert (await slow.reply()).payload == b"0"
        assert [m.payload for m in await fast.replies(4)] == [b"1", b"2", b"3", b"4"]
        await slow.ping()


async def test_what_a_member_left_unacknowledged_goes_to_another_at_qos_1_only():
    async with serve() as server, RawClient(server.port) as second:
        async with RawClient(server.port) as first:
            await first.connect(VIEWER, b"first")
            await first.subscribe((SHARED, 2))
            publish(server, b"one", 1)
            publish(server, b"two", 2)
            await first.replies(2)
            await second.connect(VIEWER, b"second")
            await second.subscribe((SHARED, 2))
            first.drop()
        message = await second.reply()
        assert (message.payload, message.dup) == (b"one", False)
        await second.ping()


async def test_a_member_refuses_and_nobody_else_gets_it():
    async with serve() as server, RawClient(server.port) as first, RawClient(server.port) as second:
        await first.connect(VIEWER, b"first")
        await second.connect(VIEWER, b"second")
        await first.subscribe((SHARED, 2))
        await second.subscribe((SHARED, 2))
        publish(server, b"x", 2)
        first.ack(await first.reply(), 0x80)
        await first.ping()
        await second.ping()


async def test_a_shared_and_a_plain_subscription_are_two():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(VIEWER)
        await client.subscribe((SHARED, 0), props=[(11, 1)])
        await client.subscribe((b"plain/+", 0), props=[(11, 2)])
        publish(server, b"x", 0)
        assert sorted(m.properties[11] for m in await client.replies(2)) == [(1,), (2,)]


async def test_a_member_asks_for_its_own_qos():
    async with serve() as server, RawClient(server.port) as zero, RawClient(server.port) as two:
        await zero.connect(VIEWER, b"zero")
        await two.connect(VIEWER, b"two")
        await zero.subscribe((SHARED, 0))
        await two.subscribe((SHARED, 2))
        publish(server, b"", 2)
        publish(server, b"", 2)
        assert ((await zero.reply()).qos, (await two.reply()).qos) == (0, 2)


async def test_messages_of_one_sender_arrive_in_order_at_every_subscriber():
    async with serve() as server, RawClient(server.port) as device, RawClient(server.port) as other:
        viewers = [RawClient(server.port) for _ in range(3)]
        for i, viewer in enumerate(viewers):
            await viewer.__aenter__()
            await viewer.connect(VIEWER, b"v%d" % i)
            await viewer.subscribe((b"cf/v1/d/+/telemetry", i))
        await device.connect()
        await other.connect(OTHER)
        for i in range(100):
            device.publish(b"cf/v1/d/wl-1/telemetry", b"%d" % i, i % 3 and i + 1, qos=1 if i % 3 else 0)
            other.publish(b"cf/v1/d/wl-2/telemetry", b"%d" % i)
        for viewer in viewers:
            of_topic: dict[bytes, list[int]] = {}
            for message in await viewer.replies(200):
                of_topic.setdefault(message.topic, []).append(int(message.payload))
            assert [*of_topic.values()] == [list(range(100))] * 2
            await viewer.__aexit__(None, None, None)


async def test_a_subscriber_that_does_not_read_loses_qos_0_and_keeps_qos_1():
    async with serve(queue_bytes=10_000_000) as server:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, ("127.0.0.1", server.port))
        hello = mq.connect(5, b"slow", ADMIN, b"token-" + ADMIN) + mq.subscribe(1, [(b"#", 1)])
        await loop.sock_sendall(slow, hello)
        await server.until("subscriptions", 1)
        for i in range(2000):
            publish(server, b"%d" % i + bytes(3000), 0)
            if server.count("deliveries_refused"):
                break
        assert server.count("deliveries_refused")
        for i in range(100):
            assert publish(server, b"kept %d" % i, 1) == 1
        stream, kept = b"", []
        while len(kept) < 100:
            async with asyncio.timeout(60):
                stream += await loop.sock_recv(slow, 65536)
            packets, stream = mq.split(stream)
            replies = [mq.read_reply(first, body, 5) for first, body in packets]
            kept += [reply.payload for reply in replies if reply.qos]
        assert kept == [b"kept %d" % i for i in range(100)]
        slow.close()


async def test_unsubscribing_stops_new_messages_and_finishes_old_ones():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        await client.subscribe((COMMANDS, 2))
        server.endpoint.deliver(SENSOR, COMMANDS, b"x", 2)
        message = await client.reply()
        assert await client.unsubscribe(COMMANDS) == (0,)
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"y", 2) == 0
        client.ack(message)
        assert (await client.reply()).type == mq.PUBREL
        client.send(mq.ack(mq.PUBCOMP, message.packet_id))
        await client.ping()
