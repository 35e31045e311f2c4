"""An account of a ward has so many queries and so much time a minute; the platform's accounts are not counted."""

import pytest

from store.embedded.accounts import Account
from store.embedded.errors import StoreError
from store.embedded.quota import Quotas

WARD, OTHER, READER = Account("ward", "a", "", 1), Account("ward", "b", "", 1), Account("reader", "reader", "", 1)


def test_queries_are_counted_by_account_and_by_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("store.embedded.quota.time.monotonic", lambda: now)
    quotas = Quotas(2, 10.0)
    for account in (WARD, WARD, OTHER, READER, READER, READER):
        quotas.begin(account)
    with pytest.raises(StoreError) as caught:
        quotas.begin(WARD)
    assert (caught.value.code, caught.value.status) == (201, 429)
    quotas.begin(OTHER)
    now += 60
    quotas.begin(WARD)


def test_time_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    quotas = Quotas(100, 10.0)
    quotas.begin(WARD)
    quotas.spend(WARD, 11.0)
    quotas.spend(READER, 11.0)
    with pytest.raises(StoreError):
        quotas.begin(WARD)
    quotas.begin(READER)
