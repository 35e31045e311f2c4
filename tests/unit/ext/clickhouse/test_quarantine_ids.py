"""Ids of quarantine rows: the same for the same segment, others for any other, and the time of arrival in them."""

import contextlib
import json
import subprocess
import sys
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.clickhouse.quarantine_ids import with_ids
from ingest.settings import SpoolSettings
from ingest.spool.bodies import SegmentReader
from ingest.spool.spool import Spool
from tests.support.native_twin import read_blocks
from tests.support.pipeline import Message, Pipeline
from tests.support.resolve_twin import NOW_MS, make_index


def block(*payloads: bytes, received_ms: int = NOW_MS) -> bytes:
    pipeline = Pipeline(make_index())
    pipeline.fill([Message(payload, "wl-1", received_ms=received_ms) for payload in payloads])
    return pipeline.batch.seal().blocks[1]


def ids(body: bytes) -> list[UUID]:
    return [row["id"] for row in read_blocks(body)]


def test_rows_stay_as_they_are_and_get_an_id_each() -> None:
    blocks = [block(b"?", b"", b"\xff" * 200), block(b"!" * 70_000)]
    body = with_ids(blocks, "node-1")
    rows = read_blocks(body)
    found = [row.pop("id") for row in rows]
    assert rows == read_blocks(b"".join(blocks))
    assert len(set(found)) == 4
    assert {(one.version, one.variant) for one in found} == {(7, "specified in RFC 4122")}
    assert {one.int >> 80 for one in found} == {NOW_MS}


def test_the_same_rows_of_the_same_segment_have_the_same_ids() -> None:
    blocks = [block(b"?", b"?"), block(b"?")]
    assert with_ids(blocks, "node-1") == with_ids([memoryview(one) for one in blocks], "node-1")
    assert ids(with_ids([block(b"?"), block(b"?", b"?")], "node-1")) == ids(with_ids(blocks, "node-1"))


def test_other_segments_times_and_places_have_other_ids() -> None:
    found = [
        one
        for source in ("node-1", "node-2", "other-1")
        for received_ms in (NOW_MS, NOW_MS + 1)
        for one in ids(with_ids([block(b"?", b"?", received_ms=received_ms)], source))
    ]
    assert len(set(found)) == 12


def test_clickhouse_reads_the_ids(tmp_path) -> None:
    body = with_ids([block(b"?", b"!"), block(b"")], "node-7")
    path = tmp_path / "block.native"
    path.write_bytes(body)
    script = """
import sys
import chdb
engine = chdb.connect(":memory:")
columns = "id, toUnixTimestamp64Milli(UUIDv7ToDateTime(id)), payload"
answer = engine.query(f"SELECT {columns} FROM file('{sys.argv[1]}', Native) FORMAT JSONCompactEachRow")
sys.stdout.write(answer.bytes().decode())
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, timeout=100, check=True)
    # The engine reads blocks side by side.
    rows = sorted(json.loads(line) for line in done.stdout.splitlines())
    assert [UUID(row[0]) for row in rows] == ids(body)
    assert [row[2] for row in rows] == ["?", "!", ""]
    assert {int(row[1]) for row in rows} == {NOW_MS}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"x",
        b"\x09",
        b"\x09\x01" + b"\x0breceived_at\x14DateTime64(3, 'UTC')",
        b"\x00\x01" + b"\x0breceived_at\x14DateTime64(3, 'UTC')" + b"\0" * 8,
        b"\x09\xff\xff\xff\xff\xff\xff",
        b"\x09\x01\x09device_id\x06String" + b"\0" * 40,
    ],
)
def test_what_is_no_block_of_quarantine_rows_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="not a block"):
        with_ids([block(b"?"), bad], "node-1")


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 400))
def test_no_bytes_are_read_past_their_end(data: bytes, cut: int) -> None:
    whole = block(b"?", b"!")
    for body in (data, whole[:cut], whole[:10] + data, b"\x09" + data[:3] + whole[2:]):
        with contextlib.suppress(ValueError):
            found = with_ids([body], "node-1")
            assert len(found) > len(body)


def test_a_segment_gives_its_quarantine_rows_the_same_ids_at_every_reading(tmp_path) -> None:
    spool = Spool(tmp_path, SpoolSettings())
    pipeline = Pipeline(make_index())
    for payload in (b"?", b"!"):
        pipeline.fill([Message(payload, "wl-1")])
        spool.append(pipeline.batch.seal())
    segment = spool.close_segment()
    (first,), (second,) = SegmentReader().read(segment), SegmentReader().read(segment)
    assert first == second
    assert [row["payload"] for row in read_blocks(first[1])] == [b"?", b"!"]
    assert ids(first[1]) == ids(with_ids([block(b"?"), block(b"!")], segment.name))
