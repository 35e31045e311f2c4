"""The store, asked over HTTP with the caller's own name and password; values are bound, never put into the SQL."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from share import metrics
from share.problem import Problem

Row = dict[str, Any]
A = TypeVar("A")
B = TypeVar("B")
_MAX_ANSWER_BYTES = 64 << 20
_DENIED = {192, 193, 194, 516}


def credentials(request: web.Request) -> tuple[str, str]:
    """Name and password of HTTP Basic. Raises Problem 401."""
    kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        if kind.lower() != "basic":
            raise ValueError
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        raise Problem(401, "give the name and password of an account of the store (HTTP Basic)") from None
    if not user or not colon or not (user + password).isprintable():
        raise Problem(401, "give the name and password of an account of the store (HTTP Basic)")
    return user, password


async def both(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """The results of two at once. Raises what the first that fails does; the other is cancelled."""
    try:
        async with asyncio.TaskGroup() as asking:
            first, second = asking.create_task(one), asking.create_task(other)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return first.result(), second.result()


class Store:
    """Asks the store; at most `queries` at once."""

    def __init__(self, url_of: Callable[[], str], queries: int, queue_wait_s: float) -> None:
        """Args: url_of: the store's address; it changes when an embedded store on a free port starts again."""
        self._url_of = url_of
        self._slots = asyncio.Semaphore(queries)
        self._queue_wait_s = queue_wait_s
        self._session = aiohttp.ClientSession(auto_decompress=True)

    async def close(self) -> None:
        await self._session.close()

    async def is_there(self) -> bool:
        try:
            async with self._session.get(f"{self._url_of()}/ping", timeout=aiohttp.ClientTimeout(total=3)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def rows(self, request: web.Request, sql: str, values: Mapping[str, str | int | float]) -> list[Row]:
        """The rows of a SELECT, each by the names of its columns.

        Raises: Problem: 400 for a value with control characters, 401, 403, 429, 502, 503 as the store refuses.
        """
        user, password = credentials(request)
        params = {"default_format": "JSONEachRow"}
        for name, value in values.items():
            text = str(value)
            # The store takes values in its escaped form; no name of ours has these.
            if not text.isprintable() or "\\" in text:
                raise Problem(400, "a value has a control character or a backslash")
            params[f"param_{name}"] = text
        headers = {
            "X-ClickHouse-User": user.encode().decode("latin-1"),
            "X-ClickHouse-Key": password.encode().decode("latin-1"),
        }
        try:
            # Not wait_for: with 0 it refuses although there is room.
            async with asyncio.timeout(self._queue_wait_s):
                await self._slots.acquire()
        except TimeoutError:
            raise Problem(503, "too many requests at once; ask again in some seconds") from None
        metrics.running.inc()
        try:
            async with self._session.post(self._url_of(), params=params, data=sql.encode(), headers=headers) as answer:
                if answer.status != 200:
                    raise _refused(answer)
                body = bytearray()
                async for chunk in answer.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > _MAX_ANSWER_BYTES:
                        raise Problem(400, "the answer is too large: ask for a smaller page")
        except (aiohttp.ClientError, OSError):
            raise Problem(503, "the store does not answer") from None
        finally:
            metrics.running.dec()
            self._slots.release()
        try:
            return [msgspec.json.decode(line) for line in bytes(body).splitlines() if line]
        except msgspec.DecodeError:  # an error that came when the answer had begun
            raise Problem(502, "the store broke off its answer") from None


def _refused(answer: aiohttp.ClientResponse) -> Problem:
    """Its text is not passed on: it would tell of tables and of data that the caller may not see."""
    text = answer.headers.get("X-ClickHouse-Exception-Code", "")
    code = int(text) if text.isascii() and text.isdigit() else 0
    if answer.status == 401 or code in _DENIED:
        return Problem(401, "the store does not know this name and password")
    if code == 497:
        return Problem(403, "this account may not read that")
    if code == 159:
        return Problem(504, "the store needed too long: ask for less")
    # A server refuses these with 500.
    if status := {201: 429, 202: 503}.get(code, answer.status if answer.status in (429, 503) else 0):
        return Problem(status, "the store is busy, or the account's quota is used up; ask again later")
    return Problem(502, f"the store refused the question (code {code})")
