"""QoS 2 both ways: once in, once out, PUBREC only when durable, and the handshake survives the connection."""

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import SENSOR, VIEWER, serve

TELEMETRY, COMMANDS = b"cf/v1/d/wl-1/telemetry", b"cf/v1/d/wl-1/commands"
KEEP = [(17, 300)]


@pytest.mark.parametrize("version", [4, 5])
async def test_a_message_comes_in_once_for_each_packet_id(version):
    async with serve() as server, RawClient(server.port, version) as client:
        await client.connect()
        for payload in (b"first", b"second"):  # after PUBCOMP the id is free again
            for dup in (False, True, True):
                client.publish(TELEMETRY, payload, 5, qos=2, dup=dup)
                assert await client.reply() == mq.Reply(mq.PUBREC, 5, (0,))
            client.send(mq.ack(mq.PUBREL, 5))
            assert await client.reply() == mq.Reply(mq.PUBCOMP, 5, (0,))
        assert [taken.payload for taken in server.taken] == [b"first", b"second"]
        assert server.count("messages.qos2") == 2
        client.send(mq.ack(mq.PUBREL, 5))
        assert await client.reply() == mq.Reply(mq.PUBCOMP, 5, (0x92 if version == 5 else 0,))


async def test_pubrec_waits_until_the_chunk_is_durable():
    async with serve() as server, RawClient(server.port) as client:
        server.acks = False
        await client.connect()
        client.publish(TELEMETRY, b"x", 1, qos=2)
        client.publish(TELEMETRY, b"y", 2)
        client.publish(TELEMETRY, b"x", 1, qos=2, dup=True)
        await server.until("chunks", 1)
        client.publish(TELEMETRY, b"x", 1, qos=2, dup=True)
        await client.ping()
        server.release()
        assert [(reply.type, reply.packet_id) for reply in await client.replies(4)] == [
            (mq.PUBREC, 1),
            (mq.PUBACK, 2),
            (mq.PUBREC, 1),
            (mq.PUBREC, 1),
        ]
        assert [taken.payload for taken in server.taken] == [b"x", b"y"]


async def test_what_a_session_has_taken_stays_taken_over_a_lost_connection():
    async with serve() as server:
        server.acks = False
        async with RawClient(server.port) as client:
            await client.connect(props=KEEP)
            client.publish(TELEMETRY, b"x", 1, qos=2)
            await server.until("chunks", 1)
            client.drop()
        async with RawClient(server.port) as client:
            assert (await client.connect(clean=False, props=KEEP)).session_present
            client.publish(TELEMETRY, b"x", 1, qos=2, dup=True)
            await client.ping()  # not durable yet, so no PUBREC
            server.release()
            assert await client.reply() == mq.Reply(mq.PUBREC, 1, (0,))
            client.drop()
        async with RawClient(server.port) as client:
            await client.connect(clean=False, props=KEEP)
            client.send(mq.ack(mq.PUBREL, 1))
            assert await client.reply() == mq.Reply(mq.PUBCOMP, 1, (0,))
        assert [taken.payload for taken in server.taken] == [b"x"]


async def test_receive_maximum_counts_until_pubcomp():
    async with serve(receive_maximum=2) as server, RawClient(server.port) as client:
        await client.connect()
        client.publish(TELEMETRY, b"", 1, qos=2)
        client.publish(TELEMETRY, b"", 2, qos=2)
        await client.replies(2)
        client.publish(TELEMETRY, b"", 2, qos=2, dup=True)  # counted already
        await client.reply()
        client.send(mq.ack(mq.PUBREL, 1))
        await client.reply()
        client.publish(TELEMETRY, b"", 3)
        assert (await client.reply()).type == mq.PUBACK
        client.publish(TELEMETRY, b"", 4, qos=2)
        assert (await client.reply()).type == mq.PUBREC
        client.publish(TELEMETRY, b"", 5)
        assert [reply.reasons for reply in await client.until_closed()] == [(0x93,)]


async def test_more_ids_than_a_small_table_holds():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        ids = [(i * 7919) % 65_535 + 1 for i in range(3000)]
        for packet_id in ids:
            client.publish(TELEMETRY, b"", packet_id, qos=2)
        assert [reply.packet_id for reply in await client.replies(3000)] == ids
        for packet_id in ids[::2]:
            client.send(mq.ack(mq.PUBREL, packet_id))
        assert {reply.reasons for reply in await client.replies(1500)} == {(0,)}
        for packet_id in ids:
            client.send(mq.ack(mq.PUBREL, packet_id))
        assert [reply.reasons[0] for reply in await client.replies(3000)] == [0x92, 0] * 1500
        assert len(server.taken) == 3000


@pytest.mark.parametrize("version", [4, 5])
async def test_a_message_goes_out_by_the_whole_handshake(version):
    async with serve() as server, RawClient(server.port, version) as client:
        await client.connect(props=[(33, 1)])
        assert await client.subscribe((COMMANDS, 2)) == (2,)
        assert server.endpoint.deliver(SENSOR, COMMANDS, b"a", 2) == 1
        assert await client.reply() == mq.Reply(mq.PUBLISH, 1, topic=COMMANDS, payload=b"a", qos=2)
        for _ in range(2):
            client.send(mq.ack(mq.PUBREC, 1))
            assert await client.reply() == mq.Reply(mq.PUBREL, 1, (0,))
        server.endpoint.deliver(SENSOR, COMMANDS, b"b", 2)
        if version == 5:
            await client.ping()  # Receive Maximum 1: not before PUBCOMP
        client.send(mq.ack(mq.PUBCOMP, 1))
        assert (await client.reply()).payload == b"b"


async def test_a_refusal_by_pubrec_ends_the_delivery():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(props=[(33, 1), *KEEP])
        await client.subscribe((COMMANDS, 2))
        for payload in (b"a", b"b"):
            server.endpoint.deliver(SENSOR, COMMANDS, payload, 2)
        message = await client.reply()
        client.ack(message, 0x97)
        assert (await client.reply()).payload == b"b"
        client.drop()
        async with RawClient(server.port) as again:
            await again.connect(clean=False, props=KEEP)
            assert (await again.reply()).payload == b"b"
            await again.ping()


async def test_unfinished_deliveries_are_resent_in_order_with_dup_and_pubrel_without():
    async with serve() as server:
        async with RawClient(server.port) as client:
            await client.connect(props=KEEP)
            await client.subscribe((COMMANDS, 2))
            for payload, qos in [(b"a", 2), (b"b", 1), (b"c", 2), (b"d", 1)]:
                server.endpoint.deliver(SENSOR, COMMANDS, payload, qos)
            messages = await client.replies(4)
            client.ack(messages[0])
            assert (await client.reply()).type == mq.PUBREL
            client.ack(messages[3])
            await client.ping()
            client.drop()
        async with RawClient(server.port) as client:
            assert (await client.connect(clean=False, props=KEEP)).session_present
            pubrel, *messages = await client.replies(3)
            assert (pubrel.type, pubrel.packet_id) == (mq.PUBREL, 1)
            assert [(message.payload, message.packet_id, message.dup) for message in messages] == [
                (b"b", 2, True),
                (b"c", 3, True),
            ]
            client.send(mq.ack(mq.PUBCOMP, 1), mq.puback(2), mq.ack(mq.PUBREC, 3))
            assert (await client.reply()).type == mq.PUBREL
            client.send(mq.ack(mq.PUBCOMP, 3))
            await client.ping()


async def test_the_lower_of_published_and_granted_qos_counts():
    async with serve() as server, RawClient(server.port) as viewer, RawClient(server.port) as device:
        await viewer.connect(VIEWER)
        await device.connect()
        for granted in (0, 1, 2):
            await viewer.subscribe((b"cf/v1/#", granted))
            for published in (0, 1, 2):
                device.publish(TELEMETRY, b"", published, qos=published)
                if published:
                    await device.reply()
                message = await viewer.reply()
                assert message.qos == min(granted, published)
                if message.qos:
                    viewer.ack(message)
                if message.qos == 2:
                    assert (await viewer.reply()).type == mq.PUBREL
                    viewer.send(mq.ack(mq.PUBCOMP, message.packet_id))
            device.send(mq.ack(mq.PUBREL, 2))
            await device.reply()
