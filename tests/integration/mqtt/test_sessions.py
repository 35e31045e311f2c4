"""Sessions: who finds what it left, for how long, and what happens to messages meanwhile."""

import asyncio
import hashlib

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import OTHER, SENSOR, VIEWER, MqttServer, serve

COMMANDS = b"cf/v1/d/wl-1/commands"
KEEP = [(17, 300)]


def deliver(server: MqttServer, payload: bytes, qos: int = 1) -> int:
    return server.endpoint.deliver(SENSOR, COMMANDS, payload, qos)


async def leave_subscribed(server: MqttServer, version: int = 5, qos: int = 1) -> None:
    """A client that subscribes to its commands, with a session, and goes."""
    async with RawClient(server.port, version) as client:
        await client.connect(clean=False, props=KEEP)
        await client.subscribe((COMMANDS, qos))
        await client.leave()


@pytest.mark.parametrize("version", [4, 5])
async def test_a_session_keeps_subscriptions_and_messages_while_its_client_is_away(version):
    async with serve() as server:
        await leave_subscribed(server, version)
        assert [deliver(server, b"%d" % i) for i in range(3)] == [1, 1, 1]
        assert deliver(server, b"not kept", qos=0) == 0
        async with RawClient(server.port, version) as client:
            connack = await client.connect(clean=False, props=KEEP)
            assert connack.session_present
            messages = await client.replies(3)
            assert [(m.payload, m.packet_id, m.dup) for m in messages] == [
                (b"0", 1, False),
                (b"1", 2, False),
                (b"2", 3, False),
            ]
            client.send(*(mq.puback(message.packet_id) for message in messages))
            await client.ping()
            assert deliver(server, b"now") == 1
            assert (await client.reply()).payload == b"now"
        assert server.count("sessions_resumed") == 1


@pytest.mark.parametrize("version", [4, 5])
async def test_a_clean_start_ends_the_session_before(version):
    async with serve() as server:
        await leave_subscribed(server, version)
        deliver(server, b"x")
        async with RawClient(server.port, version) as client:
            assert not (await client.connect(clean=True, props=KEEP)).session_present
            assert deliver(server, b"y") == 0
            await client.ping()
        assert server.count("queued_bytes") == 0


@pytest.mark.parametrize(("version", "props"), [(4, []), (5, []), (5, [(17, 0)])])
async def test_without_expiry_a_session_ends_with_its_connection(version, props):
    async with serve() as server:
        async with RawClient(server.port, version) as client:
            await client.connect(clean=version == 4, props=props)
            await client.subscribe((COMMANDS, 1))
            await client.leave()
        assert deliver(server, b"x") == 0
        assert server.count("sessions") == server.count("subscriptions") == 0
        async with RawClient(server.port, version) as client:
            assert not (await client.connect(clean=False, props=KEEP)).session_present


async def test_a_session_ends_when_its_time_is_over():
    async with serve() as server:
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=[(17, 1)])
            await client.subscribe((COMMANDS, 1))
            client.drop()
        async with asyncio.timeout(60):
            while server.count("connections"):
                await asyncio.sleep(0.01)
        assert deliver(server, b"kept") == 1
        await server.until("sessions_expired", 1)
        assert deliver(server, b"gone") == 0
        assert server.count("sessions") == server.count("subscriptions") == server.count("queued_bytes") == 0
        async with RawClient(server.port) as client:
            assert not (await client.connect(clean=False, props=KEEP)).session_present


async def test_a_session_that_is_back_does_not_end():
    async with serve() as server:
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=[(17, 1)])
            client.drop()
        async with RawClient(server.port) as client:
            assert (await client.connect(clean=False, props=[(17, 1)])).session_present
            await client.subscribe((COMMANDS, 1))
            await asyncio.sleep(1.6)
            assert deliver(server, b"x") == 1
            assert (await client.reply()).payload == b"x"


async def test_disconnect_may_change_how_long_a_session_lives():
    async with serve() as server:
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=KEEP)
            await client.leave(0, [(17, 0)])
        assert server.count("sessions") == 0
        async with RawClient(server.port) as client:
            await client.connect(clean=False)
            client.send(mq.disconnect(0, [(17, 60)]))  # none was asked for in CONNECT
            assert [reply.reasons for reply in await client.until_closed()] == [(0x82,)]


async def test_the_longest_session_is_bounded_and_said():
    async with serve(max_session_expiry_s=100) as server:
        async with RawClient(server.port) as client:
            assert (await client.connect(props=[(17, 0xFFFFFFFF)])).properties[17] == 100
        async with RawClient(server.port) as client:
            assert 17 not in (await client.connect(OTHER, props=[(17, 100)])).properties


async def test_a_session_too_many_ends_with_its_connection_and_is_said():
    async with serve(max_sessions=1) as server:
        await leave_subscribed(server)
        async with RawClient(server.port) as client:
            assert (await client.connect(OTHER, props=KEEP)).properties[17] == 0
            await client.leave()
        assert server.count("sessions") == server.count("sessions_refused") == 1
        async with RawClient(server.port) as client:
            assert (await client.connect(clean=False, props=KEEP)).session_present


@pytest.mark.parametrize(
    ("limits", "kept"),
    [({"queue_messages": 3}, 3), ({"queue_bytes": 2_700}, 2), ({"total_queue_bytes": 2_700}, 2)],
)
async def test_the_queue_is_bounded_and_refuses_the_newest(limits, kept):
    async with serve(**limits) as server:
        await leave_subscribed(server)
        taken = [deliver(server, b"%03d" % i + bytes(1000)) for i in range(6)]
        assert taken == [1] * kept + [0] * (6 - kept)
        assert server.count("deliveries_refused") == 6 - kept
        assert server.count("deliveries_queued") == kept
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=KEEP)
            messages = await client.replies(kept)
            assert [m.payload[:3] for m in messages] == [b"%03d" % i for i in range(kept)]
            await client.ping()
            client.send(*(mq.puback(message.packet_id) for message in messages))
            await client.ping()
        assert server.count("queued_bytes") == 0


async def test_what_is_under_way_counts_until_it_is_acknowledged():
    async with serve(queue_bytes=2_700) as server, RawClient(server.port) as client:
        await client.connect()
        await client.subscribe((COMMANDS, 2))
        assert [deliver(server, bytes(1000), qos) for qos in (1, 2, 1)] == [1, 1, 0]
        one, two = await client.replies(2)
        client.ack(one)
        await client.ping()
        assert [deliver(server, bytes(1000)), deliver(server, bytes(1000))] == [1, 0]
        client.ack(two)  # what is released is no longer held
        assert [(await client.reply()).type, (await client.reply()).type] == [mq.PUBLISH, mq.PUBREL]
        assert deliver(server, bytes(1000)) == 1


@pytest.mark.parametrize("version", [4, 5])
async def test_a_session_is_taken_over_with_all_it_has(version):
    async with serve() as server, RawClient(server.port, version) as first, RawClient(server.port, version) as second:
        await first.connect(clean=False, props=KEEP)
        await first.subscribe((COMMANDS, 1))
        deliver(server, b"x")
        assert (await first.reply()).payload == b"x"
        assert (await second.connect(clean=False, props=KEEP)).session_present
        assert [reply.reasons for reply in await first.until_closed()] == ([(0x8E,)] if version == 5 else [])
        again = await second.reply()
        assert (again.payload, again.packet_id, again.dup) == (b"x", 1, True)
        deliver(server, b"y")
        assert (await second.reply()).payload == b"y"
        assert server.count("connections") == server.count("sessions") == 1


async def test_sessions_of_two_users_with_one_client_id_are_two():
    async with serve() as server:
        await leave_subscribed(server)
        async with RawClient(server.port) as client:
            assert not (await client.connect(OTHER, clean=False, props=KEEP)).session_present


async def test_a_message_that_lived_too_long_is_not_sent_and_the_rest_lives_less():
    async with serve() as server:
        async with RawClient(server.port) as viewer:
            await viewer.connect(VIEWER, clean=False, props=KEEP)
            await viewer.subscribe((b"plain/x", 1))
            await viewer.leave()
        server.endpoint.publish(b"plain/x", b"short", 1, expiry_s=1)
        server.endpoint.publish(b"plain/x", b"long", 1, expiry_s=100)
        server.endpoint.publish(b"plain/x", b"forever", 1)
        await asyncio.sleep(1.2)
        async with RawClient(server.port) as viewer:
            await viewer.connect(VIEWER, clean=False, props=KEEP)
            long, forever = await viewer.replies(2)
            assert (long.payload, forever.payload, forever.properties) == (b"long", b"forever", {})
            assert 90 <= long.properties[2] <= 99
        assert server.count("deliveries_expired") == 1


async def test_a_lower_receive_maximum_after_the_return_is_kept():
    async with serve() as server:
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=KEEP)
            await client.subscribe((COMMANDS, 1))
            for i in range(4):
                deliver(server, b"%d" % i)
            await client.replies(4)
            client.drop()
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=[*KEEP, (33, 1)])
            for i in range(4):
                message = await client.reply()
                assert (message.payload, message.dup, message.packet_id) == (b"%d" % i, True, i + 1)
                await client.ping()
                client.ack(message)
            await client.ping()


async def test_a_subscription_identifier_belongs_to_the_session():
    async with serve() as server:
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=KEEP)
            await client.subscribe((COMMANDS, 1), props=[(11, 268_435_455)])
            await client.leave()
        deliver(server, b"x")
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=KEEP)
            assert (await client.reply()).properties[11] == (268_435_455,)


async def test_messages_keep_their_order_over_queue_and_window():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(props=[(33, 3)])
        await client.subscribe((COMMANDS, 2))
        for i in range(50):
            deliver(server, b"%d" % i, 1 + i % 2)
        seen = []
        while len(seen) < 50:
            reply = await client.reply()
            if reply.type == mq.PUBREL:
                client.send(mq.ack(mq.PUBCOMP, reply.packet_id))
            else:
                seen.append(int(reply.payload))
                client.ack(reply)
        assert seen == list(range(50))


async def test_a_session_ends_when_its_user_may_no_longer_see_what_it_holds():
    async with serve() as server:
        for user, filter_ in [(VIEWER, b"plain/x"), (b"gw-1", b"cf/v1/d/wl-gw-1-a/#")]:
            async with RawClient(server.port) as client:
                await client.connect(user, clean=False, props=KEEP)
                await client.subscribe((filter_, 1))
                await client.leave()
        assert server.endpoint.publish(b"plain/x", b"secret", 1) == 1
        token = hashlib.sha256(b"token-" + VIEWER).digest()
        server.index.put_operator("viewer", token, ["cf/v1/#"], [], True)
        server.index.put_device(4, "wl-gw-1-a", 1, "00070", 0, [], True)
        for user in (VIEWER, b"gw-1"):
            async with RawClient(server.port) as client:
                assert not (await client.connect(user, clean=False, props=KEEP)).session_present
                await client.ping()
        assert server.count("subscriptions") == server.count("queued_bytes") == 0


async def test_many_clean_starts_leave_nothing_behind():
    async with serve() as server:
        for _ in range(60):
            async with RawClient(server.port) as client:
                await client.connect(clean=True, props=KEEP)
                await client.subscribe((COMMANDS, 1), (b"cf/v1/d/wl-1/#", 1))
                deliver(server, b"x")
                client.drop()
        assert server.count("sessions") == 1
        assert server.count("subscriptions") <= 2
