"""The layout of cityfleet.readings: what each choice costs at insert, in merges, on disk and in typical questions.

`python -m loadtest.bench.layout` prints the tables of docs/decisions/readings-layout.md, on the recorded data
(CITYFLEET_DATA) and on a simulated fleet of 100,000 devices; `--stored-bytes` gives the figure of that name. Each
variant runs in an engine and a process of its own.
"""

import argparse
import importlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from loadtest.bench.result import figure, say
from loadtest.replay.mapping import load_map
from loadtest.replay.rows import RowTally, read_rows

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CITYFLEET_DATA", ROOT.parent / "shared" / "data"))
RECORDED = {
    "air-hanoi": "air_hanoi/Hanoi_PM2.5_2016_YTD.csv",
    "air-rain-beijing": "air_rain_beijing/PRSA_12stations_2016-07.csv",
    "flood-nyc": "street_flood_nyc/derived_readings_2023-09-29.csv",
    "traffic-6005-occupancy": "traffic/occupancy_6005.csv",
    "traffic-6005-speed": "traffic/speed_6005.csv",
    "travel-time-387": "traffic/TravelTime_387.csv",
    "water-kotzebue": "water_level/kotzebue_water_level_hourly.csv",
}
FLEET, BLOCK_ROWS, BLOCKS = 100_000, 500_000, 8
_COLUMNS = ("device_num", "metric_num", "ts", "value", "quality", "quality_reasons", "ward_code", "received_at")
_WARDS = 126
_VALUES_AND_INDEX = "data_compressed_bytes + marks_bytes + primary_key_size"
Columns = dict[str, npt.NDArray[Any]]


class Variant(NamedTuple):
    """`replace`: texts of the CREATE statement. `inserts`: settings beside ours."""

    name: str
    replace: tuple[tuple[str, str], ...] = ()
    inserts: tuple[tuple[str, int], ...] = ()
    settings: str = ""
    is_sorted: bool = True
    received_step_ms: int = 1000
    has_view: bool = False


_KEY = "ORDER BY (device_num, metric_num, ts)"
VARIANTS = (
    Variant("as it is"),
    Variant("latest by a view", has_view=True),
    Variant("skip index at insert", inserts=(("materialize_skip_indexes_on_insert", 1),)),
    Variant("copies sought at insert", inserts=(("optimize_on_insert", 1),)),
    Variant("rows as they came", is_sorted=False),
    Variant("received_at in ms", received_step_ms=1),
    Variant("ORDER BY (metric, device, ts)", ((_KEY, "ORDER BY (metric_num, device_num, ts)"),)),
    Variant("by weeks", (("toYYYYMM(ts)", "toMonday(ts)"),)),
    Variant("LZ4", (("ZSTD(1)", "LZ4"),)),
    Variant("ZSTD(3)", (("ZSTD(1)", "ZSTD(3)"),)),
    Variant("value Gorilla", (("value Float64 CODEC(ZSTD(1))", "value Float64 CODEC(Gorilla, ZSTD(1))"),)),
    Variant(
        "ts DoubleDelta", (("CODEC(Delta, ZSTD(1)) COMMENT 'Event", "CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Event"),)
    ),
    Variant("vertical merges", settings=", vertical_merge_algorithm_min_columns_to_activate = 1"),
)
# Of store/client.py, as far as they matter here.
INSERTS = {
    "async_insert": 0,
    "max_insert_block_size": 100_000_000,
    "min_insert_block_size_rows": 100_000_000,
    "min_insert_block_size_bytes": 4 << 30,
    "max_partitions_per_insert_block": 0,
    "materialize_skip_indexes_on_insert": 0,
    "optimize_on_insert": 0,
}
_VIEW = """
CREATE MATERIALIZED VIEW latest_from_readings TO latest AS
SELECT device_num, metric_num, max(r.ts) AS ts, argMax(r.value, r.ts) AS value, argMax(r.quality, r.ts) AS quality,
    argMax(r.quality_reasons, r.ts) AS quality_reasons, argMax(r.ward_code, r.ts) AS ward_code,
    argMax(r.received_at, r.ts) AS received_at
FROM readings AS r GROUP BY device_num, metric_num"""
QUESTIONS = {
    "device": "SELECT count(), avg(value) FROM readings FINAL WHERE device_num = 777 AND metric_num = 3",
    "ward": "SELECT max(value) FROM readings FINAL "
    "WHERE ward_code = '00007' AND ts >= (SELECT max(ts) - 600 FROM readings)",
    "city": "SELECT metric_num, ward_code, avg(value) FROM readings FINAL "
    "WHERE ts >= (SELECT max(ts) - 600 FROM readings) GROUP BY metric_num, ward_code",
}


def fleet(block: int) -> Columns:
    """500,000 rows of 100,000 devices behind 1,000 gateways: each reports once a minute, with a delay of its own."""
    random = np.random.default_rng(block)
    rounds = BLOCK_ROWS // FLEET
    gateways = np.concatenate([random.permutation(FLEET // 100) for _ in range(rounds)])
    device = (gateways[:, None] * 100 + np.arange(100)).ravel().astype(np.uint32)
    minute = np.repeat(np.arange(rounds) + block * rounds, FLEET)
    offset = np.random.default_rng(1000).integers(0, 60_000, FLEET)
    level = np.random.default_rng(1001).uniform(0, 20, FLEET)
    ts = 1_700_000_000_000 + minute * 60_000 + offset[device] + random.integers(0, 20, len(device))
    return {
        "device_num": device + 1,
        "metric_num": (device % 5 + 1).astype(np.uint16),
        "ts": ts,
        "value": np.round(level[device] + random.normal(0, 0.05, len(device)), 2),
        "quality": np.ones(len(device), np.uint8),
        "quality_reasons": np.zeros(len(device), np.uint16),
        "ward_code": (device // 800 % _WARDS).astype(np.uint8),
        "received_at": ts + random.integers(20, 2000, len(device)),
    }


def recorded() -> Columns:
    """All recorded readings in the order of their times, each received up to two seconds later."""
    rows: list[tuple[int, int, int, float]] = []
    devices: dict[str, int] = {}
    metrics: dict[str, int] = {}
    for name, file in RECORDED.items():
        for reading in read_rows(DATA / file, load_map(ROOT / "ops" / "replay" / f"{name}.toml"), RowTally()):
            device = devices.setdefault(reading.device_id, len(devices) + 1)
            metric = metrics.setdefault(reading.metric, len(metrics) + 1)
            rows.append((device, metric, reading.ts_ms, reading.value))
    rows.sort(key=lambda row: row[2])
    device_num, metric_num, ts, value = (np.array(column) for column in zip(*rows, strict=True))
    return {
        "device_num": device_num.astype(np.uint32),
        "metric_num": metric_num.astype(np.uint16),
        "ts": ts,
        "value": value.astype(np.float64),
        "quality": np.ones(len(rows), np.uint8),
        "quality_reasons": np.zeros(len(rows), np.uint16),
        "ward_code": (device_num % _WARDS).astype(np.uint8),
        "received_at": ts + np.random.default_rng(7).integers(20, 2000, len(rows)),
    }


def native(columns: Columns, variant: Variant) -> bytes:
    """The columns as one Native block, as ingest would send it."""
    columns = dict(columns)
    columns["received_at"] = columns["received_at"] // variant.received_step_ms * variant.received_step_ms
    if variant.is_sorted:
        first, second = ("metric_num", "device_num") if "metric" in variant.name else ("device_num", "metric_num")
        order = np.lexsort((columns["ts"], columns[second], columns[first]))
        columns = {name: values[order] for name, values in columns.items()}
    rows = len(columns["ts"])
    types = {"u4": "UInt32", "u2": "UInt16", "u1": "UInt8", "f8": "Float64", "i8": "DateTime64(3, 'UTC')"}
    out = [_varint(len(_COLUMNS)), _varint(rows)]
    for name in _COLUMNS:
        values = np.ascontiguousarray(columns[name])
        if name == "ward_code":
            keys = b"".join(b"\x05%05d" % ward for ward in range(_WARDS))
            head = np.array([1, 3 << 9, _WARDS], "<u8").tobytes() + keys + np.array([rows], "<u8").tobytes()
            out += [_text(name), _text("LowCardinality(String)"), head, values.tobytes()]
        else:
            out += [_text(name), _text(types[values.dtype.str[1:]]), values.tobytes()]
    return b"".join(out)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _text(value: str) -> bytes:
    return _varint(len(value)) + value.encode()


def schema(variant: Variant) -> Iterator[str]:
    """The statements of the schema that make `readings` and `latest`, as the variant has them."""
    text = (ROOT / "store" / "schema" / "0001_readings.sql").read_text()
    text = text.replace("{on_cluster}", "").replace("{replacing}", "ReplacingMergeTree").replace("cityfleet.", "")
    durable = "non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1"
    later = (ROOT / "store" / "schema" / "0007_fewer_merges.sql").read_text()
    changed = ", ".join(re.findall(r"MODIFY SETTING (.+);", later))
    text = text.replace("{durable}", f"{durable}, {changed}")
    for table in ("readings", "latest"):
        found = re.search(rf"CREATE TABLE IF NOT EXISTS {table} .*?;\n", text, re.DOTALL)
        assert found is not None
        statement = found.group().rstrip().rstrip(";")
        for old, new in variant.replace if table == "readings" else ():
            assert old in statement, old
            statement = statement.replace(old, new)
        yield statement + (variant.settings if table == "readings" else "")


def measure(variant: Variant, source: str) -> dict[str, Any]:
    """One variant in this process; to be called once in it."""
    blocks = [recorded()] if source == "recorded" else [fleet(block) for block in range(BLOCKS)]
    rows = sum(len(block["ts"]) for block in blocks)
    bodies = [native(block, variant) for block in blocks]
    del blocks
    os.environ["TZ"] = "UTC"
    _chdb: Any = importlib.import_module("chdb._chdb")  # its import starts an engine

    with tempfile.TemporaryDirectory() as folder:
        control = _chdb.connect(folder)

        def ask(sql: str) -> str:
            answer: str = control.query(sql, "TabSeparated").bytes().decode().strip()
            return answer

        for statement in schema(variant):
            ask(statement)
        if variant.has_view:
            ask(_VIEW)
        ask("SYSTEM STOP MERGES")
        began, wall = _cpu_s(), time.perf_counter()
        for number, body in enumerate(bodies):
            session = _chdb.connect(folder)
            settings = INSERTS | dict(variant.inserts) | {"insert_deduplication_token": f"'{number}'"}
            session.query("SET " + ", ".join(f"{name} = {value}" for name, value in settings.items()), "Null")
            insert = session.send_insert("INSERT INTO readings", "Native")
            for at in range(0, len(body), 1 << 20):
                session.insert_append(insert, body[at : at + (1 << 20)])
            session.insert_done(insert)
            session.close()
        insert_us = (_cpu_s() - began) / rows * 1e6
        wall_us = (time.perf_counter() - wall) / rows * 1e6
        # Values and index. A part's other files are some 6 kB, which counts only where parts are as small as here.
        of_parts = "FROM system.parts WHERE active AND table = 'readings'"
        size = f"SELECT sum({_VALUES_AND_INDEX}) / sum(rows) {of_parts}"
        first_bytes = float(ask(size))
        merged = "SELECT sum(value) FROM system.events WHERE event = 'MergedRows'"
        before, began = float(ask(merged) or 0), _cpu_s()
        ask("SYSTEM START MERGES")
        ask("OPTIMIZE TABLE readings FINAL")
        merge_us = (_cpu_s() - began) / max(1.0, float(ask(merged) or 0) - before) * 1e6
        found = {
            "variant": variant.name,
            "insert_us": insert_us,
            "insert_wall_us": wall_us,
            "merge_us": merge_us,
            "bytes_inserted": first_bytes,
            "bytes_merged": float(ask(size)),
            "parts_merged": int(ask("SELECT count() FROM system.parts WHERE active AND table = 'readings'")),
            "bytes_on_disk": float(ask(size.replace(_VALUES_AND_INDEX, "bytes_on_disk"))),
            "rows": rows,
            "bytes_by_column": json.loads(
                control.query(
                    "SELECT column, sum(column_data_compressed_bytes) / sum(rows) AS bytes FROM system.parts_columns "
                    "WHERE active AND table = 'readings' GROUP BY column ORDER BY bytes DESC",
                    "JSONCompact",
                ).bytes()
            )["data"],
        }
        for name, sql in QUESTIONS.items():
            times = []
            for _ in range(5):
                started = time.perf_counter()
                ask(sql)
                times.append(time.perf_counter() - started)
            found[f"{name}_ms"] = sorted(times)[2] * 1000
        control.close()
    return found


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def in_a_process(variant: Variant, source: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.bench.layout", "--one", variant.name, "--source", source],
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(source: str, found: list[dict[str, Any]]) -> None:
    print(
        f"\n{source}: CPU-us and bytes a row, milliseconds a question (one device; 10 minutes of a ward, of the city)"
    )
    print("| variant | insert | one merge | bytes inserted | merged | device | ward | city |")
    print("|---|---|---|---|---|---|---|---|")
    for one in found:
        print(
            f"| {one['variant']} | {one['insert_us']:.2f} | {one['merge_us']:.2f} | {one['bytes_inserted']:.2f} | "
            f"{one['bytes_merged']:.2f} | {one['device_ms']:.0f} | {one['ward_ms']:.0f} | {one['city_ms']:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=["fleet", "recorded"], action="append")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--stored-bytes", action="store_true", help="only the layout as it is, on the recorded data")
    options = parser.parse_args()
    if options.one:
        variant = next(one for one in VARIANTS if one.name == options.one)
        print(json.dumps(measure(variant, options.source[0])))
        return
    if options.stored_bytes:
        if not (DATA / "air_hanoi").is_dir():
            print("the recorded data is not there (CITYFLEET_DATA)")
            return
        one = in_a_process(VARIANTS[0], "recorded")
        baseline = in_a_process(next(each for each in VARIANTS if each.name == "LZ4"), "recorded")
        print(
            f"{one['bytes_merged']:.2f} bytes a stored reading of {one['rows']:,} recorded ones; with every file of "
            f"{one['parts_merged']} small parts {one['bytes_on_disk']:.2f}"
        )
        say(figure("stored_bytes", [one["bytes_merged"]], "bytes", baseline["bytes_merged"], less_is_better=True,
                   baseline_is="the same table with LZ4", bytes_on_disk=one["bytes_on_disk"]))  # fmt: skip
        return
    for source in options.source or ["recorded", "fleet"]:
        if source == "recorded" and not (DATA / "air_hanoi").is_dir():
            continue
        found = [in_a_process(variant, source) for variant in VARIANTS]
        show(source, found)
        say({"bench": "layout", "source": source, "variants": found})


if __name__ == "__main__":
    main()
