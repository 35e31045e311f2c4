"""The spool in memory: segments without files, their bound, and what is left of them at the end."""

import errno
import os
import weakref

from ingest.model import SealedBatch
from ingest.settings import SpoolSettings
from ingest.spool.bodies import SegmentReader
from ingest.spool.memory import MemorySpool
from ingest.spool.spool import Spool


def window(payload, texts=b""):
    rows = (1, 0, int(bool(texts)))
    return SealedBatch((payload, b"", texts), rows, rows, lambda: None, received_ms=(5, 9))


def test_a_segment_in_memory_has_the_bodies_of_its_windows_and_no_file(tmp_path):
    spool = MemorySpool(tmp_path / "spool", SpoolSettings())
    spool.append(window(b"one"))
    spool.append(window(b"two", b"text"))
    segment = spool.close_segment()
    assert not spool.has_open_rows
    assert (segment.rows, segment.received_ms) == ((2, 0, 1), (5, 9))
    assert SegmentReader().read(segment) == [("readings", b"onetwo"), ("readings_text", b"text")]
    assert list(tmp_path.iterdir()) == []
    assert spool.backlog.memory_bytes == segment.size_bytes > 0
    segment.remove()
    assert spool.backlog.memory_bytes == len(spool.backlog) == 0


def test_the_acknowledgements_of_a_window_are_not_kept(tmp_path):
    class Frames:
        pass

    frames = Frames()
    gone = weakref.ref(frames)
    spool = MemorySpool(tmp_path, SpoolSettings())
    spool.append(SealedBatch((b"r", b"", b""), (1, 0, 0), (1, 0, 0), lambda frames=frames: None))
    del frames
    assert gone() is None


def test_two_spools_never_use_one_name(tmp_path):
    names = set()
    for _ in range(3):
        spool = MemorySpool(tmp_path, SpoolSettings())
        for _ in range(2):
            spool.append(window(b"x"))
            names.add(spool.close_segment().name)
    assert len(names) == 6


def test_what_the_store_did_not_take_is_on_disk_at_the_end_under_its_own_token(tmp_path):
    spool = MemorySpool(tmp_path / "spool", SpoolSettings())
    (tmp_path / "spool").mkdir()
    bodies = {}
    for payload in (b"taken", b"left"):
        spool.append(window(payload))
        spool.append(window(payload * 2, b"text"))
        segment = spool.close_segment()
        bodies[segment.name] = SegmentReader().read(segment)
        if payload == b"taken":
            segment.remove()
            del bodies[segment.name]
    spool.append(window(b"open"))
    assert spool.keep() == 0
    on_disk = Spool(tmp_path / "spool", SpoolSettings())
    found = {segment.name: SegmentReader().read(segment) for segment in on_disk.recover()}
    assert on_disk.losses == []
    assert len(found) == 2
    assert bodies.items() < found.items()
    assert [("readings", b"open")] in found.values()


def test_what_cannot_be_written_at_the_end_is_told(tmp_path, monkeypatch):
    spool = MemorySpool(tmp_path, SpoolSettings())
    spool.append(window(b"lost"))

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    assert spool.keep() == 1
    assert list(tmp_path.iterdir()) == []


def test_a_segment_in_memory_that_is_set_aside_becomes_a_file(tmp_path):
    spool = MemorySpool(tmp_path, SpoolSettings())
    spool.append(window(b"poison"))
    segment = spool.close_segment()
    aside = segment.set_aside()
    assert aside.name == f"{segment.name}.poison"
    aside.rename(segment.path)
    (again,) = Spool(tmp_path, SpoolSettings()).recover()
    assert SegmentReader().read(again) == [("readings", b"poison")]
