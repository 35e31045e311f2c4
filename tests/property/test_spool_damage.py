"""Damage of a spool: one place costs one record, is counted, and what is whole is always read."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model import SealedBatch
from ingest.spool.record import RecordPlace, encode, name_seed
from ingest.spool.recover import examine
from ingest.spool.scan import Bytes, Record, scan
from tests.fuzz.spool_segment import fuzz_one

NAME = "a1b2c3d4e5f6-7"
PAYLOADS = st.lists(st.binary(max_size=60), min_size=1, max_size=5)


def segment(payloads):
    """Records of one reading each, and the empty one at the end; with the places where they begin."""
    place = RecordPlace(name_seed(NAME), 7)
    data, places = b"", []
    for payload in payloads:
        places.append(len(data))
        data += b"".join(encode(SealedBatch((payload, b"", b""), (1, 0, 0), (1, 0, 0), lambda: None), place))
        place.number += 1
        place.readings_before += 1
    places.append(len(data))
    return data + b"".join(encode(SealedBatch((b"",) * 3, (0,) * 3, (0,) * 3, lambda: None), place)), places


def payloads_of(data):
    source = Bytes(memoryview(data))
    records = [item for item in scan(source, NAME) if isinstance(item, Record) and any(item.head.rows)]
    return [data[one.end - one.head.body_bytes : one.end] for one in records]


@settings(max_examples=150, deadline=None)
@given(PAYLOADS, st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_costs_its_record_and_no_other_and_is_counted(payloads, position, bit):
    data, places = segment(payloads)
    data = bytearray(data)
    position %= len(data)
    data[position] ^= 1 << bit
    hit = sum(place <= position for place in places) - 1
    assert payloads_of(bytes(data)) == payloads[:hit] + payloads[hit + 1 :]
    contents = examine(Bytes(memoryview(bytes(data))), NAME)
    lost = sum(loss.readings for loss in contents.losses)
    assert sum(contents.readings) + lost == len(payloads)
    assert lost == (hit < len(payloads))


@settings(max_examples=150, deadline=None)
@given(PAYLOADS, st.integers(0, 10_000), st.binary(min_size=1, max_size=300))
def test_what_is_written_over_a_place_costs_only_the_records_that_it_touches(payloads, position, garbage):
    data, places = segment(payloads)
    position %= len(data)
    garbage = garbage[: len(data) - position]
    changed = data[:position] + garbage + data[position + len(garbage) :]
    ends = [*places[1:], len(data)]
    untouched = [
        payload
        for payload, begin, end in zip(payloads, places, ends, strict=False)
        if changed[begin:end] == data[begin:end]
    ]
    assert payloads_of(changed) == untouched
    contents = examine(Bytes(memoryview(changed)), NAME)
    if changed[places[-1] :] == data[places[-1] :]:
        assert sum(contents.readings) + sum(loss.readings for loss in contents.losses) == len(payloads)


@settings(max_examples=150, deadline=None)
@given(PAYLOADS, st.integers(0, 10_000))
def test_a_segment_that_ends_early_has_all_records_before(payloads, size):
    data, places = segment(payloads)
    size %= len(data)
    whole = sum(place <= size for place in places[1:])
    assert payloads_of(data[:size]) == payloads[:whole]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_no_records(data):
    assert payloads_of(data) == []
    fuzz_one(data)
