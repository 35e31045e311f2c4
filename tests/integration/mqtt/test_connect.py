"""CONNECT: who gets in and with which offer, who is taken over, and how long anybody may be silent."""

import asyncio
import contextlib
import time

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import GONE, OTHER, SENSOR, serve, token_of

# v5 reason code and 3.1.1 return code.
BAD_CREDENTIALS, NOT_AUTHORIZED, UNAVAILABLE = (0x86, 4), (0x87, 5), (0x97, 3)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("username", "password", "codes", "result"),
    [
        (SENSOR, b"wrong", BAD_CREDENTIALS, "wrong_token"),
        (SENSOR, b"", BAD_CREDENTIALS, "wrong_token"),
        (b"nobody", b"x", BAD_CREDENTIALS, "unknown_device"),
        (b"", b"x", BAD_CREDENTIALS, "unknown_device"),
        (SENSOR, None, BAD_CREDENTIALS, "no_credentials"),
        (None, None, BAD_CREDENTIALS, "no_credentials"),
        (SENSOR, token_of(OTHER), BAD_CREDENTIALS, "wrong_token"),
        (GONE, token_of(GONE), NOT_AUTHORIZED, "decommissioned"),
    ],
)
async def test_only_a_device_with_its_token_gets_in(version, username, password, codes, result):
    async with serve() as server, RawClient(server.port, version) as client:
        client.send(mq.connect(version, b"c", username, password))
        assert [reply.reasons[0] for reply in await client.until_closed()] == [codes[version == 4]]
        assert server.count(f"connects.{result}") == 1
        assert server.count("connections") == 0


@pytest.mark.parametrize(("version", "code"), [(4, 3), (5, 0x88)])
async def test_an_unknown_device_is_asked_to_come_back_while_devices_are_not_loaded(version, code):
    async with serve() as server, RawClient(server.port, version) as client:
        server.index.awaits_snapshot = True
        client.send(mq.connect(version, b"c", b"not-yet-known", b"x"))
        assert [reply.reasons for reply in await client.until_closed()] == [(code,)]


async def test_connack_says_what_this_server_has():
    async with serve(receive_maximum=100, max_packet_bytes=5000, max_keep_alive_s=30) as server:
        async with RawClient(server.port) as client:
            connack = await client.connect(client_id=b"", keep_alive_s=0, props=[(17, 3600)])
            assigned = connack.properties.pop(18)
            assert assigned.startswith(b"cf-")
            assert connack.properties == {39: 5000, 34: 16, 33: 100, 19: 30}
        async with RawClient(server.port) as client:
            connack = await client.connect(keep_alive_s=10)
            assert connack.properties == {39: 5000, 34: 16, 33: 100}


async def test_an_empty_client_id_of_3_1_1_needs_a_clean_session():
    async with serve() as server:
        async with RawClient(server.port, 4) as first, RawClient(server.port, 4) as second:
            assert (await first.connect(client_id=b"")).reasons == (0,)
            assert (await second.connect(client_id=b"")).reasons == (0,)
            await first.ping()
        async with RawClient(server.port, 4) as client:
            assert (await client.connect(client_id=b"", clean=False)).reasons == (2,)
            assert await client.until_closed() == []


async def test_the_same_device_and_client_id_takes_the_older_connection_over():
    async with (
        serve() as server,
        RawClient(server.port) as first,
        RawClient(server.port, 4) as second,
        RawClient(server.port) as third,
    ):
        await first.connect(client_id=b"same")
        await second.connect(client_id=b"same")
        assert [(reply.type, reply.reasons) for reply in await first.until_closed()] == [(mq.DISCONNECT, (0x8E,))]
        await third.connect(client_id=b"same")
        assert await second.until_closed() == []
        await third.ping()
        assert server.count("connections") == 1


async def test_two_devices_with_one_client_id_leave_each_other_alone():
    async with serve() as server, RawClient(server.port) as first, RawClient(server.port) as second:
        await first.connect(SENSOR, b"same")
        await second.connect(OTHER, b"same")
        await first.ping()
        await second.ping()


@pytest.mark.parametrize("version", [4, 5])
async def test_a_connection_too_many_is_told_so(version):
    async with serve(max_connections=1) as server, RawClient(server.port) as first:
        await first.connect()
        async with RawClient(server.port, version) as second:
            assert (await second.connect(OTHER)).reasons[0] == UNAVAILABLE[version == 4]
            assert await second.until_closed() == []
        await first.ping()
        async with RawClient(server.port, version) as again:  # of the same client: needs no place of its own
            assert (await again.connect()).reasons == (0,)


async def test_half_a_connect_and_then_silence_is_closed():
    async with serve(connect_timeout_s=0.5) as server, RawClient(server.port) as slow, RawClient(server.port) as mute:
        started = time.monotonic()
        slow.send(mq.connect()[:9])
        assert await slow.until_closed() == []
        assert await mute.until_closed() == []
        assert 0.4 < time.monotonic() - started < 3
        assert server.count("connects.timeout") == 2


async def test_drops_of_a_connect_do_not_prolong_its_time():
    async with serve(connect_timeout_s=0.5) as server, RawClient(server.port) as slow:
        packet = mq.connect(client_id=b"x" * 4_000)
        sent = 0
        while sent < len(packet) and not slow.reader.at_eof() and slow.reader.exception() is None:
            slow.send(packet[sent : sent + 1])
            sent += 1
            await asyncio.sleep(0.01)
        assert sent < len(packet)  # closed long before it was whole
        with contextlib.suppress(ConnectionResetError):  # it was written to after it was closed
            assert await slow.until_closed() == []


async def test_silence_of_one_and_a_half_keep_alives_ends_the_connection():
    async with serve() as server, RawClient(server.port) as silent, RawClient(server.port) as pinging:
        await silent.connect(keep_alive_s=1)
        await pinging.connect(OTHER, keep_alive_s=1)
        started = time.monotonic()
        while time.monotonic() - started < 2.6:
            await pinging.ping()
            await asyncio.sleep(0.3)
        assert [reply.reasons for reply in await silent.until_closed()] == [(0x8D,)]
        await pinging.ping()


async def test_half_a_publish_and_then_silence_is_closed():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(keep_alive_s=1)
        client.send(mq.publish(b"cf/v1/d/wl-1/telemetry", b"x" * 100, 1)[:50])
        assert [reply.reasons for reply in await client.until_closed()] == [(0x8D,)]
        assert server.taken == []


async def test_kick_ends_all_connections_of_one_device():
    async with (
        serve() as server,
        RawClient(server.port) as first,
        RawClient(server.port, 4) as second,
        RawClient(server.port) as other,
    ):
        await first.connect(client_id=b"a")
        await second.connect(client_id=b"b")
        await other.connect(OTHER)
        assert server.endpoint.kick(SENSOR, 0x98) == 2
        assert server.endpoint.kick(b"nobody") == 0
        assert [reply.reasons for reply in await first.until_closed()] == [(0x98,)]
        assert await second.until_closed() == []
        await other.ping()
