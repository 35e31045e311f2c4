"""Native blocks into ClickHouse over HTTP by clickhouse-connect."""

from collections.abc import Awaitable, Callable

import aiohttp
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from ingest.errors import PoisonError, UnavailableError
from store.client import INSERT_SETTINGS

# Server errors that no retry mends, because they are about the bytes themselves: CANNOT_PARSE_INPUT_ASSERTION_FAILED,
# CANNOT_READ_ALL_DATA, CANNOT_PARSE_TEXT, TYPE_MISMATCH, INCORRECT_DATA, UNKNOWN_TYPE, TOO_LARGE_STRING_SIZE.
_POISON_CODES = frozenset({27, 33, 6, 53, 117, 50, 131})


class ClickHouseWriter:
    """Inserts into `cityfleet.<table>` under a token, so that the same body twice is stored once."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncClient]]) -> None:
        """`connect` is called at the first insert, and again until the store has answered once."""
        self._connect = connect
        self._client: AsyncClient | None = None

    async def insert(self, table: str, body: bytes, token: str) -> None:
        """Raises: UnavailableError (try again), PoisonError (never)."""
        try:
            if self._client is None:
                self._client = await self._connect()
            await self._client.raw_insert(
                f"cityfleet.{table}",
                insert_block=body,
                fmt="Native",
                settings={**INSERT_SETTINGS, "insert_deduplication_token": token},
            )
        except ClickHouseError as exc:
            code = getattr(exc, "code", None)
            text = (str(exc).strip() or type(exc).__name__).splitlines()[0][:300]
            if isinstance(code, int) and code in _POISON_CODES:
                raise PoisonError(text, code) from exc
            raise UnavailableError(text) from exc
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise UnavailableError(f"{type(exc).__name__}: {exc}") from exc

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
