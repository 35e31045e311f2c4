"""How much an account of a ward may ask in a minute."""

import time
from dataclasses import dataclass

from store.embedded import errors
from store.embedded.accounts import Account

_WINDOW_S = 60.0


@dataclass(slots=True)
class _Used:
    since: float
    queries: int = 0
    seconds: float = 0.0


class Quotas:
    """Counts by user, in windows of a minute that begin with the first query."""

    def __init__(self, queries: int, execution_s: float) -> None:
        self._queries = queries
        self._execution_s = execution_s
        self._used: dict[str, _Used] = {}

    def begin(self, account: Account) -> None:
        """Count a query. Raises StoreError 201 when the minute's share is used up."""
        if account.role != "ward":
            return
        now = time.monotonic()
        used = self._used.get(account.user)
        if used is None or now - used.since >= _WINDOW_S:
            used = self._used[account.user] = _Used(now)
        if used.queries >= self._queries or used.seconds >= self._execution_s:
            raise errors.refused(
                201,
                f"Quota for user `{account.user}` has been exceeded: {self._queries} queries and "
                f"{self._execution_s:g} s of execution in a minute. "
                f"Interval ends in {_WINDOW_S - (now - used.since):.0f} s",
                "QUOTA_EXCEEDED",
            )
        used.queries += 1

    def spend(self, account: Account, seconds: float) -> None:
        """Add what a query took, although its answer may have been in the next minute."""
        used = self._used.get(account.user)
        if used is not None:
            used.seconds += seconds
