"""The cutting proxy does what it is told, to real HTTP clients and servers and to plain TCP, and counts it."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from loadtest.fault.proxy import PASS, Fault, Proxy, proxy_before


class Server:
    """Keeps the bodies of whole requests; answers with their sizes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.bodies.append(body)
        if request.query.get("chunked"):
            answer = web.StreamResponse()
            await answer.prepare(request)
            await answer.write(b"%d" % len(body))
            await answer.write_eof()
            return answer
        return web.Response(text=str(len(body)))


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Proxy]]:
    found = Server()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{any:.*}", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy = Proxy(runner.addresses[0][:2])
    await proxy.start()
    yield found, proxy
    await proxy.close()
    await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(client: aiohttp.ClientSession, proxy: Proxy, body: object, query: str = "") -> tuple[int, str]:
    async with client.post(f"{proxy.url}/{query}", data=body) as answer:
        return answer.status, await answer.text()


async def test_pass_forwards_bodies_of_every_framing(
    server: tuple[Server, Proxy], client: aiohttp.ClientSession
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 40_000

    found, proxy = server
    assert await post(client, proxy, b"y" * 300_000) == (200, "300000")
    assert await post(client, proxy, pieces(), "?chunked=1") == (200, "200000")
    assert await post(client, proxy, b"") == (200, "0")
    async with client.head(proxy.url) as answer:
        assert answer.status == 200
    assert proxy.counts["requests"] == 4
    assert proxy.counts["connections"] == 1  # kept alive
    assert [len(body) for body in found.bodies] == [300_000, 200_000, 0, 0]


async def test_answer_comes_after_the_server_did_the_work(
    server: tuple[Server, Proxy], client: aiohttp.ClientSession
) -> None:
    found, proxy = server
    await proxy.switch(Fault("answer", status=503, body=b"no", times=1))
    assert await post(client, proxy, b"abc") == (503, "no")
    assert found.bodies == [b"abc"]
    assert await post(client, proxy, b"abc") == (200, "3")
    assert proxy.counts["answer"] == 1


async def test_reset_comes_after_the_server_did_the_work(
    server: tuple[Server, Proxy], client: aiohttp.ClientSession
) -> None:
    found, proxy = server
    await proxy.switch(Fault("reset"))
    with pytest.raises(aiohttp.ClientError):
        await post(client, proxy, b"abc")
    assert found.bodies == [b"abc"]


async def test_cut_lets_no_whole_request_through(server: tuple[Server, Proxy], client: aiohttp.ClientSession) -> None:
    found, proxy = server
    await proxy.switch(Fault("cut", after_bytes=100_000))
    with pytest.raises(aiohttp.ClientError):
        await post(client, proxy, b"x" * 300_000)
    assert proxy.counts["up_bytes"] == 100_000
    assert found.bodies == []
    assert proxy.counts["cut"] == 1


async def test_match_spares_other_requests(server: tuple[Server, Proxy], client: aiohttp.ClientSession) -> None:
    _, proxy = server
    await proxy.switch(Fault("answer", match=b"INSERT"))
    assert (await post(client, proxy, b"", "?query=SELECT"))[0] == 200
    assert (await post(client, proxy, b"", "?query=INSERT"))[0] == 500


@pytest.mark.parametrize("kind", ["swallow", "stall"])
async def test_held_requests_are_reset_when_the_fault_ends(
    server: tuple[Server, Proxy], client: aiohttp.ClientSession, kind: str
) -> None:
    found, proxy = server
    await proxy.switch(Fault(kind))  # type: ignore[arg-type]
    asked = asyncio.create_task(post(client, proxy, b"abc"))
    async with asyncio.timeout(60):
        while not proxy.counts[kind]:
            await asyncio.sleep(0.005)
    assert not asked.done()
    assert found.bodies == ([b"abc"] if kind == "swallow" else [])
    await proxy.switch(PASS)
    with pytest.raises(aiohttp.ClientError):
        await asked
    assert await post(client, proxy, b"abc") == (200, "3")


async def test_refuse_closes_the_port_and_opens_it_again(
    server: tuple[Server, Proxy], client: aiohttp.ClientSession
) -> None:
    _, proxy = server
    port = proxy.port
    await proxy.switch(Fault("refuse"))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await proxy.switch(PASS)
    assert proxy.port == port
    assert await post(client, proxy, b"abc") == (200, "3")


async def test_throttle_holds_the_rate_and_ends_at_once(
    server: tuple[Server, Proxy], client: aiohttp.ClientSession
) -> None:
    found, proxy = server
    await proxy.switch(Fault("throttle", bytes_per_s=200_000))
    started = time.monotonic()
    assert await post(client, proxy, b"x" * 100_000) == (200, "100000")
    assert time.monotonic() - started >= 0.4
    await proxy.switch(Fault("throttle", bytes_per_s=100))
    asked = asyncio.create_task(post(client, proxy, b"x" * 100_000))
    async with asyncio.timeout(60):
        while proxy.counts["requests"] < 2:
            await asyncio.sleep(0.005)
        await proxy.switch(PASS)
        assert await asked == (200, "100000")
    assert len(found.bodies) == 2


async def test_delay_only_delays(server: tuple[Server, Proxy], client: aiohttp.ClientSession) -> None:
    _, proxy = server
    await proxy.switch(Fault("delay", delay_s=0.05))
    started = time.monotonic()
    assert await post(client, proxy, b"abc") == (200, "3")
    assert time.monotonic() - started >= 0.05


async def test_tcp_is_forwarded_cut_and_swallowed() -> None:
    got = bytearray()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1000):
                got.extend(data)
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[:2], http=False)
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    await proxy.switch(Fault("swallow"))
    writer.write(b" world")
    async with asyncio.timeout(60):
        while not proxy.counts["swallow"]:
            await asyncio.sleep(0.005)
    await proxy.switch(Fault("cut", after_bytes=14))
    writer.write(b"abcdef")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    async with asyncio.timeout(60):
        while len(got) < 14:
            await asyncio.sleep(0.005)
    assert bytes(got) == b"hello worldabc"
    writer.close()
    await proxy.close()
    server.close()


def test_threaded_proxy_serves_callers_without_a_loop() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as target,
        proxy_before(target.getsockname()[:2], http=False) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port)) as client,
    ):
        served, _ = target.accept()
        client.sendall(b"ping")
        assert served.recv(10) == b"ping"
        served.sendall(b"pong")
        assert client.recv(10) == b"pong"
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            client.recv(10)
        served.close()
