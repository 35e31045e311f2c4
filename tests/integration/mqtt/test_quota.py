"""Quotas and refusals: who sends too much is held back alone; who comes while we are behind is told to come back."""

import asyncio
import contextlib

import pytest

from ext.mqtt.hub import DEVICES, EVERYBODY, GATEWAYS
from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import ADMIN, GATEWAY, OTHER, SENSOR, serve

TOPIC = b"cf/v1/d/wl-1/telemetry"
OTHER_TOPIC = b"cf/v1/d/wl-2/telemetry"
GATEWAY_TOPIC = b"cf/v1/g/gw-1/telemetry"
# So few a minute that no test is long enough to be given another message.
FIVE = (0.05, 0, 80)


async def test_mqtt_5_is_told_0x97_and_the_message_is_not_taken():
    async with serve(devices=FIVE) as server, RawClient(server.port) as client:
        await client.connect()
        client.send(*(mq.publish(TOPIC, b"%d" % i, i) for i in range(1, 9)))
        answers = await client.replies(8)
        assert [answer.packet_id for answer in answers] == list(range(1, 9))
        assert [answer.reasons for answer in answers] == [(0,)] * 5 + [(0x97,)] * 3
        assert [taken.payload for taken in server.taken] == [b"%d" % i for i in range(1, 6)]
        assert server.count("rejected.quota") == 3


async def test_at_qos_2_the_refusal_is_a_pubrec_and_ends_the_message():
    async with serve(devices=FIVE) as server, RawClient(server.port) as client:
        await client.connect()
        client.send(*(mq.publish(TOPIC, b"x", i, qos=2) for i in range(1, 7)))
        answers = await client.replies(6)
        assert {answer.type for answer in answers} == {mq.PUBREC}
        assert answers[-1].reasons == (0x97,)
        assert len(server.taken) == 5


async def test_at_qos_0_what_is_too_much_is_dropped_and_counted():
    async with serve(devices=FIVE) as server, RawClient(server.port) as client:
        await client.connect()
        client.send(*(mq.publish(TOPIC, b"x") for _ in range(9)))
        await server.until("rejected.quota", 4)
        assert len(server.taken) == 5


async def test_a_3_1_1_client_is_not_read_until_it_is_within_its_quota_and_loses_nothing():
    rate = (100, 0, 0.1)
    async with serve(devices=rate) as server, RawClient(server.port, 4) as client, RawClient(server.port, 4) as other:
        await client.connect()
        await other.connect(OTHER, b"c2")
        for i in range(1, 301):
            client.send(mq.publish(TOPIC, b"x" * 1000, i, version=4))
        await server.until("quota_rests", 1)
        other.send(mq.publish(OTHER_TOPIC, b"y", 1, version=4))
        assert (await other.reply()).packet_id == 1, "nobody else waits"
        assert [answer.packet_id for answer in await client.replies(300)] == list(range(1, 301))
        assert server.count("rejected.quota") == 0


async def test_the_quota_is_of_the_device_not_of_the_connection():
    async with serve(devices=FIVE) as server, RawClient(server.port) as one, RawClient(server.port) as two:
        await one.connect(client_id=b"one")
        await two.connect(client_id=b"two")
        one.send(*(mq.publish(TOPIC, b"x", i) for i in range(1, 6)))
        assert {answer.reasons for answer in await one.replies(5)} == {(0,)}
        two.send(mq.publish(TOPIC, b"x", 1))
        assert (await two.reply()).reasons == (0x97,)


async def test_bytes_count_too_and_one_message_may_be_larger_than_the_burst():
    async with serve(devices=(0, 10, 10)) as server, RawClient(server.port) as client:
        await client.connect()
        client.send(mq.publish(TOPIC, b"x" * 1000, 1), mq.publish(TOPIC, b"x", 2))
        assert [answer.reasons for answer in await client.replies(2)] == [(0,), (0x97,)]


async def test_gateways_have_a_quota_of_their_own_and_operators_none():
    async with (
        serve(devices=FIVE, gateways=(0, 0, 0)) as server,
        RawClient(server.port) as gateway,
        RawClient(server.port) as operator,
    ):
        await gateway.connect(GATEWAY)
        gateway.send(*(mq.publish(GATEWAY_TOPIC, b"x", i) for i in range(1, 51)))
        assert {answer.reasons for answer in await gateway.replies(50)} == {(0,)}
        await operator.connect(ADMIN)
        operator.send(*(mq.publish(b"plain/x", b"x", i) for i in range(1, 51)))
        assert {answer.reasons for answer in await operator.replies(50)} == {(0x10,)}


async def test_a_client_over_its_quota_is_answered_and_kept_alive():
    async with serve(devices=(2, 0, 0.5)) as server, RawClient(server.port, 4) as client:
        await client.connect(keep_alive_s=1)
        client.send(*(mq.publish(TOPIC, b"x", i, version=4) for i in range(1, 8)))
        assert [answer.packet_id for answer in await client.replies(7)] == list(range(1, 8))
        await client.ping()  # it is read again when the seven are paid for, longer than its keep-alive
        assert server.count("closed.keep_alive_timeout") == 0


@pytest.mark.parametrize(("version", "code"), [(5, 0x89), (4, 3)])
async def test_who_comes_while_we_are_behind_is_told_so(version, code):
    async with serve() as server:
        server.endpoint.refuse(GATEWAYS)
        async with RawClient(server.port, version) as gateway, RawClient(server.port, version) as device:
            assert (await gateway.connect(GATEWAY)).reasons == (code,)
            assert await gateway.until_closed() == []
            assert (await device.connect(SENSOR)).reasons == (0,)
        server.endpoint.refuse(EVERYBODY)
        async with RawClient(server.port, version) as device, RawClient(server.port, version) as operator:
            assert (await device.connect(SENSOR)).reasons == (code,)
            assert (await operator.connect(ADMIN)).reasons == (0,)
        server.endpoint.refuse(0)
        async with RawClient(server.port, version) as device:
            assert (await device.connect(SENSOR)).reasons == (0,)
        assert server.count("connects.server_busy") == 2


async def test_each_class_of_traffic_is_paused_alone():
    async with serve() as server, RawClient(server.port) as gateway, RawClient(server.port) as device:
        await gateway.connect(GATEWAY)
        await device.connect(SENSOR)
        server.endpoint.pause(GATEWAYS)
        gateway.publish(GATEWAY_TOPIC, b"bulk", 1)
        device.publish(TOPIC, b"river", 1)
        assert (await device.reply()).packet_id == 1
        assert [taken.payload for taken in server.taken] == [b"river"]
        server.endpoint.pause(DEVICES)
        server.endpoint.resume(GATEWAYS)
        assert (await gateway.reply()).packet_id == 1
        device.publish(TOPIC, b"river", 2)
        async with RawClient(server.port) as late:
            await late.connect(OTHER, b"late")  # CONNECT is answered all the same
            late.publish(OTHER_TOPIC, b"late", 1)
            await asyncio.sleep(0.2)
            assert len(server.taken) == 2
            server.endpoint.resume(DEVICES)
            assert [(await one.reply()).packet_id for one in (device, late)] == [2, 1]


async def test_packets_without_an_end_are_bounded_and_the_oldest_has_to_go():
    limit = 300_000
    async with serve(max_partial_bytes=limit, extra=20) as server, contextlib.AsyncExitStack() as open_clients:
        whole = mq.publish(TOPIC, b"x" * 60_000, 1)
        clients = []
        for number in range(20):
            client = await open_clients.enter_async_context(RawClient(server.port))
            await client.connect(b"s-%05d" % number)
            client.send(whole[:50_000])
            before = server.count("bytes")
            await server.until("bytes", before + 40_000)
            clients.append(client)
            assert server.count("partial_bytes") <= limit
        gone = server.count("partial_evicted")
        assert 10 <= gone < 20
        assert [answer.reasons for answer in await clients[0].until_closed()] == [(0x97,)]
        async with RawClient(server.port) as good:
            await good.connect()
            good.send(whole)
            assert (await good.reply()).packet_id == 1
    assert server.count("partial_bytes") == 0


async def test_half_connects_are_bounded_by_the_same_limit():
    async with serve(max_partial_bytes=100_000, connect_timeout_s=60) as server, contextlib.AsyncExitStack() as held:
        half = mq.connect(5, b"c" * 10_000, SENSOR, b"token-" + SENSOR)[:-10]
        for number in range(1, 41):
            client = await held.enter_async_context(RawClient(server.port))
            client.send(half)
            await server.until("bytes", number * len(half))
            assert server.count("partial_bytes") <= 100_000
        assert server.count("partial_evicted") >= 25
        async with RawClient(server.port) as good:
            await good.connect()
