"""Rows cut out of Native blocks are the rows; what is cut short or unknown is refused, never misread."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.write.native_rows import NativeRows
from tests.support.native_blocks import Reading, Refused, Text, quarantine, readings, texts
from tests.support.native_twin import read_blocks

SMALL = st.integers(0, 9)
WARDS = st.sampled_from(["", "00070", "00145"])
READING = st.tuples(SMALL, SMALL, st.floats(), st.just(1), st.just(1), st.just(0), WARDS).map(lambda one: Reading(*one))
TEXT = st.tuples(SMALL, SMALL, st.binary(), st.just(2), st.sampled_from([1, 2, 3])).map(lambda one: Text(*one))
REFUSED = st.tuples(SMALL, st.binary()).map(lambda one: Refused(*one))
BLOCKS = st.one_of(
    st.lists(READING, min_size=1).map(readings),
    st.lists(TEXT, min_size=1).map(texts),
    st.lists(REFUSED, min_size=1).map(quarantine),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(BLOCKS, min_size=1, max_size=3), st.data())
def test_cuts_are_the_rows_of_the_whole(blocks: list[bytes], data: st.DataObject) -> None:
    body = b"".join(blocks)
    rows = NativeRows(body)
    whole = [repr(row) for row in read_blocks(body)]
    assert len(rows) == len(whole)
    first = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(first + 1, len(whole)))
    assert [repr(row) for row in read_blocks(rows.cut(first, end))] == whole[first:end]
    assert list(rows.row(first)) == list(read_blocks(body)[first])


@settings(max_examples=100, deadline=None)
@given(BLOCKS, st.data())
def test_damage_is_an_error_or_other_rows(block: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(block) - 1))
    with pytest.raises(ValueError, match="Native"):
        NativeRows(block[:cut])
    place = data.draw(st.integers(0, len(block) - 1))
    changed = block[:place] + bytes([block[place] ^ 1 << data.draw(st.integers(0, 7))]) + block[place + 1 :]
    with contextlib.suppress(ValueError):
        rows = NativeRows(changed)
        if len(rows):
            rows.row(0)


def test_values_can_be_read_by_people() -> None:
    row = NativeRows(readings([Reading(7, 1_780_000_000_123, 1.5)])).row(0)
    assert row == {
        "device_num": 7,
        "metric_num": 1,
        "ts": "2026-05-28T20:26:40.123Z",
        "value": 1.5,
        "quality": 1,
        "quality_reasons": 0,
        "ward_code": b"00070",
        "received_at": "2026-05-28T20:26:40.000Z",
    }
    assert NativeRows(texts([Text(7, 0, b"\xff", kind=3)])).row(0)["kind"] == "data"
