"""Limits of the share role: a store that hangs, is away or refuses, and too many requests at once."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from runtime.settings import ListenSettings
from share.app import serving
from share.settings import ShareSettings
from store.settings import StoreSettings

_AUTH = {"Authorization": "Basic " + base64.b64encode(b"reader:secret").decode()}


async def ask(base: str, path: str) -> tuple[int, dict[str, str], Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{base}/{path}", headers=_AUTH) as answer:
        return answer.status, dict(answer.headers), await answer.json(content_type=None)


@contextlib.asynccontextmanager
async def hanging_store() -> AsyncIterator[tuple[StoreSettings, asyncio.Event]]:
    """A store that takes questions and never answers; the event is set when it was asked."""
    is_asked, is_over = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()).startswith(b"POST"):
            is_asked.set()
        await is_over.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        yield StoreSettings(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), is_asked
        is_over.set()


async def test_who_finds_all_places_taken_is_told_to_come_back(tmp_path):
    settings = ShareSettings(listen=ListenSettings(), http=ListenSettings(), queries=1, queue_wait_s=0, deadline_s=600)
    async with hanging_store() as (store, is_asked), serving(settings, store, tmp_path) as addresses:
        first = asyncio.create_task(ask(addresses["http"], "ngsi-ld/v1/entities?type=Device"))
        await is_asked.wait()
        for path, name in (
            ("ngsi-ld/v1/entities/urn:ngsi-ld:Device:a", "https://uri.etsi.org/ngsi-ld/errors/InternalError"),
            ("sta/v1.1/Things", "about:blank"),
        ):
            status, headers, told = await ask(addresses["http"], path)
            assert (status, told["type"], headers["Retry-After"]) == (503, name, "5")
        first.cancel()


async def test_a_request_ends_at_its_deadline_and_gives_its_place_back(tmp_path):
    settings = ShareSettings(listen=ListenSettings(), http=ListenSettings(), queries=1, deadline_s=0.1)
    async with hanging_store() as (store, _), serving(settings, store, tmp_path) as addresses:
        for path in ("sta/v1.1/Things", "ngsi-ld/v1/types", "sta/v1.1/Things"):
            status, _, told = await ask(addresses["http"], path)
            assert (status, told["status"]) == (504, 504)


async def test_without_a_store_requests_are_told_to_come_back_and_readiness_says_why(tmp_path):
    settings = ShareSettings(listen=ListenSettings(), http=ListenSettings())
    async with serving(settings, StoreSettings(url="http://127.0.0.1:1"), tmp_path) as addresses:
        status, headers, _ = await ask(addresses["http"], "ngsi-ld/v1/types")
        assert (status, headers["Retry-After"]) == (503, "5")
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"{addresses['metrics']}/readyz") as answer:
                    if answer.status == 503:
                        assert "store: does not answer" in await answer.text()
                        break
                await asyncio.sleep(0.02)
            async with session.get(f"{addresses['metrics']}/metrics") as answer:
                assert 'cityfleet_share_requests_total{api="ngsi-ld",status="503"}' in await answer.text()


@pytest.mark.parametrize(
    ("code", "status"), [(201, 429), (202, 503), (159, 504), (497, 403), (516, 401), (192, 401), (60, 502)]
)
async def test_a_refusal_of_the_store_is_told_without_its_words(tmp_path, code: int, status: int):
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"Code: 0. DB::Exception: secret.table"
        head = f"HTTP/1.1 500 Error\r\nX-ClickHouse-Exception-Code: {code}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        store = StoreSettings(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        settings = ShareSettings(listen=ListenSettings(), http=ListenSettings())
        async with serving(settings, store, tmp_path) as addresses:
            told_status, headers, told = await ask(addresses["http"], "sta/v1.1/Things")
    assert (told_status, told["status"]) == (status, status)
    assert "secret" not in str(told)
    assert ("Retry-After" in headers) == (status in (429, 503))
