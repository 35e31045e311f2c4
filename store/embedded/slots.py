"""How many queries run at once, per account; those above wait a little, then are told to come back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from store.embedded import errors
from store.embedded.accounts import Account

_WAITING_PER_SLOT = 8


class Slots:
    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._free: dict[str, asyncio.Semaphore] = {}
        self._waiting: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def of(self, account: Account) -> AsyncIterator[None]:
        """Hold one of the account's slots. Raises StoreError 202 when none becomes free in time."""
        free = self._free.setdefault(account.user, asyncio.Semaphore(account.max_queries))
        waiting = self._waiting.get(account.user, 0)
        if free.locked() and waiting >= _WAITING_PER_SLOT * account.max_queries:
            raise _too_many(account)
        self._waiting[account.user] = waiting + 1
        try:
            async with asyncio.timeout(self._wait_s):
                await free.acquire()
        except TimeoutError as exc:
            raise _too_many(account) from exc
        finally:
            self._waiting[account.user] -= 1
        try:
            yield
        finally:
            free.release()


def _too_many(account: Account) -> errors.StoreError:
    return errors.refused(
        202,
        f"Too many simultaneous queries for user {account.user}. Current: {account.max_queries}, "
        f"maximum: {account.max_queries}",
        "TOO_MANY_SIMULTANEOUS_QUERIES",
    )
