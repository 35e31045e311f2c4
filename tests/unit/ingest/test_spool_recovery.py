"""Recovery of a spool: what damage costs, that it is counted, and that no file keeps ingest from starting."""

import os
import struct
import zlib

import pytest

from ingest.model import SealedBatch
from ingest.settings import SpoolSettings
from ingest.spool.bodies import SegmentReader
from ingest.spool.record import MAGIC, RecordPlace, encode, name_seed
from ingest.spool.spool import Spool

# What follows the magic and a checksum in the records of the version before.
OLD_TABLES = struct.Struct("<9I")


def window(payload, readings=1, received_ms=(0, 0)):
    return SealedBatch((payload, b"", b""), (1, 0, 0), (readings, 0, 0), lambda: None, received_ms=received_ms)


def fill(folder, *segments):
    """Segments of these windows; their paths."""
    spool = Spool(folder, SpoolSettings())
    paths = []
    for windows in segments:
        for one in windows:
            spool.append(one)
        paths.append(spool.close_segment().path)
    return paths


def recovered(folder):
    """Payloads of all that is found, and the losses."""
    spool = Spool(folder, SpoolSettings())
    segments = spool.recover()
    payloads = [[bytes(blocks[0]) for blocks in SegmentReader().windows(segment) if blocks[0]] for segment in segments]
    for segment, found in zip(segments, payloads, strict=True):
        assert segment.rows == (len(found), 0, 0)
    return payloads, spool.losses


def change(path, at, data):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def place_of(path, payload):
    return path.read_bytes().index(payload)


def test_a_damaged_body_costs_its_record_and_says_how_many_readings_of_which_time(tmp_path):
    (path,) = fill(tmp_path, [window(b"one"), window(b"two" * 9, 7, (1000, 2000)), window(b"three")])
    at = place_of(path, b"twotwo")
    change(path, at + 5, b"X")
    payloads, (loss,) = recovered(tmp_path)
    assert payloads == [[b"one", b"three"]]
    assert (loss.readings, loss.received_ms, loss.is_unfinished) == (7, (1000, 2000), False)
    assert loss.at < at < loss.end


def test_a_damaged_head_is_passed_and_the_next_record_tells_what_it_held(tmp_path):
    (path,) = fill(
        tmp_path, [window(b"one", 1, (500, 600)), window(b"two", 7, (1000, 2000)), window(b"three", 1, (3000, 3000))]
    )
    change(path, path.read_bytes().index(MAGIC, 10) + 9, b"XX")
    payloads, (loss,) = recovered(tmp_path)
    assert payloads == [[b"one", b"three"]]
    assert (loss.readings, loss.received_ms) == (7, (600, 3000))


def test_the_last_record_of_a_closed_segment_is_missed_also_without_its_head(tmp_path):
    (path,) = fill(tmp_path, [window(b"one"), window(b"two", 7)])
    change(path, path.read_bytes().index(MAGIC, 10), b"XXXX")
    payloads, (loss,) = recovered(tmp_path)
    assert payloads == [[b"one"]]
    assert (loss.readings, loss.is_unfinished) == (7, False)


def test_a_segment_that_was_cut_between_records_is_missed_by_the_next_one(tmp_path):
    first, _ = fill(tmp_path, [window(b"one"), window(b"two", 7), window(b"three", 5)], [window(b"four")])
    cut_at = [at for at in range(first.stat().st_size) if first.read_bytes()[at : at + 4] == MAGIC][1]
    os.truncate(first, cut_at)
    payloads, (loss,) = recovered(tmp_path)
    assert payloads == [[b"one"], [b"four"]]
    assert (loss.readings, loss.segment, loss.is_unfinished) == (12, first.stem, False)


def test_a_record_that_was_being_written_is_unfinished_and_no_damage(tmp_path):
    spool = Spool(tmp_path, SpoolSettings())
    spool.append(window(b"one"))
    spool.append(window(b"two" * 9, 7))
    (path,) = tmp_path.glob("*.seg")
    os.truncate(path, place_of(path, b"twotwo") + 5)
    payloads, (loss,) = recovered(tmp_path)
    assert payloads == [[b"one"]]
    assert (loss.readings, loss.is_unfinished) == (7, True)


def test_the_last_record_of_an_open_segment_is_missed_also_without_its_head(tmp_path):
    spool = Spool(tmp_path, SpoolSettings())
    for payload in (b"a" * 500, b"b" * 500):
        spool.append(window(payload))
    spool.close_segment().remove()
    spool.append(window(b"one"))
    spool.append(window(b"two", 7))
    (path,) = tmp_path.glob("*.seg")
    change(path, place_of(path, b"two") - 100, b"XXXX")
    payloads, (loss,) = recovered(tmp_path)  # and nothing of the segment that had the file before
    assert payloads == [[b"one"]]
    assert (loss.readings, loss.is_unfinished) == (None, True)
    assert 100 < loss.end - loss.at < path.stat().st_size - 200


def test_what_was_recovered_is_recovered_again_the_same(tmp_path):
    first, _ = fill(tmp_path, [window(b"one"), window(b"two"), window(b"three")], [window(b"four")])
    change(first, place_of(first, b"two"), b"X")
    assert recovered(tmp_path)[0] == recovered(tmp_path)[0] == [[b"one", b"three"], [b"four"]]


def test_a_damaged_file_is_kept_when_the_store_has_what_is_whole_in_it(tmp_path):
    (path,) = fill(tmp_path, [window(b"one"), window(b"two"), window(b"three")])
    change(path, place_of(path, b"two"), b"X")
    (segment,) = Spool(tmp_path, SpoolSettings()).recover()
    segment.remove()
    assert [one.name for one in tmp_path.glob("*.damaged")] == [f"{path.name}.damaged"]
    assert Spool(tmp_path, SpoolSettings()).recover() == []


def test_a_payload_cannot_pass_for_a_record(tmp_path):
    """A whole record of the version before, a whole one of another segment: inside one whose head is damaged."""
    other = tmp_path / "other"
    (theirs,) = fill(other, [window(b"stolen")])
    blocks = b"forged"
    tables = OLD_TABLES.pack(1, 1, len(blocks), 0, 0, 0, 0, 0, 0)
    old = b"CFR2" + struct.pack("<I", zlib.crc32(tables + blocks)) + tables + blocks
    (path,) = fill(tmp_path / "ours", [window(b"one"), window(old + theirs.read_bytes()), window(b"three")])
    change(path, path.read_bytes().index(MAGIC, 10) + 9, b"XX")
    assert recovered(tmp_path / "ours")[0] == [[b"one", b"three"]]


def test_the_last_record_of_an_old_segment_may_be_torn_and_a_damaged_one_is_passed(tmp_path):
    def old(payload):
        tables = OLD_TABLES.pack(1, 2, len(payload), 0, 0, 0, 0, 0, 0)
        return b"CFR2" + struct.pack("<I", zlib.crc32(tables + payload)) + tables + payload

    records = [old(b"one"), old(b"two"), old(b"three"), old(b"four")]
    path = tmp_path / "a1b2c3d4e5f6-7.seg"
    path.write_bytes(b"".join(records)[:-1])
    change(path, len(records[0]) + len(records[1]) - 1, b"X")  # its body: its length holds
    payloads, losses = recovered(tmp_path)
    assert payloads == [[b"one", b"three"]]
    assert [(loss.readings, loss.is_unfinished) for loss in losses] == [(2, False), (None, True)]
    change(path, len(records[0]) + 40, b"\xff\xff\xff")  # its length: the next whole record is looked for
    assert recovered(tmp_path)[0] == [[b"one", b"three"]]


def test_no_file_keeps_a_spool_from_starting(tmp_path):
    (path,) = fill(tmp_path, [window(b"one")])
    node = (tmp_path / "node").read_text()
    (tmp_path / f"{node}-900.seg").mkdir()
    (tmp_path / "foreign.seg").write_bytes(b"what is this")
    (tmp_path / f"{node}-901.seg").write_bytes(b"")
    (tmp_path / f"{node}-902.seg").write_bytes(b"\0" * 5000)
    (tmp_path / f"{node}-903.seg").write_bytes(os.urandom(5000))
    os.mkfifo(tmp_path / f"{node}-904.seg")
    (tmp_path / f"{node}-905.seg").symlink_to(tmp_path / "nowhere")
    (tmp_path / f"{node}-99999999999999999999999.seg").write_bytes(b"beyond")
    (tmp_path / "no-\udcff-utf-8.seg").write_bytes(b"")
    spool = Spool(tmp_path, SpoolSettings())
    assert [segment.path for segment in spool.recover()] == [path]
    spool.append(window(b"two"))
    assert spool.close_segment().name == f"{node}-1001"
    assert len(list(tmp_path.glob("*.seg"))) == 2
    assert len(list(tmp_path.glob("*.aside"))) == 6
    assert len(list(tmp_path.glob("*.damaged"))) == 2


def test_a_record_of_a_newer_version_is_set_aside_whole(tmp_path):
    path = tmp_path / "a1b2c3d4e5f6-7.seg"
    newer = SealedBatch((b"r", b"", b"", b"new"), (1, 0, 0, 1), (1, 0, 0, 1), lambda: None)
    path.write_bytes(b"".join(encode(newer, RecordPlace(name_seed(path.stem), 7))))
    assert Spool(tmp_path, SpoolSettings()).recover() == []
    assert path.with_name(path.name + ".aside").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name in ("node", "next") for content in (b"", b"\xff\xfe", b"-5", b"a/b", b" ", None)]
    + [("next", b"9" * 30), ("next", b"0"), ("node", b"a" * 65)],
)
def test_a_spool_that_does_not_know_its_numbers_takes_another_name(tmp_path, name, content):
    (path,) = fill(tmp_path, [window(b"one")])
    used = path.stem.split("-")[0]
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    spool = Spool(tmp_path, SpoolSettings())
    (segment,) = spool.recover()
    segment.remove()
    spool.append(window(b"two"))
    assert spool.close_segment().name.split("-")[0] != used
    assert len(list(tmp_path.glob("*.aside"))) == (content is not None)


def test_a_folder_in_place_of_the_counter_is_set_aside(tmp_path):
    (path,) = fill(tmp_path, [window(b"one")])
    (tmp_path / "next").unlink()
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "inside").write_text("x")
    spool = Spool(tmp_path, SpoolSettings())
    spool.append(window(b"two"))
    assert spool.close_segment().name.split("-")[0] != path.stem.split("-")[0]
