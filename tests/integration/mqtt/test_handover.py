"""Two endpoints as two workers: a session moves with all it has, and publications reach subscribers of the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ext.mqtt.hub import Hub
from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import ADMIN, SENSOR, VIEWER, MqttServer, serve

COMMANDS, STATE = b"cf/v1/d/wl-1/commands", b"cf/v1/d/wl-1/state"
KEEP = [(17, 300)]


def hub(server: MqttServer) -> Hub:
    found = server.endpoint._hub
    assert found is not None
    return found


def key(user: bytes, client_id: bytes = b"c1") -> bytes:
    return user + b"\0" + client_id


def move(old: MqttServer, new: MqttServer, user: bytes = SENSOR) -> bool:
    data = hub(old).export_session(key(user))
    return data is not None and hub(new).import_session(data)


@asynccontextmanager
async def workers(count: int = 2) -> AsyncIterator[list[MqttServer]]:
    """Endpoints that tell each other everything at once. A group's turn goes to the first other that has it."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serve()) for _ in range(count)]
        filters: dict[int, list[bytes]] = {i: [] for i in range(count)}

        def connect(i: int) -> None:
            def on_publish(topic, payload, qos, retain, properties, expiry_s, is_wanted, groups):
                left = list(groups)
                for j, other in enumerate(servers):
                    if j != i:
                        mine = [group for group in left if group in filters[j]]
                        left = [group for group in left if group not in mine]
                        hub(other).publish_local(topic, payload, qos, retain, properties, expiry_s, is_wanted, mine)

            def on_filters(now: list[bytes]) -> None:
                filters[i] = now
                for j, other in enumerate(servers):
                    hub(other).set_remote_filters(sorted({f for k in filters if k != j for f in filters[k]}))

            hub(servers[i]).announce(on_publish, on_filters)

        for i in range(count):
            connect(i)
        yield servers


async def test_a_session_moves_with_messages_subscriptions_and_handshakes():
    async with serve() as old, serve() as new:
        async with RawClient(old.port) as client:
            await client.connect(clean=False, props=KEEP)
            await client.subscribe((COMMANDS, 2), (b"cf/v1/d/wl-1/config", 1), props=[(11, 9)])
            client.publish(STATE, b"once", 40, qos=2)
            assert (await client.reply()).type == mq.PUBREC
            for payload, qos in [(b"a", 2), (b"b", 1), (b"c", 2)]:
                old.endpoint.deliver(SENSOR, COMMANDS, payload, qos)
            messages = await client.replies(3)
            client.ack(messages[0])
            assert (await client.reply()).type == mq.PUBREL
            assert move(old, new)
            assert [reply.reasons for reply in await client.until_closed()] == [(0x8E,)]
        assert old.count("sessions") == old.count("subscriptions") == old.count("queued_bytes") == 0
        assert new.endpoint.deliver(SENSOR, COMMANDS, b"d", 1) == 1
        async with RawClient(new.port) as client:
            assert (await client.connect(clean=False, props=KEEP)).session_present
            pubrel, *rest = await client.replies(4)
            assert (pubrel.type, pubrel.packet_id) == (mq.PUBREL, 1)
            assert [(m.payload, m.packet_id, m.dup) for m in rest] == [
                (b"b", 2, True),
                (b"c", 3, True),
                (b"d", 4, False),
            ]
            assert rest[-1].properties == {11: (9,)}
            client.publish(STATE, b"once", 40, qos=2, dup=True)
            assert (await client.reply()).type == mq.PUBREC
            assert new.taken == []
            new.endpoint.deliver(SENSOR, b"cf/v1/d/wl-1/config", b"e", 2)
            assert (await client.reply()).qos == 1


async def test_what_is_not_durable_yet_is_taken_again():
    async with serve() as old, serve() as new:
        old.acks = False
        async with RawClient(old.port) as client:
            await client.connect(clean=False, props=KEEP)
            client.publish(STATE, b"x", 1, qos=2)
            await old.until("chunks", 1)
            assert move(old, new)
        async with RawClient(new.port) as client:
            await client.connect(clean=False, props=KEEP)
            client.publish(STATE, b"x", 1, qos=2, dup=True)
            assert (await client.reply()).type == mq.PUBREC
            assert len(new.taken) == 1


async def test_there_is_nothing_to_move_without_a_session():
    async with serve() as old, serve() as new:
        assert not move(old, new)
        async with RawClient(old.port) as client:
            await client.connect()
            await client.subscribe((COMMANDS, 1))
            assert not move(old, new)
            assert [reply.reasons for reply in await client.until_closed()] == [(0x8E,)]


async def test_a_session_that_is_away_moves_with_the_time_it_has_left():
    async with serve() as old, serve() as new:
        async with RawClient(old.port) as client:
            await client.connect(VIEWER, clean=False, props=[(17, 1)])
            await client.subscribe((b"plain/x", 1))
            await client.leave()
        old.endpoint.publish(b"plain/x", b"kept", 1, expiry_s=100)
        assert move(old, new, VIEWER)
        assert new.count("sessions") == 1
        assert new.count("queued_bytes") > 0
        await new.until("sessions_expired", 1)
        assert new.count("queued_bytes") == 0


@pytest.mark.parametrize(("delay", "clean", "sent"), [(0, False, "old"), (300, False, ""), (300, True, "new")])
async def test_a_will_moves_with_its_session(delay, clean, sent):
    async with serve() as old, serve() as new:
        async with RawClient(old.port) as client:
            will = (STATE, b"gone", 1, True)
            await client.connect(clean=False, props=KEEP, will=will, will_props=[(24, delay), (2, 50)])
            assert move(old, new)
        async with RawClient(new.port) as client:
            assert (await client.connect(clean=clean, props=KEEP)).session_present is not clean
        assert (old.count("wills"), new.count("wills")) == (sent == "old", sent == "new")
        if sent == "new":
            await new.until("chunks", 1)
            assert new.taken[0].sender == new.index.find_device(SENSOR)


async def test_a_session_of_an_unknown_device_or_moved_child_is_not_taken_as_it_was():
    async with serve() as old, serve(extra=1) as other:
        async with RawClient(other.port) as client:
            await client.connect(b"s-00000", clean=False, props=KEEP)
            data = hub(other).export_session(key(b"s-00000"))
            assert data is not None
            assert not hub(old).import_session(data)
        async with RawClient(other.port) as client:
            await client.connect(b"gw-1", clean=False, props=KEEP)
            await client.subscribe((b"cf/v1/d/wl-gw-1-a/#", 1), (b"cf/v1/d/gw-1/#", 1))
            old.index.put_device(4, "wl-gw-1-a", 1, "00070", 0, [], True)
            assert move(other, old, b"gw-1")
            assert old.count("subscriptions") == 1


async def test_subscribers_of_another_worker_get_live_telemetry_and_only_what_they_asked_for():
    async with workers() as (a, b), RawClient(a.port) as device, RawClient(b.port) as viewer:
        await device.connect()
        await viewer.connect(VIEWER)
        await viewer.subscribe((b"cf/v1/d/+/state", 1))
        props = [(3, b"text/plain"), (38, (b"k", b"v"))]
        device.publish(STATE, b"fine", 1, props=[*props, (2, 60)])
        device.publish(b"cf/v1/d/wl-1/telemetry", b"not asked for", 2)
        await device.replies(2)
        message = await viewer.reply()
        assert message.properties.pop(2) in (59, 60)
        assert (message.payload, message.qos, message.properties) == (
            b"fine",
            1,
            {3: b"text/plain", 38: ((b"k", b"v"),)},
        )
        await viewer.ping()
        await viewer.unsubscribe(b"cf/v1/d/+/state")
        device.publish(STATE, b"fine", 3)
        await device.reply()
        await viewer.ping()


async def test_filters_of_many_devices_are_told_as_one():
    async with serve() as server:
        told: list[list[bytes]] = []
        hub(server).announce(lambda *_: None, told.append)
        async with RawClient(server.port) as first, RawClient(server.port) as second:
            await first.connect()
            await second.connect(b"wl-2")
            await first.subscribe((COMMANDS, 1), (STATE, 0), (b"$share/g/cf/v1/d/wl-1/x", 0))
            await second.subscribe((b"cf/v1/d/wl-2/commands", 1))
            await first.unsubscribe(COMMANDS)
            assert [sorted(filters) for filters in told] == [[b"$share/g/cf/v1/d/wl-1/x", b"cf/v1/d/+/commands", STATE]]
            await second.leave()
        async with asyncio.timeout(60):
            while told[-1]:
                await asyncio.sleep(0.01)


async def test_retained_messages_are_the_same_on_all_workers():
    async with workers() as (a, b):
        a.endpoint.publish(b"plain/x", b"kept", 1, retain=True)
        assert b.count("retained") == 1
        assert hub(b).retained_messages() == [(b"plain/x", b"kept", 1, b"", None)]
        async with RawClient(b.port) as viewer:
            await viewer.connect(VIEWER)
            await viewer.subscribe((b"plain/+", 1))
            assert (await viewer.reply()).payload == b"kept"
        b.endpoint.publish(b"plain/x", b"", 1, retain=True)
        assert a.count("retained") == b.count("retained") == 0


async def test_a_group_over_two_workers_gets_each_message_once():
    shared = b"$share/g/plain/+"
    async with workers(3) as servers, AsyncExitStack() as stack:
        members = []
        for i, server in enumerate(servers[:2]):
            member = await stack.enter_async_context(RawClient(server.port))
            await member.connect(VIEWER, b"m%d" % i)
            await member.subscribe((shared, 0))
            members.append(member)
        operator = await stack.enter_async_context(RawClient(servers[2].port))
        await operator.connect(ADMIN)
        for i in range(20):
            operator.publish(b"plain/x", b"%d" % i)
        await operator.ping()
        seen = []
        for member in members:
            member.send(b"\xc0\x00")
            while (reply := await member.reply()).type == mq.PUBLISH:
                seen.append(int(reply.payload))
        assert sorted(seen) == list(range(20))


async def test_deliver_stays_in_its_process():
    async with workers() as (a, b), RawClient(b.port) as device:
        await device.connect()
        await device.subscribe((COMMANDS, 1))
        assert a.endpoint.deliver(SENSOR, COMMANDS, b"x", 1) == 0
        await device.ping()
        assert b.endpoint.deliver(SENSOR, COMMANDS, b"y", 1) == 1
