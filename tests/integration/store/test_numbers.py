"""Numbers by their names: there when an insert has ended, after a crash, and the same as a query would find."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import migrate, views
from store.client import INSERT_SETTINGS
from tests.support.store import QueryError, StoreHandle, running_store
from tests.support.wards import Ward, account


@pytest.fixture
def store(tmp_path) -> Iterator[StoreHandle]:
    with running_store(tmp_path) as running:
        yield running


def add_devices(store: StoreHandle, first: int, count: int, version: int = 1) -> None:
    store.query(
        "INSERT INTO cityfleet.devices (device_num, device_id, device_type, ward_code, state, version) "
        f"SELECT number + {first}, concat('dev-', toString(number + {first})), 'gauge', '00070', 'active', {version} "
        f"FROM numbers({count})",
        "writer",
    )


def add_reading(store: StoreHandle, device_num: int, metric_num: int = 1) -> None:
    store.query(
        f"INSERT INTO cityfleet.readings VALUES ({device_num}, {metric_num}, '2026-10-01 00:00:00', {device_num}.5, 1, "
        "0, '00070', '2026-10-01 00:00:01')",
        "writer",
    )


def series(store: StoreHandle, device_id: str, metric: str = "rain_mm", **settings: object) -> list[list[str]]:
    sql = f"SELECT value FROM ioc.series_of(device_id = '{device_id}', metric = '{metric}')"
    return [line.split("\t") for line in store.query(sql, **settings).splitlines()]


def kept(store: StoreHandle) -> list[str]:
    sql = "SELECT total_rows, total_bytes FROM system.tables WHERE database = 'cityfleet' AND name = 'device_numbers'"
    return store.rows(sql, "admin")[0]


def test_what_is_new_is_found_at_once_and_after_a_crash(store):
    for number in range(1, 6):
        add_devices(store, number, 1)
        store.query(f"INSERT INTO cityfleet.metrics VALUES ({number}, 'metric-{number}', '', '', 1)", "writer")
        add_reading(store, number, number)
        assert series(store, f"dev-{number}", f"metric-{number}") == [[f"{number}.5"]]
        assert series(store, f"dev-{number}", f"metric-{number}", join_use_nulls=1) == [[f"{number}.5"]]
    store.kill()
    store.start()
    for number in range(1, 6):
        assert series(store, f"dev-{number}", f"metric-{number}") == [[f"{number}.5"]]
    add_devices(store, 6, 1)
    add_reading(store, 6)
    assert series(store, "dev-6", "metric-1") == [["6.5"]]


def test_what_is_known_takes_no_memory_again(store):
    add_devices(store, 1, 1000)
    before = kept(store)
    assert before[0] == "1000"
    for version in range(2, 12):
        add_devices(store, 1, 1000, version)
    assert kept(store) == before


def test_a_name_has_the_number_that_it_was_given_last(store):
    """A registry that began anew counts anew."""
    add_devices(store, 1, 1)
    store.query("INSERT INTO cityfleet.metrics VALUES (1, 'rain_mm', 'mm', '', 1)", "writer")
    sql = "INSERT INTO cityfleet.devices (device_num, device_id, device_type, version) VALUES (9, 'dev-1', 'gauge', 2)"
    store.query(sql, "writer")
    add_reading(store, 9)
    assert series(store, "dev-1") == [["9.5"]]
    store.stop()
    store.start()
    assert series(store, "dev-1") == [["9.5"]]


def test_many_insert_and_ask_at_once(store):
    store.query("INSERT INTO cityfleet.metrics VALUES (1, 'rain_mm', 'mm', '', 1)", "writer")
    add_devices(store, 1, 1)
    add_reading(store, 1)

    def insert(part: int) -> None:
        # Parts overlap, so that what one looks up another has just put there.
        for version in range(1, 4):
            add_devices(store, 1 + part * 1000, 3000, version)

    with ThreadPoolExecutor(6) as pool:
        inserts = [pool.submit(insert, part) for part in range(4)]
        asked = [pool.submit(series, store, "dev-1") for _ in range(60)]
        assert all(one.result() == [["1.5"]] for one in asked)
        for one in inserts:
            one.result()
    assert kept(store)[0] == "6000"


def test_an_insert_that_failed_half_way_is_made_up_for_by_its_repetition(store):
    """The rows may be there already, and are then not inserted twice; the number is."""
    store.query("INSERT INTO cityfleet.metrics VALUES (1, 'rain_mm', 'mm', '', 1)", "writer")
    add_reading(store, 1)
    row = b"1\tdev-1\tgauge\t1"
    sql = "INSERT INTO cityfleet.devices (device_num, device_id, device_type, version) FORMAT TSV"
    store.query("RENAME TABLE cityfleet.device_numbers TO cityfleet.away", "admin")
    with pytest.raises(QueryError):
        store.query(sql, "writer", row, **INSERT_SETTINGS)
    store.query("RENAME TABLE cityfleet.away TO cityfleet.device_numbers", "admin")
    store.query(sql, "writer", row, **INSERT_SETTINGS)
    assert store.rows("SELECT count() FROM cityfleet.devices FINAL") == [["1"]]
    assert series(store, "dev-1") == [["1.5"]]


def test_a_ward_keeps_what_a_device_measured_there(store):
    wards = [Ward(store, name, account(store, name, name[1:])) for name in ("w00070", "w00004")]
    store.query("INSERT INTO cityfleet.metrics VALUES (1, 'rain_mm', 'mm', '', 1)", "writer")
    add_devices(store, 1, 1)
    add_reading(store, 1)
    moved = "SELECT device_num, device_id, device_type, '00004', state, 2 FROM cityfleet.devices"
    columns = "device_num, device_id, device_type, ward_code, state, version"
    store.query(f"INSERT INTO cityfleet.devices ({columns}) {moved}", "writer")
    store.query(
        "INSERT INTO cityfleet.readings VALUES (1, 1, '2026-10-02 00:00:00', 2.5, 1, 0, '00004', '2026-10-02')",
        "writer",
    )
    for sql in (
        "SELECT value FROM ioc.series_of(device_id = 'dev-1', metric = 'rain_mm')",
        "SELECT value FROM ioc.readings WHERE device_num = 1",
    ):
        assert [ward.query(sql).split() for ward in wards] == [["1.5"], ["2.5"]]


def test_a_server_without_them_answers_the_same(store):
    """There a view asks the tables of devices and metrics; here such a view stands beside ours."""
    store.query("INSERT INTO cityfleet.metrics VALUES (1, 'rain_mm', 'mm', '', 1), (2, 'pm', '', '', 1)", "writer")
    add_devices(store, 1, 3)
    for number in range(1, 4):
        add_reading(store, number)
        add_reading(store, number, 2)
    text = next(view.text for view in views.load() if view.name == "readings.sql")
    for name, call in (
        ("series_of", "(device_id = '{device}', metric = '{metric}')"),
        ("readings_of", "(device_id = '{device}')"),
    ):
        (made,) = (one for one in migrate.statements(text, "single") if f"VIEW ioc.{name} " in one)
        assert "joinGet" not in made
        store.query(made.replace(f"ioc.{name} ", f"ioc.server_{name} ", 1), "admin")
        for device, metric in (("dev-2", "rain_mm"), ("dev-2", "none"), ("none", "rain_mm")):
            of = call.format(device=device, metric=metric)
            ours = store.rows(f"SELECT * FROM ioc.{name}{of} ORDER BY ALL")
            assert ours == store.rows(f"SELECT * FROM ioc.server_{name}{of} ORDER BY ALL")
            assert len(ours) == (0 if device == "none" else 2 if name == "readings_of" else int(metric != "none"))
