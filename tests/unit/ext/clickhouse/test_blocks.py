"""Native blocks as ClickHouse itself reads them (chDB in a process of its own)."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ext.telemetry.index import DeviceIndex
from tests.support.native_twin import read_blocks
from tests.support.pipeline import Message, Pipeline
from tests.support.resolve_twin import NOW_MS, make_index

READINGS = (
    "device_num UInt32, metric_num UInt16, ts DateTime64(3, 'UTC'), value Float64, quality UInt8, "
    "quality_reasons UInt16, ward_code LowCardinality(String), received_at DateTime64(3, 'UTC')"
)
QUARANTINE = (
    "received_at DateTime64(3, 'UTC'), device_id String, topic String, transport LowCardinality(String), "
    "encoding LowCardinality(String), reason LowCardinality(String), detail String, readings UInt32, payload String"
)
TEXTS = (
    "device_num UInt32, metric_num UInt16, ts DateTime64(3, 'UTC'), "
    "kind Enum8('string' = 1, 'boolean' = 2, 'data' = 3), value String, quality UInt8, "
    "ward_code LowCardinality(String), received_at DateTime64(3, 'UTC')"
)
SCRIPT = """
import sys
import chdb
columns, path, select = sys.argv[1:]
engine = chdb.connect(":memory:")
engine.query(f"CREATE TABLE t ({columns}) ENGINE = MergeTree ORDER BY tuple()")
engine.query(f"INSERT INTO t FROM INFILE '{path}' FORMAT Native")
sys.stdout.write(engine.query(f"SELECT {select} FROM t FORMAT JSONCompactEachRow").bytes().decode())
"""


def stored(columns: str, block: bytes, tmp_path: Path, select: str) -> list[list[Any]]:
    """Rows that ClickHouse has after it inserted the bytes."""
    path = tmp_path / "block.native"
    path.write_bytes(block)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, columns, str(path), select], capture_output=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_clickhouse_reads_the_readings_that_were_put_in(tmp_path: Path) -> None:
    pipeline = Pipeline(make_index())
    blocks = []
    for part in range(3):
        pack = [{"n": "water_level_m", "t": 1.7e9 + part, "v": 0.1 + part}, {"n": "rain_mm", "t": -1, "v": -3}]
        pipeline.fill([Message(json.dumps(pack).encode(), "wl-1")])
        pipeline.fill([Message(b'[{"n":"vehicle_count","v":7}]', "tc-1")], "grpc")
        pipeline.fill([Message(b'[{"n":"water_level_m","v":7e-310}]', "wl-2")], "broker")
        blocks.append(pipeline.batch.seal().blocks[0])
    select = (
        "device_num, metric_num, toUnixTimestamp64Milli(ts), reinterpretAsUInt64(value), quality, quality_reasons, "
        "ward_code, toUnixTimestamp64Milli(received_at), toTypeName(ward_code)"
    )
    wanted = []
    for row in read_blocks(b"".join(blocks)):
        row["value"] = int.from_bytes(struct.pack("<d", row["value"]), "little")
        wanted.append([*row.values(), "LowCardinality(String)"])
    assert len(wanted) == 12
    assert sorted(stored(READINGS, b"".join(blocks), tmp_path, select)) == sorted(wanted)


@pytest.mark.parametrize("wards", [1, 255, 256, 257, 1000])
def test_clickhouse_reads_any_number_of_wards(wards: int, tmp_path: Path) -> None:
    index = DeviceIndex()
    index.put_metric(1, "m", "m")
    index.put_type(1, "t", False, "senml-json", [(1, None, None)])
    for number in range(wards):
        index.put_device(number + 1, f"d-{number}", 1, f"{number:05}", 0, [], True)
    pipeline = Pipeline(index)
    pipeline.fill([Message(b'[{"n":"m","v":1}]', f"d-{number}") for number in range(wards)] * 2)
    block = pipeline.batch.seal().blocks[0]
    select = "toInt32(countIf(toUInt32(ward_code) + 1 = device_num)), toInt32(uniqExact(ward_code))"
    assert stored(READINGS, block, tmp_path, select) == [[2 * wards, wards]]


def test_clickhouse_reads_quarantine_rows_byte_by_byte(tmp_path: Path) -> None:
    pipeline = Pipeline(make_index())
    payloads = [b"\x00\xff\xfe not JSON", b"", b"x" * 300, b"[" * 70_000, '[{"n":"é"}]'.encode()]
    pipeline.fill([Message(payload, "wl-1") for payload in payloads])
    pipeline.fill([Message(b"\xff", "gw-1", "gateway", "batch"), Message(b"?", None, encoding="xml")], "grpc")
    sealed = pipeline.batch.seal()
    select = (
        "toUnixTimestamp64Milli(received_at), device_id, topic, transport, encoding, reason, detail, readings, "
        "hex(payload)"
    )
    rows = read_blocks(sealed.blocks[1])
    texts = [{**row, "payload": row["payload"].hex().upper().encode()} for row in rows]
    wanted = [[item.decode() if isinstance(item, bytes) else item for item in row.values()] for row in texts]
    assert [bytes.fromhex(row[-1]) for row in wanted] == [*payloads, b"\xff", b"?"]
    assert wanted[0][:6] == [NOW_MS, "wl-1", "cf/v1/d/telemetry", "mqtt", "senml-json", "malformed_payload"]
    assert wanted[-1][1:6] == ["", "cf/v1/d/telemetry", "grpc", "unknown", "unknown_encoding"]
    assert sorted(stored(QUARANTINE, sealed.blocks[1], tmp_path, select)) == sorted(wanted)


def test_clickhouse_reads_texts_byte_by_byte(tmp_path: Path) -> None:
    pipeline = Pipeline(make_index())
    blocks = []
    for part in range(2):
        pack = [
            {"n": "rain_mm", "vs": "mưa " + "x" * 200 * part},
            {"n": "rain_mm", "t": -1, "vb": bool(part)},
            {"n": "water_level_m", "t": -2, "vd": "AP8="[:3]},
            {"n": "water_level_m", "vs": ""},
        ]
        pipeline.fill([Message(json.dumps(pack).encode(), device) for device in ("wl-1", "wl-2")])
        blocks.append(pipeline.batch.seal().blocks[2])
    select = (
        "device_num, metric_num, toUnixTimestamp64Milli(ts), kind, hex(value), quality, ward_code, "
        "toUnixTimestamp64Milli(received_at)"
    )
    wanted = [list({**row, "value": row["value"].hex().upper()}.values()) for row in read_blocks(b"".join(blocks))]
    assert len(wanted) == 16
    assert sorted(stored(TEXTS, b"".join(blocks), tmp_path, select)) == sorted(wanted)


def test_batch_without_rows_seals_to_nothing() -> None:
    sealed = Pipeline(make_index()).batch.seal()
    assert sealed.blocks == (b"", b"", b"")
    assert sealed.rows == sealed.readings == (0, 0, 0)


def test_sealed_batch_is_empty_and_gives_the_same_bytes_for_the_same_chunks() -> None:
    pipeline = Pipeline(make_index())
    payload = b'[{"n":"rain_mm","v":1},{"n":"x","v":1},{"n":"rain_mm","vs":"light"}]'
    messages = [Message(payload, "wl-1"), Message(b"", "wl-2")]
    found = []
    for _ in range(2):
        pipeline.fill(messages)
        assert (pipeline.batch.rows, pipeline.batch.quarantine_rows) == (2, 2)
        assert pipeline.batch.size_bytes > 0
        found.append(pipeline.batch.seal().blocks)
        assert pipeline.batch.size_bytes == 0
    assert found[0] == found[1]
