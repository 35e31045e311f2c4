"""How many queries run at once, per account; those above wait a little, then are told to come back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from store.embedded import errors
from store.embedded.accounts import Account

_WAITING_PER_SLOT = 8


_ALL_WARDS = "wards"


class Slots:
    """`ward_queries` bounds what all accounts of wards together run at once."""

    def __init__(self, wait_s: float, ward_queries: int) -> None:
        self._wait_s = wait_s
        self._ward_queries = ward_queries
        self._free: dict[str, asyncio.Semaphore] = {}
        self._waiting: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def of(self, account: Account) -> AsyncIterator[None]:
        """Hold one of the account's slots. Raises StoreError 202 when none becomes free in time."""
        async with self._one(f"user {account.user}", account.max_queries):
            if account.role != "ward":
                yield
                return
            async with self._one(_ALL_WARDS, self._ward_queries):
                yield

    @contextlib.asynccontextmanager
    async def _one(self, who: str, most: int) -> AsyncIterator[None]:
        free = self._free.setdefault(who, asyncio.Semaphore(most))
        waiting = self._waiting.get(who, 0)
        if free.locked() and waiting >= _WAITING_PER_SLOT * most:
            raise _too_many(who, most)
        self._waiting[who] = waiting + 1
        try:
            async with asyncio.timeout(self._wait_s):
                await free.acquire()
        except TimeoutError as exc:
            raise _too_many(who, most) from exc
        finally:
            self._waiting[who] -= 1
        try:
            yield
        finally:
            free.release()


def _too_many(who: str, most: int) -> errors.StoreError:
    return errors.refused(
        202,
        f"Too many simultaneous queries for {who}. Current: {most}, maximum: {most}",
        "TOO_MANY_SIMULTANEOUS_QUERIES",
    )
