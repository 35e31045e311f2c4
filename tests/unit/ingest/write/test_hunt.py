"""The hunt finds exactly the rows that are refused, may be broken off anywhere, and blames no row for the store."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import RefusedError, UnavailableError
from ingest.write.hunt import Hunt, NothingTakenError
from tests.support.native_blocks import Reading, readings
from tests.support.native_twin import read_blocks


class Table:
    """Takes blocks without any of the bad devices, once for each token."""

    def __init__(self, bad: set[int], away_at: set[int] | None = None) -> None:
        self.bad = bad
        self.rows: dict[str, list[int]] = {}
        self.tries = 0
        self._away_at = away_at or set()

    async def insert(self, body: bytes, token: str) -> None:
        self.tries += 1
        if self.tries in self._away_at:
            raise UnavailableError("away")
        devices = [row["device_num"] for row in read_blocks(body)]
        if self.bad & set(devices):
            raise RefusedError("bad device", 469)
        assert self.rows.setdefault(token, devices) == devices  # a token always means the same rows

    @property
    def stored(self) -> list[int]:
        return sorted(device for devices in self.rows.values() for device in devices)


def body(count: int) -> bytes:
    return readings([Reading(number, 0, 0.0) for number in range(count)])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=n - 1))))
async def test_exactly_the_bad_rows_are_refused(case: tuple[int, set[int]]) -> None:
    count, bad = case
    table = Table(bad)
    hunt = Hunt(body(count), "s")
    await hunt.run(table.insert)
    assert set(hunt.refused) == bad
    assert table.stored == [number for number in range(count) if number not in bad]
    assert [row["device_num"] for block in hunt.taken() for row in read_blocks(block)] == table.stored


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 29), min_size=1, max_size=20), st.sets(st.integers(1, 80)), st.sets(st.integers(1, 80)))
async def test_breaking_off_changes_nothing(bad: set[int], away: set[int], crashes: set[int]) -> None:
    """An outage is met by the same hunt, a crash by a new one: tokens make both harmless."""
    table = Table(bad, away | crashes)
    hunt = Hunt(body(30), "s")
    while True:
        try:
            await hunt.run(table.insert)
            break
        except UnavailableError:
            if table.tries in crashes:
                hunt = Hunt(body(30), "s")
    assert set(hunt.refused) == bad
    assert table.stored == [number for number in range(30) if number not in bad]


async def test_a_store_that_takes_nothing_is_not_the_rows_fault() -> None:
    table = Table(set(range(1000)))
    hunt = Hunt(body(1000), "s")
    rounds = []
    for _ in range(3):
        before = table.tries
        with pytest.raises(NothingTakenError):
            await hunt.run(table.insert)
        rounds.append(table.tries - before)
        assert hunt.refused == {}
    assert rounds == [64, 128, 256]
    table.bad = set()
    await hunt.run(table.insert)
    assert table.rows == {"s:0-1000": list(range(1000))}


async def test_one_good_row_among_many_is_found() -> None:
    table = Table(set(range(1000)) - {777})
    hunt = Hunt(body(1000), "s")
    for _ in range(10):
        try:
            await hunt.run(table.insert)
            break
        except NothingTakenError:
            pass
    assert table.stored == [777]
    assert len(hunt.refused) == 999


async def test_rows_are_bad_if_others_are_taken_meanwhile() -> None:
    table = Table({0, 1})
    hunt = Hunt(body(2), "s")
    with pytest.raises(NothingTakenError):
        await hunt.run(table.insert)
    await hunt.run(table.insert, is_store_fine=True)
    assert hunt.refused == {0: "bad device", 1: "bad device"}
