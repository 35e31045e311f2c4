"""What was let through is looked at once; what is too long or too much is not kept."""

from typing import Any

import pytest

from store.embedded import accounts
from store.embedded.accounts import Account
from store.embedded.errors import StoreError
from store.embedded.known import Known
from store.embedded.statement import parse

WRITER = Account("writer", "writer", "", 1)
READER = Account("reader", "reader", "", 1)
INSERT = b"INSERT INTO cityfleet.readings FORMAT Native\n"


class Looks:
    """Stands for the engine's parser and formatter, which are tried in the tests of escapes, and counts its looks."""

    def __init__(self) -> None:
        self.count = 0

    def classify(self, _: str) -> dict[str, Any]:
        self.count += 1
        return {"query_class": type("Class", (), {"name": "READ_ONLY"}), "statement_count": 1}

    def __call__(self, sql: str) -> bytes:
        self.count += 1
        return sql.encode()


def look(account: Account, text: bytes, known: Known) -> int:
    looks = Looks()
    accounts.check(looks, account, parse(text), looks, known)  # type: ignore[arg-type]
    return looks.count


def test_the_same_statement_of_the_same_role_is_looked_at_once() -> None:
    known = Known()
    assert [look(WRITER, INSERT, known) for _ in range(3)] == [2, 0, 0]
    assert look(WRITER, INSERT.replace(b"readings", b"latest"), known) == 2


def test_what_one_role_may_another_is_still_refused() -> None:
    known = Known()
    look(WRITER, INSERT, known)
    for _ in range(2):
        with pytest.raises(StoreError, match="readonly"):
            look(READER, INSERT, known)


def test_what_is_refused_is_refused_again() -> None:
    known = Known()
    for _ in range(2):
        with pytest.raises(StoreError, match="out of reach"):
            look(READER, b"SELECT file('/etc/passwd')", known)


def test_few_and_short_ones_are_kept() -> None:
    known = Known()
    known.learn(("x" * 5000,))
    assert ("x" * 5000,) not in known
    for number in range(2000):
        known.learn((str(number),))
    kept = sum((str(number),) in known for number in range(2000))
    assert 0 < kept <= 500
    assert ("1999",) in known
