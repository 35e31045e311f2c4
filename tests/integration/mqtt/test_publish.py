"""PUBLISH: what becomes a frame, what is refused, and that a PUBACK waits for durability."""

import asyncio

import pytest

from ext.telemetry.frames import ENCODING_NAMES, REASON_NAMES
from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import CHILD, GATEWAY, GONE, OTHER, SENSOR, serve

SENML, BATCH, UNKNOWN = ENCODING_NAMES["senml-json"], ENCODING_NAMES["batch"], 255
UNSUPPORTED = REASON_NAMES.index("unsupported_topic")
NOT_AUTHORIZED = 0x87


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("device", "topic", "whose", "encoding", "scope", "reason"),
    [
        (SENSOR, b"cf/v1/d/wl-1/telemetry", SENSOR, 0, 0, 0),
        (SENSOR, b"cf/v1/d/wl-1/telemetry/senml-json", SENSOR, SENML, 0, 0),
        (SENSOR, b"cf/v1/d/wl-1/telemetry/batch", SENSOR, BATCH, 0, 0),
        (SENSOR, b"cf/v1/d/wl-1/telemetry/\xc3\xa9", SENSOR, UNKNOWN, 0, 0),
        (SENSOR, b"cf/v1/d/wl-1/state", SENSOR, 0, 0, UNSUPPORTED),
        (SENSOR, b"cf/v1/d/wl-1/commands/7/result", SENSOR, 0, 0, UNSUPPORTED),
        (GATEWAY, b"cf/v1/d/gw-1/telemetry", GATEWAY, 0, 0, 0),
        (GATEWAY, b"cf/v1/g/gw-1/telemetry/batch", GATEWAY, BATCH, 1, 0),
        (GATEWAY, b"cf/v1/g/gw-1/other", GATEWAY, 0, 1, UNSUPPORTED),
        (GATEWAY, b"cf/v1/d/wl-gw-1-a/telemetry/batch", CHILD, BATCH, 0, 0),
    ],
)
async def test_what_a_device_may_say_becomes_a_frame(version, device, topic, whose, encoding, scope, reason):
    async with serve() as server, RawClient(server.port, version) as client:
        await client.connect(device)
        client.send(mq.publish(topic, b"zero", version=version), mq.publish(topic, b"one", 7, version=version))
        assert await client.reply() == mq.Reply(mq.PUBACK, 7, (0,))
        frame = (topic, b"one", server.index.find_device(whose), encoding, scope, reason)
        assert server.taken[-1] == frame
        assert [taken.payload for taken in server.taken] == [b"zero", b"one"]


@pytest.mark.parametrize(
    ("device", "topic"),
    [
        (SENSOR, b"cf/v1/d/wl-2/telemetry"),
        (SENSOR, b"cf/v1/d/wl-11/telemetry"),
        (SENSOR, b"cf/v1/d/wl-/telemetry"),
        (SENSOR, b"cf/v1/d/wl-1"),
        (SENSOR, b"cf/v1/g/wl-1/telemetry"),
        (SENSOR, b"cf/v1/d/wl-gw-1-a/telemetry"),
        (SENSOR, b"other/topic"),
        (SENSOR, b"$SYS/broker"),
        (GATEWAY, b"cf/v1/d/wl-1/telemetry"),
        (GATEWAY, b"cf/v1/d/no-such/telemetry"),
        (GATEWAY, b"cf/v1/g/wl-1/telemetry"),
    ],
)
async def test_a_foreign_topic_is_refused_and_nobody_else_notices(device, topic):
    async with serve() as server, RawClient(server.port) as v5, RawClient(server.port, 4) as v4:
        async with RawClient(server.port) as witness:
            await witness.connect(OTHER)
            await v5.connect(device)
            v5.send(mq.publish(topic, b"x", 9), mq.publish(topic, b"x"))
            assert await v5.reply() == mq.Reply(mq.PUBACK, 9, (NOT_AUTHORIZED,))
            await v5.ping()
            await v4.connect(device, b"c2")
            v4.send(mq.publish(topic, b"x", 9, version=4))
            assert await v4.until_closed() == []
            witness.send(mq.publish(b"cf/v1/d/wl-2/telemetry", b"fine", 1))
            assert await witness.reply() == mq.Reply(mq.PUBACK, 1, (0,))
        assert server.count("rejected.not_authorized") == 3
        assert [taken.payload for taken in server.taken] == [b"fine"]


async def test_a_decommissioned_child_still_goes_to_its_gateways_quarantine():
    async with serve() as server, RawClient(server.port) as client:
        server.index.put_device(5, GONE.decode(), 1, "00070", 3, [], False)
        await client.connect(GATEWAY)
        client.send(mq.publish(b"cf/v1/d/wl-gone/telemetry", b"x", 1))
        assert await client.reply() == mq.Reply(mq.PUBACK, 1, (0,))
        assert server.taken[0].sender == server.index.find_device(GONE)


async def test_puback_waits_until_the_chunk_is_durable():
    async with serve() as server, RawClient(server.port) as client:
        server.acks = False
        await client.connect()
        client.send(mq.publish(b"cf/v1/d/wl-1/telemetry", b"x", 1))
        await server.until("chunks", 1)
        await client.ping()
        server.release()
        assert await client.reply() == mq.Reply(mq.PUBACK, 1, (0,))


async def test_pubacks_of_a_refusal_keep_the_order_of_the_messages():
    async with serve() as server, RawClient(server.port) as client:
        server.acks = False
        await client.connect()
        own, foreign = b"cf/v1/d/wl-1/telemetry", b"cf/v1/d/wl-2/telemetry"
        client.send(mq.publish(foreign, b"", 1), mq.publish(own, b"", 2), mq.publish(foreign, b"", 3))
        assert await client.reply() == mq.Reply(mq.PUBACK, 1, (NOT_AUTHORIZED,))
        await server.until("chunks", 1)
        client.send(mq.publish(foreign, b"", 4), mq.publish(own, b"", 5), mq.publish(foreign, b"", 6))
        await server.until("chunks", 2)
        await client.ping()
        server.release()
        pubacks = [(reply.packet_id, reply.reasons[0]) for reply in await client.replies(5)]
        assert pubacks == [(2, 0), (3, NOT_AUTHORIZED), (4, NOT_AUTHORIZED), (5, 0), (6, NOT_AUTHORIZED)]


async def test_acks_of_one_chunk_reach_each_connection_complete_and_in_order():
    async with serve(gather_ms=20, extra=8) as server:
        clients = [RawClient(server.port) for _ in range(8)]
        for i, client in enumerate(clients):
            await client.__aenter__()
            await client.connect(b"s-%05d" % i)
        for burst in range(20):
            for i, client in enumerate(clients):
                topic = b"cf/v1/d/s-%05d/telemetry" % i
                client.send(*(mq.publish(topic, b"x", burst * 5 + j + 1) for j in range(5)))
            await asyncio.sleep(0)
        for client in clients:
            assert [reply.packet_id for reply in await client.replies(100)] == list(range(1, 101))
            await client.__aexit__(None, None, None)
        assert server.count("acks") == 800
        assert server.count("chunks") < 100


async def test_an_ack_for_a_connection_that_has_gone_goes_nowhere():
    async with serve() as server:
        server.acks = False
        async with RawClient(server.port) as client:
            await client.connect()
            client.send(mq.publish(b"cf/v1/d/wl-1/telemetry", b"x", 1))
            await server.until("chunks", 1)
        async with asyncio.timeout(60):
            while server.count("sockets"):
                await asyncio.sleep(0.005)
        async with RawClient(server.port) as successor:  # takes the same slot
            await successor.connect()
            server.release()
            await successor.ping()
        assert server.count("acks_gone") == 1
        assert server.count("acks") == 0


async def test_content_type_names_the_encoding_where_the_topic_does_not():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        topic = b"cf/v1/d/wl-1/telemetry"
        for packet_id, (suffix, content_type) in enumerate(
            [(b"", b"application/x-cityfleet-batch"), (b"/senml-json", b"batch"), (b"", b"image/png"), (b"", b"")], 1
        ):
            client.send(mq.publish(topic + suffix, b"x", packet_id, props=[(3, content_type)]))
            await client.reply()
        assert [taken.encoding for taken in server.taken] == [BATCH, SENML, UNKNOWN, 0]


async def test_a_topic_alias_stands_for_its_topic_on_its_own_connection_only():
    async with serve() as server, RawClient(server.port) as client, RawClient(server.port) as second:
        connack = await client.connect()
        assert connack.properties[34] == 16
        topics = [b"cf/v1/d/wl-1/telemetry/batch", b"cf/v1/d/wl-1/state"]
        client.send(
            mq.publish(topics[0], b"1", 1, props=[(35, 16)]),
            mq.publish(b"", b"2", 2, props=[(35, 16)]),
            mq.publish(topics[1], b"3", 3, props=[(35, 16)]),
            mq.publish(b"", b"4", 4, props=[(35, 16)]),
        )
        await client.replies(4)
        assert [taken.topic for taken in server.taken] == [topics[0], topics[0], topics[1], topics[1]]
        await second.connect(client_id=b"c2")
        second.send(mq.publish(b"", b"x", 1, props=[(35, 16)]))
        assert [reply.reasons for reply in await second.until_closed()] == [(0x82,)]


async def test_a_payload_that_says_it_is_text_and_is_not_is_refused():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        topic = b"cf/v1/d/wl-1/telemetry"
        client.send(mq.publish(topic, b"\xff", 1, props=[(1, 1)]), mq.publish(topic, b"\xff", props=[(1, 1)]))
        client.send(
            mq.publish(topic, "nước".encode(), 2, props=[(1, 1)]), mq.publish(topic, b"\xff", 3, props=[(1, 0)])
        )
        assert [(reply.packet_id, reply.reasons[0]) for reply in await client.replies(3)] == [(1, 0x99), (2, 0), (3, 0)]
        assert server.count("rejected.payload_format_invalid") == 2


async def test_a_large_packet_in_small_pieces_arrives_whole():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        payload = bytes(range(256)) * 900
        data = mq.publish(b"cf/v1/d/wl-1/telemetry", payload, 1)
        for at in range(0, len(data), 7001):
            client.send(data[at : at + 7001])
            await client.writer.drain()
            await asyncio.sleep(0)
        assert await client.reply() == mq.Reply(mq.PUBACK, 1, (0,))
        assert server.taken[0].payload == payload


async def test_a_large_chunk_does_not_wait_for_its_time():
    async with serve(gather_ms=60_000) as server, RawClient(server.port) as client:
        await client.connect()
        for packet_id in range(1, 12):
            client.send(mq.publish(b"cf/v1/d/wl-1/telemetry", bytes(100_000), packet_id))
        assert (await client.reply()).packet_id == 1


async def test_messages_pipelined_behind_connect_are_taken():
    async with serve() as server, RawClient(server.port) as client:
        client.send(mq.connect() + mq.publish(b"cf/v1/d/wl-1/telemetry", b"x", 1))
        assert [reply.type for reply in await client.replies(2)] == [mq.CONNACK, mq.PUBACK]
        assert len(server.taken) == 1
