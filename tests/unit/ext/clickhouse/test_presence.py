"""Whether an insert's rows are in the store: against sets in plain Python, with the store's bytes cut anywhere."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.clickhouse.presence import Presence
from ext.clickhouse.series_order import SeriesOrder
from ingest.write.native_rows import NativeRows
from tests.support.native_blocks import Reading, readings

ROWS = st.tuples(
    st.sampled_from([1, 2, 2**32 - 1]),
    st.sampled_from([-(2**40), 0, 1, 2]),
    st.sampled_from([0.0, -0.0, 1.5]),
    st.sampled_from([0, 7]),
    st.sampled_from([1, 3]),
    st.sampled_from([0, 1]),
    st.just("00070"),
    st.sampled_from([1000, 2000]),
).map(lambda one: Reading(*one))


def presence(rows: list[Reading]) -> Presence:
    return Presence(NativeRows(SeriesOrder().sort([readings(rows)])[0]).fixed_columns())


def answer(rows: list[Reading]) -> bytes:
    rows = sorted(rows, key=lambda row: (row.device_num, row.metric_num, row.ts_ms))
    return b"".join(
        struct.pack(
            "<IHqqdBH",
            row.device_num,
            row.metric_num,
            row.ts_ms,
            row.received_ms,
            row.value,
            row.quality,
            row.quality_reasons,
        )
        for row in rows
    )


def kept(rows: list[Reading]) -> dict[tuple[int, int, int], Reading]:
    """What the table would keep: of one identity the last of the latest arrival."""
    found: dict[tuple[int, int, int], Reading] = {}
    for row in rows:
        key = (row.device_num, row.metric_num, row.ts_ms)
        if key not in found or row.received_ms >= found[key].received_ms:
            found[key] = row
    return found


def is_there(rows: list[Reading], stored: list[Reading]) -> bool:
    def bits(row: Reading) -> tuple[bytes, int, int]:
        return struct.pack("<d", row.value), row.quality, row.quality_reasons

    return all(
        any(
            key == (other.device_num, other.metric_num, other.ts_ms)
            and (
                other.received_ms > row.received_ms
                or (other.received_ms == row.received_ms and bits(other) == bits(row))
            )
            for other in stored
        )
        for key, row in kept(rows).items()
    )


@settings(max_examples=500, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=12), st.lists(ROWS, max_size=12), st.booleans(), st.data())
def test_agrees_with_sets(rows: list[Reading], others: list[Reading], has_all: bool, data: st.DataObject) -> None:
    stored = [*(rows if has_all else data.draw(st.lists(st.sampled_from(rows)))), *others]
    looked = presence(rows)
    rest = answer(stored)
    goes_on = True
    while rest and goes_on:
        size = data.draw(st.integers(1, len(rest)))
        goes_on, rest = looked.feed(rest[:size]), rest[size:]
    assert looked.is_whole() == is_there(rows, stored)
    if has_all:
        assert goes_on


def test_a_row_that_is_cut_off_is_not_there() -> None:
    rows = [Reading(1, 5, 1.0)]
    looked = presence(rows)
    assert looked.feed(answer(rows)[:-1])
    assert not looked.is_whole()


def test_ranges_bound_the_question() -> None:
    rows = [Reading(7, 50, 1.0, received_ms=9000), Reading(3, -20, 1.0, received_ms=4000), Reading(5, 10, 1.0)]
    assert presence(rows).ranges() == ((3, 7), (-20, 50), 4000)


def test_columns_must_fit_together() -> None:
    columns = dict(NativeRows(readings([Reading(1, 1, 1.0)])).fixed_columns())
    columns["ts"] = columns["ts"][:-1]
    with pytest.raises(ValueError, match="length"):
        Presence(columns)
