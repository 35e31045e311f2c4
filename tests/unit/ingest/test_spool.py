"""The spool: records, segments, recovery of what a crash or a bad disk leaves."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model import SealedBatch
from ingest.settings import SpoolSettings
from ingest.spool.bodies import SegmentReader
from ingest.spool.record import encode, scan
from ingest.spool.spool import Spool

# Written by the version before readings_text: readings b"ab" (2 rows), quarantine b"x" (1 row for 3 readings).
OLD_RECORD = bytes.fromhex("4346523148562e98020000000200000002000000010000000300000001000000616278")


def batch(readings=b"r", quarantine=b"", rows=(1, 0, 0), texts=b""):
    return SealedBatch((readings, quarantine, texts), rows, rows, lambda: None)


def read(segment):
    return SegmentReader().read(segment)


def closed(spool, *batches):
    for entry in batches:
        spool.append(entry)
    return spool.close_segment()


def test_the_insert_body_is_the_blocks_in_order(tmp_path):
    segment = closed(
        Spool(tmp_path, SpoolSettings()), batch(b"ab", b"x", (2, 1, 0)), batch(b"cd"), batch(b"", b"y", (0, 1, 1), b"t")
    )
    assert read(segment) == [("readings", b"abcd"), ("quarantine", b"xy"), ("readings_text", b"t")]
    assert segment.rows == (3, 2, 1)


def test_records_of_the_version_before_are_read_also_beside_new_ones(tmp_path):
    spool = Spool(tmp_path, SpoolSettings())
    spool.append(batch(b"cd", b"", (1, 0, 4), b"t"))
    path = next(tmp_path.glob("*.seg"))
    path.write_bytes(OLD_RECORD + path.read_bytes() + OLD_RECORD[:-1])
    (segment,) = Spool(tmp_path, SpoolSettings()).recover()
    assert read(segment) == [("readings", b"abcd"), ("quarantine", b"x"), ("readings_text", b"t")]
    assert segment.rows == (3, 1, 4)
    assert segment.readings == (3, 3, 4)


def test_a_segment_closes_by_rows_bytes_and_age(tmp_path):
    now = [100.0]
    spool = Spool(
        tmp_path, SpoolSettings(segment_max_rows=10, segment_max_bytes=1000, segment_max_age_s=5), lambda: now[0]
    )
    spool.append(batch())
    assert spool.closes_in_s(is_awaited=False) == 5
    now[0] += 5
    assert spool.closes_in_s(is_awaited=False) == 0
    spool.close_segment()
    spool.append(batch(rows=(10, 0, 0)))
    assert spool.closes_in_s(is_awaited=False) == 0
    spool.close_segment()
    spool.append(batch(b"x" * 1000))
    assert spool.closes_in_s(is_awaited=False) == 0


def test_a_small_segment_that_the_store_waits_for_closes_early(tmp_path):
    now = [100.0]
    spool = Spool(
        tmp_path,
        SpoolSettings(segment_max_age_s=5, segment_early_age_s=1, segment_early_rows=10),
        lambda: now[0],
    )
    spool.append(batch(rows=(9, 0, 0)))
    assert spool.closes_in_s(is_awaited=True) == 1
    assert spool.closes_in_s(is_awaited=False) == 5
    now[0] += 2
    assert spool.closes_in_s(is_awaited=True) == 0
    assert spool.closes_in_s(is_awaited=False) == 3
    spool.append(batch(rows=(1, 0, 0)))
    assert spool.closes_in_s(is_awaited=True) == 3


def test_names_are_never_used_twice_even_if_the_file_is_gone(tmp_path):
    names = set()
    for _ in range(3):
        spool = Spool(tmp_path, SpoolSettings())
        for _ in range(2):
            segment = closed(spool, batch())
            assert segment.name not in names
            names.add(segment.name)
            segment.path.unlink()


def test_recovery_gives_whole_records_and_cuts_a_torn_tail(tmp_path):
    spool = Spool(tmp_path, SpoolSettings())
    spool.append(batch(b"one"))
    spool.append(batch(b"two"))
    path = next(tmp_path.glob("*.seg"))
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"".join(encode(batch(b"three")))[:-1])
    again = Spool(tmp_path, SpoolSettings())
    (segment,) = again.recover()
    assert read(segment)[0] == ("readings", b"onetwo")
    assert segment.readings == (2, 0, 0)
    assert again.damaged_bytes > 0
    assert path.stat().st_size == whole


def test_recovery_drops_a_file_with_nothing_whole(tmp_path):
    spool = Spool(tmp_path, SpoolSettings())
    spool.append(batch())
    path = next(tmp_path.glob("*.seg"))
    path.write_bytes(b"CFR1 and then nonsense that is long enough to look like a header")
    assert Spool(tmp_path, SpoolSettings()).recover() == []
    assert not path.exists()


def test_a_closed_segment_that_changed_on_disk_is_not_inserted(tmp_path):
    segment = closed(Spool(tmp_path, SpoolSettings()), batch(b"payload"))
    data = bytearray(segment.path.read_bytes())
    data[-1] ^= 1
    segment.path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        read(segment)


def test_a_full_disk_leaves_the_segment_as_it_was(tmp_path, monkeypatch):
    spool = Spool(tmp_path, SpoolSettings())
    spool.append(batch(b"one"))
    real = os.writev

    def half(file, buffers):
        real(file, [b"".join(buffers)[:20]])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", half)
    with pytest.raises(OSError, match="No space"):
        spool.append(batch(b"two"))
    monkeypatch.undo()
    spool.append(batch(b"three"))
    assert read(spool.close_segment())[0] == ("readings", b"onethree")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(0, 400), st.integers(0, 7))
def test_any_flipped_bit_is_noticed_and_nothing_before_it_is_lost(payloads, position, bit):
    records = [b"".join(encode(batch(payload))) for payload in payloads]
    data = bytearray(b"".join(records))
    position %= len(data)
    data[position] ^= 1 << bit
    before = 0
    while position >= sum(map(len, records[: before + 1])):
        before += 1
    found = [bytes(record.blocks[0]) for record in scan(memoryview(bytes(data)))]
    assert found == payloads[:before]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_no_records(data):
    assert list(scan(memoryview(data))) == []
