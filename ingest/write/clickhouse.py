"""ClickHouse over HTTP by clickhouse-connect: inserts under tokens, and what the write stage asks the store."""

import asyncio
import io
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from ingest.errors import RefusedError, UnavailableError
from store.client import INSERT_SETTINGS

# Server errors that are about what is in the rows. Everything else is about the store: its schema, its load, its disk,
# and rows are not to suffer for that. Source: ClickHouse, src/Common/ErrorCodes.cpp.
_ABOUT_ROWS = {
    6: "CANNOT_PARSE_TEXT",
    9: "SIZES_OF_COLUMNS_DOESNT_MATCH",
    25: "CANNOT_PARSE_ESCAPE_SEQUENCE",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    33: "CANNOT_READ_ALL_DATA",
    36: "BAD_ARGUMENTS",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    43: "ILLEGAL_TYPE_OF_ARGUMENT",
    44: "ILLEGAL_COLUMN",
    50: "UNKNOWN_TYPE",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    153: "ILLEGAL_DIVISION",
    190: "SIZES_OF_ARRAYS_DONT_MATCH",
    246: "CORRUPTED_DATA",
    248: "INVALID_PARTITION_VALUE",
    261: "UNKNOWN_BLOCK_INFO_FIELD",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    395: "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
    407: "DECIMAL_OVERFLOW",
    469: "VIOLATED_CONSTRAINT",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}
# What clickhouse-connect puts round the store's own words.
_CLIENTS_WORDS = re.compile(
    r"^(Received ClickHouse exception, code: \d+|HTTP driver received HTTP status \d+), server response: "
    r"|( \(version [^)]*\))?( \(for url [^)]*\))?$"
)
# A large insert into a slow store must end some time: the next attempt gets twice the time, up to so many times it.
_LONGEST_TIMES = 10


class ClickHouseStore:
    """Inserts into `cityfleet.<table>` under a token, so that the same body twice is stored once; and questions."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncClient]], answer_timeout_s: float = 60.0) -> None:
        """`connect` is called at the first insert, and again until the store has answered once."""
        self._connect = connect
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._answer_timeout_s = answer_timeout_s
        self._times = 1.0

    async def insert(self, table: str, body: bytes, token: str) -> None:
        """Native blocks. Raises: UnavailableError (try again), RefusedError (find out which rows)."""
        with _as_ours():
            try:
                async with asyncio.timeout(self._answer_timeout_s * self._times):
                    client = await self._connected()
                    await client.raw_insert(
                        f"cityfleet.{table}",
                        # Bytes it would send again by itself, without asking what became of them.
                        insert_block=io.BytesIO(body),
                        fmt="Native",
                        settings={**INSERT_SETTINGS, "insert_deduplication_token": token},
                    )
            except TimeoutError:
                waited_s = self._answer_timeout_s * self._times
                self._times = min(self._times * 2, _LONGEST_TIMES)
                raise UnavailableError(f"no answer to an insert within {waited_s:.0f} s") from None
        self._times = 1.0

    async def insert_rows(
        self, table: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]], token: str
    ) -> None:
        """A few rows of Python values; `columns` are names and types. Raises as `insert`."""
        with _as_ours():
            async with asyncio.timeout(self._answer_timeout_s):
                client = await self._connected()
                await client.insert(
                    table,
                    rows,
                    [name for name, _ in columns],
                    database="cityfleet",
                    column_type_names=[type_ for _, type_ in columns],
                    settings={**INSERT_SETTINGS, "insert_deduplication_token": token},
                )

    async def ask(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The answer's rows. Raises UnavailableError, also if the store refuses the question."""
        with _as_ours(is_question=True):
            async with asyncio.timeout(self._answer_timeout_s):
                client = await self._connected()
                return [tuple(row) for row in (await client.query(sql, parameters)).result_rows]

    async def started_s(self) -> float:
        """When the store was started, by `time.monotonic()`, at the latest. Raises UnavailableError."""
        ((uptime_s,),) = await self.ask("SELECT uptime()")
        return time.monotonic() - float(uptime_s)

    @asynccontextmanager
    async def stream(self, sql: str, parameters: dict[str, Any], fmt: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's bytes as they come; each must come within the time of an answer. Raises as `ask`."""
        with _as_ours(is_question=True):
            async with asyncio.timeout(self._answer_timeout_s):
                client = await self._connected()
                answer = await client.raw_stream(sql, parameters, fmt=fmt)
            async with answer as pieces:
                yield self._in_time(pieces)

    async def _in_time(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while True:
            async with asyncio.timeout(self._answer_timeout_s):
                try:
                    piece = await anext(pieces)
                except StopAsyncIteration:
                    return
            yield piece

    async def _connected(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


@contextmanager
def _as_ours(*, is_question: bool = False) -> Iterator[None]:
    """What the client raises, by what to do next."""
    try:
        yield
    except ClickHouseError as exc:
        code = getattr(exc, "code", None)
        text = _CLIENTS_WORDS.sub("", (str(exc).strip() or type(exc).__name__).splitlines()[0])[:500]
        if code in _ABOUT_ROWS and not is_question:
            raise RefusedError(text, code) from exc
        raise UnavailableError(text) from exc
    except (aiohttp.ClientError, OSError, TimeoutError) as exc:
        raise UnavailableError(f"{type(exc).__name__}: {exc}") from exc
