"""Normative statements of MQTT 5.0 that no other test shows by itself. docs/mqtt-conformance.md has them all."""

import asyncio

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import ADMIN, SENSOR, VIEWER, serve

TELEMETRY, COMMANDS = b"cf/v1/d/wl-1/telemetry", b"cf/v1/d/wl-1/commands"
KEEP = [(17, 300)]


async def test_nothing_in_a_topic_or_string_is_normalised_or_stripped():
    topics = ["\ufeffa", "a", "A", "/a", "a/", "a//b", "caf\u00e9", "cafe\u0301", " a", "a b", "\u2126", "\u03a9"]
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(ADMIN)
        for name in topics:
            assert await client.subscribe((name.encode(), 0)) == (0,)
        for name in topics:
            props = [(38, (name.encode(), name.encode()))]
            client.publish(name.encode(), b"", props=props)
            message = await client.reply()
            assert (message.topic, message.properties) == (name.encode(), {38: ((name.encode(), name.encode()),)})
        await client.ping()


async def test_the_longest_topic_is_one():
    topic = b"t" * 65_535
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(ADMIN)
        await client.subscribe((topic, 0))
        client.publish(topic, b"x")
        assert (await client.reply()).topic == topic


async def test_packet_ids_of_messages_under_way_differ_and_are_not_0():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        await client.subscribe((COMMANDS, 2))
        for i in range(300):
            server.endpoint.deliver(SENSOR, COMMANDS, b"", 1 + i % 2)
        ids = {message.packet_id for message in await client.replies(300)}
        assert len(ids) == 300
        assert 0 not in ids


async def test_packet_ids_start_again_and_pass_over_those_in_use():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        await client.subscribe((COMMANDS, 1))
        server.endpoint.deliver(SENSOR, COMMANDS, b"", 1)
        held = await client.reply()
        last = 0
        for _ in range(132):
            for _ in range(500):
                server.endpoint.deliver(SENSOR, COMMANDS, b"", 1)
            messages = await client.replies(500)
            last = messages[-1].packet_id
            assert held.packet_id not in {message.packet_id for message in messages}
            client.send(*(mq.puback(message.packet_id) for message in messages))
        assert last == (1 + 132 * 500) % 65_535 + 1


async def test_a_client_id_of_23_letters_and_digits_is_taken():
    for client_id in (b"0123456789abcdefghijklm", b"nopqrstuvwxyzABCDEFGHIJ", b"KLMNOPQRSTUVWXYZ", b"x"):
        async with serve() as server, RawClient(server.port) as client:
            assert (await client.connect(client_id=client_id)).reasons == (0,)


async def test_assigned_client_ids_are_new_and_can_be_used_again():
    async with serve() as server, RawClient(server.port) as first, RawClient(server.port) as second:
        ids = {(await client.connect(client_id=b"", props=KEEP)).properties[18] for client in (first, second)}
        assert len(ids) == 2
        await first.ping()
        async with RawClient(server.port) as again:
            assert (await again.connect(client_id=sorted(ids)[0], clean=False)).session_present


async def test_no_response_information_is_returned():
    for props in ([(25, 0)], [(25, 1)], []):
        async with serve() as server, RawClient(server.port) as client:
            assert 26 not in (await client.connect(props=props)).properties


async def test_connack_promises_all_that_this_server_has():
    async with serve() as server, RawClient(server.port) as client:
        found = (await client.connect()).properties
        assert not {36, 37, 40, 41, 42, 21, 22} & set(found), "absent: QoS 2, retained, wildcards, identifiers, sharing"


@pytest.mark.parametrize("limit", [20, 1000])
async def test_reason_strings_do_not_make_packets_too_large(limit):
    async with serve() as server:
        async with RawClient(server.port) as client:
            client.send(mq.connect(password=b"no", props=[(39, limit)]))
            (refusal,) = await client.until_closed()
            assert (31 in refusal.properties) is (limit > 20)
        async with RawClient(server.port) as client:
            await client.connect(props=[(39, limit)])
            client.send(b"\xc1\x00")
            (bye,) = await client.until_closed()
            assert (bye.reasons, 31 in bye.properties, 17 in bye.properties) == ((0x81,), limit > 20, False)


async def test_a_refused_connack_that_is_too_large_is_not_sent():
    async with serve() as server, RawClient(server.port) as client:
        client.send(mq.connect(password=b"no", props=[(39, 4)]))
        assert await client.until_closed() == []


async def test_dup_goes_no_further_than_one_hop():
    async with serve() as server, RawClient(server.port) as viewer, RawClient(server.port) as device:
        await viewer.connect(VIEWER)
        await viewer.subscribe((b"cf/v1/#", 2))
        await device.connect()
        device.publish(TELEMETRY, b"", 1, dup=True)
        device.publish(TELEMETRY, b"", 2, qos=2, dup=True)
        assert [message.dup for message in await viewer.replies(2)] == [False, False]


async def test_every_topic_alias_up_to_the_maximum_is_accepted():
    async with serve() as server, RawClient(server.port) as client:
        maximum = (await client.connect()).properties[34]
        for alias in range(1, maximum + 1):
            client.publish(TELEMETRY, b"%d" % alias, alias, props=[(35, alias)])
        for alias in range(1, maximum + 1):
            client.publish(b"", b"%d" % alias, alias, props=[(35, alias)])
        assert {reply.reasons for reply in await client.replies(2 * maximum)} == {(0,)}
        assert {taken.topic for taken in server.taken} == {TELEMETRY}


async def test_a_packet_id_is_new_after_its_puback():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        for payload in (b"first", b"second"):
            client.publish(TELEMETRY, payload, 1, dup=payload == b"second")
            assert (await client.reply()).type == mq.PUBACK
        assert [taken.payload for taken in server.taken] == [b"first", b"second"]


async def test_the_qos_decides_the_answer():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        for qos in (0, 1, 2):
            client.publish(TELEMETRY, b"", qos, qos=qos)
        assert [(reply.type, reply.packet_id) for reply in await client.replies(2)] == [(mq.PUBACK, 1), (mq.PUBREC, 2)]
        await client.ping()


async def test_expiry_ends_with_the_first_sending_and_the_handshake_goes_on():
    async with serve() as server:
        async with RawClient(server.port) as viewer:
            await viewer.connect(VIEWER, clean=False, props=KEEP)
            await viewer.subscribe((b"plain/x", 2))
            for qos in (1, 2):
                server.endpoint.publish(b"plain/x", b"%d" % qos, qos, expiry_s=1)
            await viewer.replies(2)
            viewer.drop()
        await asyncio.sleep(1.1)
        async with RawClient(server.port) as viewer:
            await viewer.connect(VIEWER, clean=False, props=KEEP)
            one, two = await viewer.replies(2)
            assert (one.payload, two.payload, two.dup, two.properties) == (b"1", b"2", True, {2: 0})
            viewer.ack(two)
            assert (await viewer.reply()).type == mq.PUBREL
            viewer.send(mq.ack(mq.PUBCOMP, two.packet_id))
            await viewer.ping()


async def test_nothing_is_sent_again_on_the_same_connection():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        await client.subscribe((COMMANDS, 2))
        for qos in (1, 2):
            server.endpoint.deliver(SENSOR, COMMANDS, b"", qos)
        await client.replies(2)
        await asyncio.sleep(0.6)  # more than two ticks of the endpoint's clock
        await client.ping()


async def test_other_packets_pass_while_the_window_is_full():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(props=[(33, 1)])
        await client.subscribe((COMMANDS, 2))
        for _ in range(3):
            server.endpoint.deliver(SENSOR, COMMANDS, b"", 1)
        await client.reply()
        await client.ping()
        assert await client.subscribe((b"cf/v1/d/wl-1/config", 0)) == (0,)
        assert await client.unsubscribe(b"cf/v1/d/wl-1/config") == (0,)
        client.publish(TELEMETRY, b"", 5, qos=2)
        assert (await client.reply()).type == mq.PUBREC
        client.send(mq.ack(mq.PUBREL, 5))
        assert (await client.reply()).type == mq.PUBCOMP


async def test_a_session_stays_while_its_connection_is_open():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(props=[(17, 1)])
        await client.subscribe((COMMANDS, 1))
        await asyncio.sleep(1.5)
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"x", 1) == 1
        assert (await client.reply()).payload == b"x"


async def test_replacing_a_subscription_tells_what_is_retained_again_and_loses_nothing():
    async with serve() as server, RawClient(server.port) as client:
        server.endpoint.publish(b"plain/x", b"kept", 1, True)
        await client.connect(VIEWER, props=[(33, 1)])
        await client.subscribe((b"plain/x", 1))
        first = await client.reply()
        server.endpoint.publish(b"plain/x", b"live", 1)
        await client.subscribe((b"plain/x", 1))
        client.ack(first)
        rest = []
        for _ in range(2):
            rest.append(await client.reply())
            client.ack(rest[-1])
        assert sorted(message.payload for message in rest) == [b"kept", b"live"]


async def test_one_subscribe_is_like_several_and_has_one_answer():
    async with serve() as server, RawClient(server.port) as client:
        server.endpoint.publish(b"plain/x", b"kept", 0, True)
        await client.connect(VIEWER)
        assert await client.subscribe((b"plain/x", 0), (b"plain/+", 1), (b"plain/x", 2)) == (0, 1, 2)
        assert [message.payload for message in await client.replies(3)] == [b"kept"] * 3
        assert await client.unsubscribe(b"plain/x", b"plain/+", b"plain/x") == (0, 0, 0x11)
        await client.ping()


async def test_a_message_of_a_group_waits_for_the_member_that_was_chosen():
    async with serve() as server, RawClient(server.port) as other:
        async with RawClient(server.port) as chosen:
            await chosen.connect(VIEWER, b"chosen", clean=False, props=KEEP)
            await chosen.subscribe((b"$share/g/plain/x", 2))
            server.endpoint.publish(b"plain/x", b"two", 2)
            assert (await chosen.reply()).payload == b"two"
            await other.connect(VIEWER, b"other")
            await other.subscribe((b"$share/g/plain/x", 2))
            chosen.drop()
        await other.ping()
        async with RawClient(server.port) as chosen:
            await chosen.connect(VIEWER, b"chosen", clean=False, props=KEEP)
            again = await chosen.reply()
            assert (again.payload, again.dup) == (b"two", True)
        await other.ping()


async def test_pubrel_is_answered_whatever_the_chunk_does():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        client.publish(TELEMETRY, b"", 9, qos=2)
        assert await client.reply() == mq.Reply(mq.PUBREC, 9, (0,))
        client.send(mq.ack(mq.PUBREL, 9, 0, [(38, (b"k", b"v"))]))
        assert await client.reply() == mq.Reply(mq.PUBCOMP, 9, (0,))
