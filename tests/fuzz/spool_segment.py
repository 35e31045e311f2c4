"""Fuzzing a spool segment: whatever its bytes are, every byte is a record or a gap, and what is whole is read."""

from ingest.model import TABLES, SealedBatch
from ingest.spool.record import RecordPlace, encode, end_mark, name_seed
from ingest.spool.recover import examine
from ingest.spool.scan import Bytes, Record, scan

NAME = "a1b2c3d4e5f6-7"
_OTHER = "a1b2c3d4e5f6-6"


def _segment(name: str, *payloads: bytes) -> bytes:
    place = RecordPlace(name_seed(name), int(name[-1]), previous=5, previous_readings=3)
    found = b""
    for payload in payloads:
        batch = SealedBatch((payload, b"q", b""), (1, 1, 0), (1, 2, 0), lambda: None, (1, 0, 0, 0), (1000, 2000))
        found += b"".join(encode(batch, place))
        place.number += 1
        place.readings_before += 3
    return found + end_mark(place.seed, len(found))


_OLD = bytes.fromhex("4346523148562e98020000000200000002000000010000000300000001000000616278")
CORPUS = [
    _segment(NAME, b"one", b"two" * 30, b"three"),
    _segment(NAME, b"one") + _segment(_OTHER, b"stale" * 20, b"more"),
    _segment(NAME, b"one", _OLD, _segment(_OTHER, b"inside")),
    _OLD + _OLD + _OLD[:-1],
]


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if a byte is passed over, or what is counted is not what is there."""
    at = rows = readings = 0
    source = Bytes(memoryview(data))
    for item in scan(source, NAME):
        assert item.at == at
        assert at < item.end <= len(data)
        at = item.end
        if isinstance(item, Record):
            assert item.end - item.at == item.head.size_bytes + item.head.body_bytes
            rows += sum(item.head.rows[: len(TABLES)])
            readings += sum(item.head.readings[: len(TABLES)])
    assert at == len(data)
    contents = examine(source, NAME)
    assert (sum(contents.rows), sum(contents.readings)) == (rows, readings)
    assert contents.size_bytes <= len(data)
    assert all(loss.readings is None or loss.readings >= 0 for loss in contents.losses)
