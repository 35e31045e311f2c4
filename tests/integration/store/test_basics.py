"""The store role answers as a ClickHouse server: statements, data, accounts, errors."""

from urllib.request import urlopen

import pytest

from tests.support.store import QueryError, StoreHandle


def test_ping_answers_ok(store: StoreHandle) -> None:
    for path in ("/ping", "/replicas_status"):
        with urlopen(store.url + path) as answer:
            assert answer.read() == b"Ok.\n"


def test_a_reading_goes_in_and_comes_out_through_the_views(store: StoreHandle) -> None:
    store.query(
        "INSERT INTO cityfleet.devices (device_num, device_id, device_type, ward_code, state, version) "
        "VALUES (1001, 'wl-basic-01', 'water-level', '00070', 'active', 1)",
        "writer",
    )
    store.query("INSERT INTO cityfleet.metrics VALUES (901, 'basic_level_m', 'm', '', 1)", "writer")
    store.query("INSERT INTO cityfleet.wards VALUES ('00070', 'Hoàn Kiếm', 'ward', '01', 1)", "writer")
    row = "1001\t901\t2026-11-01 10:00:00.125\t3.25\t1\t0\t00070\t2026-11-01 10:00:01\n"
    for table in ("readings", "latest"):
        store.query(f"INSERT INTO cityfleet.{table} FORMAT TSV", "writer", data=row.encode())
    asked = "SELECT ts, device_id, metric, unit, value, ward_name FROM {} WHERE device_id = 'wl-basic-01'"
    expected = [["2026-11-01 10:00:00.125", "wl-basic-01", "basic_level_m", "m", "3.25", "Hoàn Kiếm"]]
    assert store.rows(asked.format("ioc.readings")) == expected
    assert store.rows(asked.format("ioc.latest")) == expected


def test_reader_cannot_insert(store: StoreHandle) -> None:
    with pytest.raises(QueryError) as caught:
        store.query("INSERT INTO cityfleet.wards VALUES ('x', 'x', 'x', 'x', 1)", "reader")
    assert caught.value.code == 164


def test_writer_cannot_change_the_schema(store: StoreHandle) -> None:
    for sql in ("DROP TABLE cityfleet.readings", "CREATE TABLE default.x (a Int8) ENGINE = Memory", "SYSTEM SHUTDOWN"):
        with pytest.raises(QueryError) as caught:
            store.query(sql, "writer")
        assert caught.value.code == 497
