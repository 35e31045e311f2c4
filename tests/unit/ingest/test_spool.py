"""The spool's files: segments, their names, used files, earlier versions, and a disk that refuses."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest

from ingest.errors import DamagedSegmentError
from ingest.metrics import WriteState
from ingest.model import SealedBatch
from ingest.settings import SpoolSettings
from ingest.spool.backlog import Backlog
from ingest.spool.bodies import SegmentReader
from ingest.spool.memory import MemorySpool
from ingest.spool.spool import Spool
from tests.support.native_twin import read_blocks

OLD = Path(__file__).parents[2] / "data" / "spool"


def batch(readings=b"r", quarantine=b"", rows=(1, 0, 0), texts=b""):
    return SealedBatch((readings, quarantine, texts), rows, rows, lambda: None)


def read(segment):
    return SegmentReader().read(segment)


def fail(monkeypatch, name, number):
    """Have a system call fail before it does anything."""

    def failing(*arguments, **options):
        raise OSError(number, "failed")

    monkeypatch.setattr(os, name, failing)


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


def test_a_full_disk_leaves_the_segment_as_it_was(tmp_path, monkeypatch):
    spool = Spool(tmp_path, SpoolSettings())
    spool.append(batch(b"one"))
    real = os.pwritev

    def half(file, buffers, at):
        real(file, [b"".join(buffers)[:20]], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", half)
    with pytest.raises(OSError, match="No space"):
        spool.append(batch(b"two"))
    monkeypatch.undo()
    assert not spool.is_spoiled
    spool.append(batch(b"three"))
    assert read(spool.close_segment())[0] == ("readings", b"onethree")


def test_a_failed_fsync_ends_the_segment_with_what_was_acknowledged(tmp_path, monkeypatch):
    spool = Spool(tmp_path, SpoolSettings())
    spool.append(batch(b"one"))
    fail(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(OSError, match="failed"):
        spool.append(batch(b"two"))
    monkeypatch.undo()
    assert spool.is_spoiled
    first = spool.close_segment()
    spool.append(batch(b"two"))
    second = spool.close_segment()
    assert (read(first), read(second)) == ([("readings", b"one")], [("readings", b"two")])
    assert [read(one) for one in Spool(tmp_path, SpoolSettings()).recover()] == [read(first), read(second)]


def test_a_failed_fsync_of_the_first_record_leaves_no_segment(tmp_path, monkeypatch):
    spool = Spool(tmp_path, SpoolSettings())
    fail(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(OSError, match="failed"):
        spool.append(batch(b"one"))
    monkeypatch.undo()
    assert not spool.is_spoiled
    assert not spool.has_open_rows
    assert list(tmp_path.glob("*.seg")) == []
    spool.append(batch(b"one"))
    assert read(spool.close_segment()) == [("readings", b"one")]


@pytest.mark.parametrize("call", ["open", "rename", "fsync", "pwritev", "fdatasync", "ftruncate"])
def test_after_any_failing_call_the_next_append_goes_on(tmp_path, monkeypatch, call):
    spool = Spool(tmp_path, SpoolSettings())
    acknowledged = []
    for step in range(3):
        payload = b"record %d" % step
        with monkeypatch.context() as patch:
            fail(patch, call, errno.ENOSPC)
            with contextlib.suppress(OSError):
                spool.append(batch(payload))
                acknowledged.append(payload)
        if spool.is_spoiled:
            spool.close_segment()
        if payload not in acknowledged:
            spool.append(batch(payload))
            acknowledged.append(payload)
    again = Spool(tmp_path, SpoolSettings())
    found = b"".join(body for segment in again.recover() for _, body in read(segment))
    assert found == b"".join(acknowledged)
    assert again.losses == []


def test_the_counter_is_written_before_its_numbers_are_used_also_when_the_disk_refused_once(tmp_path, monkeypatch):
    names = set()
    spool = Spool(tmp_path, SpoolSettings())
    closed(spool, batch()).remove()
    (tmp_path / "next").write_text("1001")
    spool = Spool(tmp_path, SpoolSettings())
    with monkeypatch.context() as patch:
        fail(patch, "rename", errno.ENOSPC)
        with pytest.raises(OSError, match="failed"):
            spool.append(batch())
    for _ in range(2):
        segment = closed(spool, batch())
        names.add(segment.name)
        segment.remove()
    for path in tmp_path.glob("*.spare"):
        path.unlink()
    again = closed(Spool(tmp_path, SpoolSettings()), batch())
    assert again.name not in names


def test_the_disk_is_left_what_it_must_have(tmp_path, monkeypatch):
    free = os.statvfs(tmp_path)
    spool = Spool(tmp_path, SpoolSettings(min_free_bytes=(free.f_blocks + 1) * free.f_frsize))
    with pytest.raises(OSError, match="min_free_bytes"):
        spool.append(batch())
    assert list(tmp_path.glob("*.seg")) == []


def test_a_used_file_is_written_over_and_what_it_held_counts_as_nothing(tmp_path):
    spool = Spool(tmp_path, SpoolSettings())
    first = closed(spool, batch(b"a" * 1000), batch(b"b" * 1000), batch(b"c" * 1000))
    first.remove()
    assert len(list(tmp_path.glob("*.spare"))) == 1
    spool.append(batch(b"short"))
    assert list(tmp_path.glob("*.spare")) == []
    (path,) = tmp_path.glob("*.seg")
    assert path.stat().st_size > 3000  # what is behind is of the first
    again = Spool(tmp_path, SpoolSettings())
    (segment,) = again.recover()
    assert read(segment) == [("readings", b"short")]
    assert segment.readings == (1, 0, 0)


def test_a_spool_that_is_only_drained_keeps_no_used_files(tmp_path):
    spool = Spool(tmp_path, SpoolSettings())
    closed(spool, batch()).remove()
    closed(spool, batch()).remove()
    left = closed(spool, batch())
    spool.append(batch())
    again = Spool(tmp_path, SpoolSettings())
    segments = again.drain()
    assert segments[0].name == left.name
    for segment in segments:
        segment.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["next", "node"]


def test_a_used_file_that_nothing_was_written_to_is_no_damage(tmp_path):
    spool = Spool(tmp_path, SpoolSettings())
    closed(spool, batch(b"a" * 1000)).remove()
    (spare,) = tmp_path.glob("*.spare")
    spare.rename(tmp_path / f"{(tmp_path / 'node').read_text()}-2.seg")
    again = Spool(tmp_path, SpoolSettings())
    assert again.recover() == []
    assert [path.name for path in tmp_path.iterdir() if path.suffix not in ("", ".spare")] == []


def test_files_of_an_earlier_version_are_not_written_over(tmp_path):
    shutil.copytree(OLD / "cfr2", tmp_path / "spool")
    spool = Spool(tmp_path / "spool", SpoolSettings())
    for segment in spool.recover():
        segment.remove()
    assert list((tmp_path / "spool").glob("*.spare")) == []
    assert len(spool.backlog) == 0


@pytest.mark.parametrize(("version", "rows"), [("cfr1", [(6, 1, 0)]), ("cfr2", [(6, 1, 0), (2, 1, 1)])])
def test_a_spool_of_an_earlier_version_is_read_whole(tmp_path, version, rows):
    shutil.copytree(OLD / version, tmp_path / "spool")
    spool = Spool(tmp_path / "spool", SpoolSettings())
    segments = spool.recover()
    assert [segment.rows for segment in segments] == rows
    assert [segment.name for segment in segments] == [
        path.stem for path in sorted((OLD / version).glob("*.seg"), key=lambda path: path.name)
    ]
    assert spool.losses == []
    for segment in segments:
        bodies = dict(read(segment))
        assert len(read_blocks(bodies["readings"])) == segment.rows[0]
        assert len(read_blocks(bodies["quarantine"])) == segment.rows[1]
    # and the numbers go on where they were
    assert closed(spool, batch()).name == f"{segments[0].name.partition('-')[0]}-1001"


def test_the_oldest_waiting_segment_has_an_age_and_the_backlog_its_bytes(tmp_path):
    now = [100.0]
    spool = Spool(tmp_path, SpoolSettings(), lambda: now[0])
    first = closed(spool, batch(b"x" * 100))
    now[0] += 7
    second = closed(spool, batch(b"y" * 100))
    assert spool.backlog.oldest_age_s == 7
    assert spool.backlog.size_bytes == first.size_bytes + second.size_bytes
    first.remove()
    assert spool.backlog.oldest_age_s == 0
    assert second.set_aside().name.endswith(".poison")
    assert (len(spool.backlog), spool.backlog.size_bytes) == (0, 0)


@pytest.mark.parametrize("kind", [Spool, MemorySpool])
def test_spools_of_one_process_share_a_backlog_that_is_empty_at_first(tmp_path, kind):
    backlog = Backlog()
    assert kind(tmp_path, SpoolSettings(), backlog=backlog).backlog is backlog


def test_a_closed_segment_of_which_nothing_is_whole_any_more_is_not_inserted(tmp_path):
    segment = closed(Spool(tmp_path, SpoolSettings()), batch(b"payload"))
    segment.path.write_bytes(segment.path.read_bytes().replace(b"payload", b"Payload"))
    with pytest.raises(ValueError, match="damaged: 1 of 1"):
        read(segment)


def test_what_is_whole_of_a_closed_segment_that_changed_on_disk_is_inserted(tmp_path):
    segment = closed(Spool(tmp_path, SpoolSettings()), batch(b"one"), batch(b"two", b"", (5, 0, 0)), batch(b"three"))
    segment.path.write_bytes(segment.path.read_bytes().replace(b"two", b"2wo"))
    with pytest.raises(DamagedSegmentError, match="damaged: 5 of 7") as raised:
        read(segment)
    remaining = raised.value.remaining
    assert raised.value.bodies == [("readings", b"onethree")]
    assert (remaining.rows, remaining.readings) == ((2, 0, 0), (2, 0, 0))
    state = WriteState()
    state.took(segment)
    state.lost_part(segment, remaining)
    assert state.held == 2
    state.written(remaining)
    assert (sum(state.readings), state.set_aside_readings, state.taken) == (2, 5, 7)
    remaining.remove()
    assert [path.name for path in tmp_path.glob("*.damaged")] == [f"{segment.path.name}.damaged"]
