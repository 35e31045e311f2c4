"""The door under a storm: thousands of clients at once are served in order, at a limited rate, and disturb nobody."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import MqttServer, serve

CLIENTS = 3_000
TOPIC = b"cf/v1/d/s-%05d/telemetry"


def first_words(number: int) -> bytes:
    """What client `number` sends at once: CONNECT and a message that says who it is."""
    device = b"s-%05d" % number
    return mq.connect(5, device, device, b"token-" + device) + mq.publish(TOPIC % number, b"%d" % number, 1)


async def storm(port: int, count: int) -> list[socket.socket]:
    """Clients that connect one after the other, from eight addresses, and speak at once."""
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(count):
        one = socket.socket()
        one.setblocking(False)
        one.bind((f"127.0.0.{2 + number % 8}", 0))
        await loop.sock_connect(one, ("127.0.0.1", port))
        await loop.sock_sendall(one, first_words(number))
        clients.append(one)
    return clients


async def words(client: socket.socket, size: int) -> bytes:
    loop, heard = asyncio.get_running_loop(), b""
    while len(heard) < size:
        data = await loop.sock_recv(client, 4096)
        if not data:
            break
        heard += data
    return heard


@pytest.fixture
def closing() -> Iterator[list[socket.socket]]:
    clients: list[socket.socket] = []
    yield clients
    for one in clients:
        one.close()


async def witnessed(witness: RawClient, server: MqttServer, count: int) -> int:
    """Messages of a connected device while the others wait; returns how many were acknowledged before all were in."""
    number = 0
    while server.count("connects.accepted") < count:
        number += 1
        witness.send(mq.publish(b"cf/v1/d/wl-1/telemetry", b"w", number))
        assert (await witness.reply()).packet_id == number
        await asyncio.sleep(0)
    return number


async def test_thousands_get_in_in_their_order_while_a_connected_device_is_served(closing):
    async with serve(extra=CLIENTS, max_connects_per_s=1_500.0) as server, RawClient(server.port) as witness:
        await witness.connect()
        async with asyncio.timeout(60):
            seen = asyncio.create_task(witnessed(witness, server, CLIENTS + 1))
            closing += await storm(server.port, CLIENTS)
            assert await seen > 20
            for client in closing:
                packets, rest = mq.split(await words(client, 9))
                assert not rest
                assert [first >> 4 for first, _ in packets][:1] == [mq.CONNACK]
        order = [int(taken.payload) for taken in server.taken if taken.payload != b"w"]
        assert sorted(order) == list(range(CLIENTS))
        # Clients served in the same turn of the loop may speak in any order; a turn is 32.
        assert max(abs(place - number) for place, number in enumerate(order)) <= 64


async def test_who_waits_longer_than_the_connect_timeout_is_served_all_the_same(closing):
    async with serve(extra=60, max_connects_per_s=20.0, connect_timeout_s=0.5) as server:
        async with asyncio.timeout(60):
            closing += await storm(server.port, 60)
            assert server.count("waiting") > 20
            for client in closing:
                assert (await words(client, 1))[0] >> 4 == mq.CONNACK
        assert server.count("connects.timeout") == 0


async def test_who_gives_up_waiting_costs_no_turn_and_loses_no_message(closing):
    async with serve(extra=2_000, max_connects_per_s=5.0) as server:
        async with asyncio.timeout(60):
            loop = asyncio.get_running_loop()
            for client in await storm(server.port, 10):  # their message is there: they are served
                client.close()
            for number in range(1_000):  # these had waited for a CONNACK
                with socket.socket() as client:
                    client.setblocking(False)
                    await loop.sock_connect(client, ("127.0.0.1", server.port))
                    await loop.sock_sendall(client, mq.connect(5, b"s-%05d" % number, b"s-%05d" % number, b"x"))
            closing += await storm(server.port, 1)
            assert (await words(closing[0], 1))[0] >> 4 == mq.CONNACK
            while len(server.taken) < 11:
                await asyncio.sleep(0.005)
        assert server.count("connects.lost_waiting") > 900
        assert [taken.payload for taken in server.taken] == [b"%d" % number for number in range(10)] + [b"0"]


async def test_at_shutdown_those_who_wait_are_let_go(closing):
    async with serve(extra=200, max_connects_per_s=10.0) as server:
        closing += await storm(server.port, 200)
        assert server.count("waiting") > 100
        await server.endpoint.close()
        async with asyncio.timeout(60):
            for client in closing:
                try:
                    while await asyncio.get_running_loop().sock_recv(client, 4096):
                        pass
                except ConnectionResetError:
                    pass
