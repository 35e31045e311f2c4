"""Backpressure and leaving: pause stops every socket, a client that does not read is cut, shutdown is in order."""

import asyncio
import socket

from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import OTHER, serve

TOPIC = b"cf/v1/d/wl-1/telemetry"


async def test_nothing_is_read_while_paused_and_everything_after():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        server.endpoint.pause()
        client.send(*(mq.publish(TOPIC, b"x" * 1000, i) for i in range(1, 101)))
        await asyncio.sleep(0.3)
        assert server.taken == []
        server.endpoint.resume()
        assert [reply.packet_id for reply in await client.replies(100)] == list(range(1, 101))


async def test_a_connection_accepted_while_paused_is_read_once_at_most():
    async with serve() as server:
        server.endpoint.pause()
        async with RawClient(server.port) as client:
            await client.connect()
            client.send(mq.publish(TOPIC, b"x", 1))
            await asyncio.sleep(0.2)
            assert server.taken == []
            server.endpoint.resume()
            assert (await client.reply()).packet_id == 1


async def test_keep_alive_does_not_run_out_while_we_do_not_read():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect(keep_alive_s=1)
        server.endpoint.pause()
        await asyncio.sleep(2.3)
        server.endpoint.resume()
        await client.ping()


async def test_pubacks_are_sent_while_paused():
    async with serve() as server, RawClient(server.port) as client:
        server.acks = False
        await client.connect()
        client.send(mq.publish(TOPIC, b"x", 1))
        await server.until("chunks", 1)
        server.endpoint.pause()
        server.release()
        assert (await client.reply()).packet_id == 1


async def test_more_unacknowledged_messages_than_receive_maximum_end_the_connection():
    async with serve(receive_maximum=5) as server, RawClient(server.port) as client:
        server.acks = False
        await client.connect()
        client.send(*(mq.publish(TOPIC, b"x", i) for i in range(1, 7)))
        assert [reply.reasons for reply in await client.until_closed()] == [(0x93,)]
        assert server.count("rejected.receive_maximum_exceeded") == 1
        assert server.count("messages.qos1") == 5


async def test_receive_maximum_counts_only_what_is_not_yet_acknowledged():
    async with serve(receive_maximum=5) as server, RawClient(server.port) as client:
        await client.connect()
        for start in range(1, 50, 5):
            client.send(*(mq.publish(TOPIC, b"x", start + i) for i in range(5)))
            assert [reply.packet_id for reply in await client.replies(5)] == list(range(start, start + 5))


async def test_a_client_that_does_not_read_is_no_longer_read_and_then_cut():
    async with serve(max_packet_bytes=100_000) as server, RawClient(server.port) as other:
        await other.connect(OTHER)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, ("127.0.0.1", server.port))
            await loop.sock_sendall(slow, mq.connect() + mq.subscribe(1, [(b"cf/v1/d/wl-1/commands", 0)]))
            await server.until("connects.accepted", 2)
            while server.endpoint.deliver(b"wl-1", b"cf/v1/d/wl-1/commands", b"x" * 50_000, 0) == 0:
                await asyncio.sleep(0.01)
            for _ in range(1000):
                if server.endpoint.deliver(b"wl-1", b"cf/v1/d/wl-1/commands", b"x" * 50_000, 0) == 0:
                    break
            assert server.count("deliveries_refused") > 0
            await other.ping()
            await server.until("closed.slow_reader", 1, timeout_s=60)
        await other.ping()


async def test_stop_reading_hands_on_what_was_read_and_close_says_why():
    async with serve(gather_ms=60_000) as server:
        server.acks = False
        async with RawClient(server.port) as client, RawClient(server.port, 4) as old:
            await client.connect(client_id=b"a")
            await old.connect(client_id=b"b")
            client.send(mq.publish(TOPIC, b"last", 1))
            await client.ping()
            assert server.taken == []
            await server.endpoint.stop_reading()
            assert [taken.payload for taken in server.taken] == [b"last"]
            client.send(mq.publish(TOPIC, b"too late", 2))
            server.release()
            assert (await client.reply()).packet_id == 1
            closing = asyncio.create_task(server.endpoint.close())
            assert [reply.reasons for reply in await client.until_closed()] == [(0x8B,)]
            assert await old.until_closed() == []
            client.writer.close()
            old.writer.close()
            async with asyncio.timeout(60):
                await closing
        assert server.count("sockets") == 0
        assert len(server.taken) == 1


async def test_close_does_not_wait_long_for_clients_that_stay():
    async with serve() as server, RawClient(server.port) as client:
        await client.connect()
        async with asyncio.timeout(60):
            await server.endpoint.close()
        assert server.count("sockets") == 0


async def test_no_connection_is_accepted_after_stop_reading():
    async with serve() as server:
        await server.endpoint.stop_reading()
        try:
            async with RawClient(server.port) as client:
                assert await client.until_closed() == []
        except ConnectionRefusedError:
            pass
