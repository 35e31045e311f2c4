"""The views of the IOC modules: columns, names, one row per reading, and that filters read little."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.accounts import AccountName
from tests.support.store import StoreHandle, running_store

COLUMNS = {
    "readings": [
        "ts DateTime64(3, 'UTC')", "device_id String", "device_type String", "metric String", "unit String",
        "value Float64", "quality UInt8", "quality_reasons UInt16", "ward_code String", "ward_name String",
        "received_at DateTime64(3, 'UTC')", "device_num UInt32",
    ],
    "readings_text": [
        "ts DateTime64(3, 'UTC')", "device_id String", "device_type String", "metric String",
        "kind Enum8('string' = 1, 'boolean' = 2, 'data' = 3)", "value String", "quality UInt8", "ward_code String",
        "ward_name String", "received_at DateTime64(3, 'UTC')", "device_num UInt32",
    ],
    "latest": [
        "ts DateTime64(3, 'UTC')", "age_s Int64", "device_id String", "device_type String", "metric String",
        "unit String", "value Float64", "quality UInt8", "quality_reasons UInt16", "ward_code String",
        "ward_name String", "received_at DateTime64(3, 'UTC')", "device_num UInt32",
    ],
    "devices": [
        "device_num UInt32", "device_id String", "device_type String", "display_name String", "state String",
        "ward_code String", "ward_name String", "site String", "gateway_id String", "latitude Nullable(Float64)",
        "longitude Nullable(Float64)", "labels Map(String, String)", "expected_interval_s UInt32",
        "create_time DateTime64(3, 'UTC')", "update_time DateTime64(3, 'UTC')", "site_id String", "site_name String",
        "hardware_revision String",
    ],
    "sites": [
        "site_id String", "display_name String", "kind String", "state String", "ward_code String", "ward_name String",
        "latitude Nullable(Float64)", "longitude Nullable(Float64)", "labels Map(String, String)",
        "create_time DateTime64(3, 'UTC')", "update_time DateTime64(3, 'UTC')",
    ],
    "device_metrics": [
        "device_id String", "device_type String", "metric String", "unit String", "expected_interval_s UInt32",
        "min_value Nullable(Float64)", "max_value Nullable(Float64)", "resolution Float64", "ward_code String",
        "state String", "device_num UInt32",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    """200 devices in 126 wards, three metrics, 600,000 readings of two months, one every five minutes."""
    with running_store(tmp_path_factory.mktemp("city")) as store:
        store.query(
            "INSERT INTO cityfleet.devices (device_num, device_id, device_type, ward_code, state, version) "
            "SELECT number + 1, concat('dev-', toString(number + 1)), 'gauge', "
            "leftPad(toString(number % 126), 5, '0'), 'active', 1 FROM numbers(200)",
            "writer",
        )
        store.query(
            "INSERT INTO cityfleet.metrics SELECT number + 1, ['water_level_m', 'rain_mm', 'battery_pct'][number + 1], "
            "'u', '', 1 FROM numbers(3)",
            "writer",
        )
        store.query(
            "INSERT INTO cityfleet.wards SELECT leftPad(toString(number), 5, '0'), concat('Ward ', toString(number)), "
            "'ward', '01', 1 FROM numbers(126)",
            "writer",
        )
        for month in ("2026-09-01", "2026-10-01"):
            store.query(
                "INSERT INTO cityfleet.readings SELECT number % 200 + 1, intDiv(number, 200) % 3 + 1, "
                f"toDateTime64('{month} 00:00:00', 3, 'UTC') + intDiv(number, 600) * 300, number, 1, 0, "
                "leftPad(toString(number % 200 % 126), 5, '0'), toDateTime64('2026-11-01 00:00:00', 3, 'UTC') "
                "FROM numbers(300000)",
                "writer",
                min_insert_block_size_rows=2_000_000,
                max_insert_block_size=2_000_000,
            )
        store.query("INSERT INTO cityfleet.latest SELECT * FROM cityfleet.readings WHERE ts > '2026-10-01'", "writer")
        yield store


def read_rows(store: StoreHandle, where: str) -> tuple[int, int]:
    """How many rows an answer counts, and how many the engine read for it."""
    found = json.loads(store.query(f"SELECT count() AS n, sum(value) FROM ioc.readings WHERE {where} FORMAT JSON"))
    return int(found["data"][0]["n"]), found["statistics"]["rows_read"]


@pytest.mark.parametrize("view", sorted(COLUMNS))
def test_columns_are_as_documented_and_each_has_a_comment(store: StoreHandle, view: str) -> None:
    asked = f"SELECT concat(name, ' ', type), comment FROM system.columns WHERE database = 'ioc' AND table = '{view}'"
    found = store.rows(f"{asked} ORDER BY position FORMAT TSVRaw")
    assert [column for column, _ in found] == COLUMNS[view]
    assert all(comment for _, comment in found)


def test_a_new_device_shows_at_once(store: StoreHandle) -> None:
    row = "5001\t1\t2026-11-01 00:00:00\t1\t1\t0\t00070\t2026-11-01 00:00:00\n"
    for table in ("readings", "latest"):
        store.query(f"INSERT INTO cityfleet.{table} FORMAT TSV", "writer", data=row.encode())
    assert store.query("SELECT count() FROM ioc.readings WHERE device_num = 5001 AND device_id = ''") == "1\n"
    for version, name in ((1, "wl-new"), (2, "wl-renamed")):
        store.query(
            "INSERT INTO cityfleet.devices (device_num, device_id, state, version) "
            f"VALUES (5001, '{name}', 'active', {version})",
            "writer",
        )
        for view in ("readings", "latest", "devices"):
            assert store.query(f"SELECT count() FROM ioc.{view} WHERE device_id = '{name}'") == "1\n"


def test_a_reading_sent_twice_is_one_and_the_later_copy_counts(store: StoreHandle) -> None:
    for value, minute in ((1, 1), (3, 3), (2, 2)):
        row = f"5002\t1\t2026-11-01 00:00:00\t{value}\t1\t0\t00070\t2026-11-01 00:0{minute}:00\n"
        store.query("INSERT INTO cityfleet.readings FORMAT TSV", "writer", data=row.encode())
    assert store.rows("SELECT value FROM ioc.readings WHERE device_num = 5002") == [["3"]]


@pytest.mark.parametrize(
    ("where", "rows", "read_at_most"),
    [
        ("ts >= '2026-10-01 06:00:00' AND ts < '2026-10-01 07:00:00'", 7200, 310_000),
        ("device_num = 77", 3000, 60_000),
        ("device_num = 77 AND ts >= '2026-10-01'", 1500, 30_000),
        ("ward_code = '00100'", 3000, 60_000),
    ],
)
def test_filters_read_a_part_of_the_table(city: StoreHandle, where: str, rows: int, read_at_most: int) -> None:
    found, read = read_rows(city, where)
    assert found == rows
    assert read < read_at_most


def test_questions_by_name_are_answered_right(city: StoreHandle) -> None:
    assert read_rows(city, "device_id = 'dev-77'")[0] == 3000
    assert read_rows(city, "device_id = 'dev-77' AND metric = 'rain_mm'")[0] == 1000
    assert read_rows(city, "metric = 'rain_mm' AND ts < '2026-09-01 01:00:00'")[0] == 2400
    assert read_rows(city, "ward_name = 'Ward 100'")[0] == 3000


def test_one_devices_readings_are_read_without_the_others(city: StoreHandle) -> None:
    for source in (
        "ioc.readings_of(device_id = 'dev-77')",
        "ioc.series_of(device_id = 'dev-77', metric = 'rain_mm')",
        "ioc.readings WHERE device_num IN (SELECT device_num FROM ioc.devices WHERE device_id = 'dev-77')",
    ):
        found = json.loads(city.query(f"SELECT count() AS n, sum(value) FROM {source} FORMAT JSON"))
        assert found["data"][0]["n"] == (1000 if "series_of" in source else 3000)
        assert found["statistics"]["rows_read"] < 60_000


def test_one_device_has_the_same_readings_in_both_views(city: StoreHandle) -> None:
    city.query(
        "INSERT INTO cityfleet.quality_flags "
        "(metric_num, device_num, ts, quality, quality_reasons, ward_code, version, is_deleted) "
        "SELECT metric_num, device_num, ts, 3, 32, ward_code, 1, 0 FROM cityfleet.readings "
        "WHERE device_num = 77 AND value < 30000",
        "admin",
    )
    of_all = "SELECT * FROM ioc.readings WHERE device_id = 'dev-77' ORDER BY metric, ts"
    of_one = "SELECT * FROM ioc.readings_of(device_id = 'dev-77') ORDER BY metric, ts"
    rows = city.rows(of_one)
    assert rows == city.rows(of_all)
    assert {row[6] for row in rows} == {"1", "3"}
    columns = "ts, value, quality, quality_reasons, ward_code, received_at"
    series = city.rows(f"SELECT * FROM ioc.series_of(device_id = 'dev-77', metric = '{rows[0][3]}') ORDER BY ts")
    assert series == city.rows(f"SELECT {columns} FROM ({of_all}) WHERE metric = '{rows[0][3]}' ORDER BY ts")
    assert {row[2] for row in series} == {"1", "3"}


@pytest.mark.parametrize("of", ["device_id = 'dev-0', metric = 'rain_mm'", "device_id = 'dev-77', metric = 'rain'"])
def test_a_series_of_no_device_or_metric_is_empty(city: StoreHandle, of: str) -> None:
    assert city.rows(f"SELECT * FROM ioc.series_of({of})") == []


def test_flags_of_other_devices_are_not_read(city: StoreHandle) -> None:
    city.query(
        "INSERT INTO cityfleet.quality_flags "
        "(metric_num, device_num, ts, quality, quality_reasons, ward_code, version, is_deleted) "
        "SELECT 99, number % 200 + 1, toDateTime64('2025-01-01 00:00:00', 3, 'UTC') + intDiv(number, 200), "
        "3, 32, '00070', 1, 0 FROM numbers(400000)",
        "admin",
    )
    of_metric = "ioc.series_of(device_id = 'dev-77', metric = 'rain_mm')"
    for source in ("ioc.readings WHERE device_num = 77", "ioc.readings_of(device_id = 'dev-77')", of_metric):
        found = json.loads(city.query(f"SELECT count() AS n, sum(quality) FROM {source} FORMAT JSON"))
        assert found["data"][0]["n"] == (1000 if source == of_metric else 3000)
        assert found["statistics"]["rows_read"] < 90_000


@pytest.mark.parametrize("account", ["reader", "admin"])
def test_a_condition_never_brings_back_what_a_copy_has_replaced(tmp_path: Path, account: AccountName) -> None:
    """Conditions go before FINAL where they are on columns of the key, and nowhere else."""
    key = "1, 1, '2026-10-01 00:00:00'"
    with running_store(tmp_path) as store:
        store.query("SYSTEM STOP MERGES cityfleet.readings", "admin")
        store.query(
            "INSERT INTO cityfleet.devices (device_num, device_id, device_type, ward_code, state, version) "
            "VALUES (1, 'dev-1', 'gauge', '00070', 'active', 1)",
            "writer",
        )
        store.query("INSERT INTO cityfleet.metrics VALUES (1, 'water_level_m', 'm', '', 1)", "writer")
        for row in (
            f"{key}, 9.5, 1, 0, '00070', '2026-10-01 00:00:01'",
            f"{key}, 1.5, 4, 1, '00004', '2026-10-01 00:00:02'",
        ):
            store.query(f"INSERT INTO cityfleet.readings VALUES ({row})", "writer")
        before_final = "SELECT count() FROM cityfleet.readings FINAL PREWHERE value > 5"
        assert store.rows(before_final, account) == [["1"]]  # what is never to happen by itself
        for source, of_one in (
            ("cityfleet.readings FINAL", "device_num = 1"),
            ("ioc.readings", "device_num = 1"),
            ("ioc.readings", "device_id = 'dev-1'"),
            ("ioc.readings_of(device_id = 'dev-1')", "ts >= '2026-10-01'"),
            ("ioc.series_of(device_id = 'dev-1', metric = 'water_level_m')", "ts >= '2026-10-01'"),
        ):
            for of_the_old in (
                "value > 5",
                "quality = 1",
                "ward_code = '00070'",
                "received_at < '2026-10-01 00:00:02'",
            ):
                asked = f"SELECT count() FROM {source} WHERE {of_one}"
                assert store.rows(asked, account) == [["1"]]
                assert store.rows(f"{asked} AND {of_the_old}", account) == [["0"]], (source, of_the_old)


def test_the_views_can_be_joined(city: StoreHandle) -> None:
    rows = city.rows(
        "SELECT d.ward_name, count() FROM ioc.latest AS l JOIN ioc.devices AS d USING device_id "
        "WHERE l.metric = 'rain_mm' GROUP BY d.ward_name ORDER BY d.ward_name LIMIT 1"
    )
    assert rows == [["Ward 0", "2"]]


def test_stored_readings_are_small(city: StoreHandle, tmp_path: Path) -> None:
    size, rows = city.rows(
        "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts WHERE table = 'readings' AND active", "admin"
    )[0]
    assert int(size) / int(rows) < 6
