"""Readings in the table's order: against sorting in plain Python, and what it refuses."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.clickhouse.readings_block import COLUMNS
from ext.clickhouse.series_order import SeriesOrder
from tests.support.native_twin import read_blocks

CODES = {b"UInt32": "I", b"UInt16": "H", b"UInt8": "B", b"Float64": "d", b"DateTime64(3, 'UTC')": "q"}
Row = tuple[int, int, int, float, int, int, str, int]


def text(data: bytes) -> bytes:
    assert len(data) < 128
    return bytes([len(data)]) + data


def block(rows: list[Row]) -> bytes:
    """A block as ReadingsBlock seals it."""
    assert len(rows) < 128
    wards = list(dict.fromkeys(row[6] for row in rows))
    out = bytes([len(COLUMNS), len(rows)])
    for at, (name, type_, _) in enumerate(COLUMNS):
        out += text(name) + text(type_)
        if type_ == b"LowCardinality(String)":
            out += struct.pack("<QQQ", 1, 3 << 9, len(wards)) + b"".join(text(ward.encode()) for ward in wards)
            out += struct.pack("<Q", len(rows)) + bytes(wards.index(row[6]) for row in rows)
        else:
            out += struct.pack(f"<{len(rows)}{CODES[type_]}", *(row[at] for row in rows))
    return out


def stored(row: Row) -> Row:
    """The time of arrival goes in by whole seconds."""
    whole_ms = abs(row[7]) // 1000 * 1000
    return (*row[:7], whole_ms if row[7] >= 0 else -whole_ms)


def rows_of(data: bytes) -> list[Row]:
    return [tuple(row.values()) for row in read_blocks(data)]  # type: ignore[misc]


row = st.tuples(
    st.sampled_from([1, 2, 7, 2**32 - 1]),
    st.sampled_from([0, 1, 65535]),
    st.one_of(st.integers(0, 5), st.integers(-(2**62), 2**62)),
    st.floats(allow_nan=False),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.sampled_from(["", "00070", "00145", "x" * 100]),
    st.integers(-(2**63), 2**63 - 1),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(row, min_size=1, max_size=30), min_size=1, max_size=6), st.booleans())
def test_rows_come_out_in_the_tables_order_and_the_newest_apart(blocks: list[list[Row]], in_one: bool) -> None:
    sealed = [block(rows) for rows in blocks]
    body, latest = SeriesOrder().sort([b"".join(sealed)] if in_one else sealed)
    wanted = sorted((stored(row) for rows in blocks for row in rows), key=lambda row: row[:3])  # stable
    assert rows_of(body) == wanted
    assert rows_of(latest) == list({row[:2]: row for row in wanted}.values())


def test_one_instance_gives_the_same_bytes_again_after_other_work() -> None:
    order = SeriesOrder()
    first = [block([(n % 3, 1, -n, 1.0, 1, 0, "00070", n) for n in range(100)])]
    once = order.sort(first)
    order.sort(
        [block([(n, 9, n, 2.0, 1, 0, f"{n:05}", n) for n in range(start, start + 50)]) for start in range(0, 9000, 50)]
    )
    assert order.sort([memoryview(first[0])]) == once


def test_many_wards_need_wide_indices() -> None:
    rows = [(n, 1, 5, 1.0, 1, 0, f"{n:05}", 7000) for n in range(1000)]
    body, latest = SeriesOrder().sort([block(rows[at : at + 100]) for at in range(0, 1000, 100)])
    assert rows_of(body) == rows == rows_of(latest)


@pytest.mark.parametrize("cut", [1, 2, 10, 40, 100, -1])
def test_a_block_that_is_cut_short_is_refused(cut: int) -> None:
    whole = block([(1, 1, 5, 1.0, 1, 0, "00070", 7)] * 3)
    with pytest.raises(ValueError, match="not a block"):
        SeriesOrder().sort([whole[:cut]])


def test_other_columns_are_refused() -> None:
    whole = block([(1, 1, 5, 1.0, 1, 0, "00070", 7)])
    for other in (whole.replace(b"quality_reasons", b"quality_raisins"), b"\x07" + whole[1:], whole + b"\x01"):
        with pytest.raises(ValueError, match="not a block"):
            SeriesOrder().sort([other])
    with pytest.raises(ValueError, match="rows"):
        SeriesOrder().sort([])


def test_an_index_beyond_the_dictionary_is_refused() -> None:
    whole = block([(1, 1, 5, 1.0, 1, 0, "00070", 7)])
    at = whole.index(b"00070") + 5 + 8
    with pytest.raises(ValueError, match="not a block"):
        SeriesOrder().sort([whole[:at] + b"\x01" + whole[at + 1 :]])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_never_crash(data: st.DataObject) -> None:
    whole = bytearray(block([(n, 1, 5, 1.0, 1, 0, f"{n:05}", 7) for n in range(5)]))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        SeriesOrder().sort([bytes(whole)])
