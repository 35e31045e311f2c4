"""The fleet: silence and its cause, availability against what was agreed, quality by test, latency, whom to visit."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.city_rollups import (
    add_devices,
    add_metrics,
    add_readings,
    add_type,
    add_wards,
    compute,
    compute_now,
    ms,
)
from tests.support.store import StoreHandle, running_store
from tests.support.wards import Ward, account

RAIN, BATTERY, RSSI = 61, 62, 63
SENSOR, GATEWAY, OTHER = 1, 2, 3
STEPS = (
    "readings_10min",
    "readings_1h",
    "readings_1d",
    "device_first",
    "availability_1h",
    "tests_1h",
    "gateway_latency_1h",
    "gateway_latency_6h",
)
# Local midnight of 10 January 2026.
DAY = datetime(2026, 1, 9, 17, tzinfo=UTC)
NOW = datetime.now(UTC)


def device(num: int, kind: str, ward: str = "00070", **more: object) -> dict[str, object]:
    interval_s = 3600 if kind == "lamp" else 600
    given = {"device_num": num, "device_id": f"d{num}", "device_type": kind, "ward_code": ward}
    return {**given, "expected_interval_s": interval_s, "create_time": "2026-01-01 00:00:00", **more}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("fleet")) as store:
        add_metrics(store, {"rain_mm": RAIN, "battery_pct": BATTERY, "rssi_dbm": RSSI})
        add_type(store, SENSOR, "gauge-rain", [RAIN], 600)
        add_type(store, GATEWAY, "gateway-bts", [RSSI], 600)
        add_type(store, OTHER, "lamp", [BATTERY], 3600)
        store.query(
            "INSERT INTO cityfleet.device_types (type_num, device_type, is_gateway, expected_interval_s, metric_nums, "
            f"metric_intervals_s, metric_min_values, metric_max_values, metric_resolutions, version) "
            f"VALUES ({GATEWAY}, 'gateway-bts', 1, 600, [{RSSI}], [0], [NULL], [NULL], [0], 2)",
            "admin",
        )
        add_wards(store, {"00070": "Hoàn Kiếm", "00004": "Ba Đình"})
        yield store


def add_latest(
    store: StoreHandle, rows: list[tuple[int, int, float, float, int]], ward: str = "00070", arrived_s: int = 1
) -> None:
    """Args: rows: device, metric, seconds before now, value, quality; arrived_s: from then until it arrived."""
    fleet = ", ".join(str((device, metric, age, value, quality)) for device, metric, age, value, quality in rows)
    store.query(
        "INSERT INTO cityfleet.latest SELECT one.1, one.2, now64(3) - one.3, one.4, one.5, 0, "
        f"'{ward}', now64(3) - one.3 + {arrived_s} FROM (SELECT arrayJoin([{fleet}]) AS one)",
        "admin",
    )


def look(store: StoreHandle) -> None:
    """What the rollups do each minute."""
    compute_now(store, ("fleet_now",))


@pytest.fixture(scope="module")
def silent(fleet: StoreHandle) -> dict[str, list[str]]:
    add_devices(
        fleet,
        [
            device(1, "gateway-bts"),
            *(device(num, "gauge-rain", gateway_id="d1", labels={"vendor": "acme"}) for num in range(2, 6)),
            *(device(num, "gauge-rain", "00004", labels={"vendor": "other"}) for num in range(6, 30)),
            device(30, "lamp"),
            device(31, "gauge-rain", "00004", state="decommissioned"),
        ],
    )
    heard = [(num, RAIN, 30, 0.0, 1) for num in range(8, 30)]
    # Behind gateway 1 all fell silent, and itself; 6 is alone in it, 7 sends its backlog, 30 was never heard.
    gone = [(1, RSSI, 7200, -80.0, 1), *((num, RAIN, 7200, 0.0, 1) for num in range(2, 6)), (6, RAIN, 1900, 0.0, 1)]
    add_latest(fleet, heard + gone)
    add_latest(fleet, [(7, RAIN, 7200, 0.0, 1)], "00004", 7200)
    look(fleet)
    rows = fleet.rows(
        "SELECT device_id, kind, ward_name, gateway_id, isNull(last_ts), probable_cause, cause_id, siblings_silent_n, "
        "siblings_n, silent_s > 3 * expected_interval_s, n FROM ioc.silent_devices"
    )
    return {row[0]: row[1:] for row in rows}


def test_devices_are_silent_after_three_intervals(silent: dict[str, list[str]]) -> None:
    assert set(silent) == {"d1", "d2", "d3", "d4", "d5", "d6", "d7", "d30"}
    assert all(row[8] == "true" or row[8] == "1" for row in silent.values())


def test_silence_behind_one_gateway_has_one_cause(silent: dict[str, list[str]]) -> None:
    for num in (1, 2, 3, 4, 5):
        # The ward's lamp is silent too, so the ward is the larger group of which all are.
        assert silent[f"d{num}"][4:8] == ["ward", "00070", "5", "5"]


def test_silence_of_one_device_is_its_own(silent: dict[str, list[str]]) -> None:
    assert silent["d6"][4:6] == ["device", "00004"]
    assert silent["d6"][6:8] == ["1", "23"]


def test_a_device_that_sends_old_readings_is_late_not_dead(silent: dict[str, list[str]]) -> None:
    assert silent["d7"][4] == "late"


def test_a_device_that_was_never_heard_is_silent(silent: dict[str, list[str]]) -> None:
    assert silent["d30"][3] in ("true", "1")
    assert silent["d30"][9] == "0"


def test_coverage_is_what_a_device_sent_of_its_metrics_within_a_day(
    fleet: StoreHandle, silent: dict[str, list[str]]
) -> None:
    asked = "SELECT device_id, coverage FROM ioc.{} WHERE device_id IN ('d2', 'd30') ORDER BY device_id"
    for view in ("silent_devices", "devices_to_service"):
        assert fleet.rows(asked.format(view)) == [["d2", "1"], ["d30", "0"]]


def test_the_account_of_a_ward_sees_its_own_devices_and_groups(
    fleet: StoreHandle, silent: dict[str, list[str]]
) -> None:
    ward = Ward(fleet, "ward_00004", account(fleet, "ward_00004", "00004"))
    found = ward.query("SELECT device_id, siblings_silent_n, siblings_n FROM ioc.silent_devices ORDER BY device_id")
    assert [row.split("\t") for row in found.splitlines()] == [["d6", "1", "23"], ["d7", "1", "23"]]
    found = ward.query("SELECT device_id FROM ioc.devices_to_service ORDER BY device_id")
    assert found.split() == ["d6", "d7"]
    assert ward.query("SELECT DISTINCT ward_code FROM cityfleet.fleet_now").split() == ["00004"]


@pytest.fixture(scope="module")
def history(fleet: StoreHandle) -> StoreHandle:
    """Two days of two gauges and a gateway: one whole, one with holes, values that fail, a clock that is ahead."""
    add_devices(
        fleet,
        [
            device(103, "gateway-bts", "00025"),
            *(device(num, "gauge-rain", "00025", gateway_id="d103") for num in (101, 102)),
        ],
    )
    at = [DAY + timedelta(minutes=10 * n) for n in range(288)]
    add_readings(fleet, ((101, RAIN, ms(one), 0.2, 1, "00025") for one in at), ms(DAY) + 200_000_000)
    # Every second reading of the first day, of the rest a quarter fails.
    add_readings(fleet, ((102, RAIN, ms(one), 0.2, 1, "00025") for one in at[:144:2]), ms(DAY) + 200_000_000)
    fleet.query(
        "INSERT INTO cityfleet.readings SELECT 102, "
        f"{RAIN}, fromUnixTimestamp64Milli({ms(DAY)} + 86400000 + number * 600000), 999, if(number % 4 = 0, 4, 1), "
        "if(number % 4 = 0, 1, 0), '00025', ts + INTERVAL 2 SECOND FROM "
        "(SELECT number, fromUnixTimestamp64Milli(toInt64(number * 600000 + "
        f"{ms(DAY) + 86_400_000})) AS ts FROM numbers(144))",
        "writer",
    )
    compute(fleet, STEPS, ms(DAY), ms(DAY + timedelta(days=2)) - 1000)
    return fleet


def test_availability_is_what_came_of_what_should_have(history: StoreHandle) -> None:
    rows = history.rows(
        "SELECT day, kind, expected_n, received_n, valid_n, round(availability, 4), round(validity, 4), sla, "
        f"breach, devices_n FROM ioc.availability_daily(from = '{DAY:%F %T}', to = '{DAY + timedelta(days=2):%F %T}') "
        "WHERE ward_code = '00025' ORDER BY day, kind"
    )
    assert rows == [
        ["2026-01-10", "gateway-bts", "144", "0", "0", "0", "\\N", "0.9", "true", "1"],
        ["2026-01-10", "gauge-rain", "288", "216", "216", "0.75", "1", "0.9", "true", "2"],
        ["2026-01-11", "gateway-bts", "144", "0", "0", "0", "\\N", "0.9", "true", "1"],
        ["2026-01-11", "gauge-rain", "288", "288", "252", "1", "0.875", "0.9", "false", "2"],
    ]


def test_the_operators_agreement_goes_before_the_default(history: StoreHandle) -> None:
    history.query(
        "INSERT INTO cityfleet.thresholds (scheme, object, parameter, averaging, level, low, valid_from, valid_to, "
        "source) VALUES ('sla', 'gauge-rain', 'availability', 'day', 1, 0.7, '2026-01-10', '2026-01-10', 'contract 7')",
        "admin",
    )
    rows = history.rows(
        "SELECT day, sla, breach, sla_source = 'contract 7' "
        f"FROM ioc.availability_daily(from = '{DAY:%F %T}', to = '{DAY + timedelta(days=2):%F %T}') "
        "WHERE ward_code = '00025' AND kind = 'gauge-rain' ORDER BY day"
    )
    assert [row[:3] for row in rows] == [["2026-01-10", "0.7", "false"], ["2026-01-11", "0.9", "false"]]


def test_quality_is_told_by_test(history: StoreHandle) -> None:
    rows = history.rows(
        "SELECT device_id, metric, test, share_3, share_4, isNull(stuck_since), fail_n, n FROM "
        f"ioc.sensor_quality(from = '{DAY:%F %T}', to = '{DAY + timedelta(days=2):%F %T}')"
    )
    assert [row[:3] for row in rows] == [["d102", "rain_mm", "gross_range"]]
    assert float(rows[0][4]) == pytest.approx(36 / 216)
    assert rows[0][3] == "0"
    assert rows[0][5:] in (["1", "36", "180"], ["true", "36", "180"])


@pytest.mark.parametrize(("begin_h", "end_h"), [(0, 48), (29, 48), (5, 29), (24, 31), (26, 47), (5, 43)])
def test_quality_is_of_all_days_of_which_some_is_in_the_period(history: StoreHandle, begin_h: int, end_h: int) -> None:
    begin, end = (f"{DAY + timedelta(hours=hours):%F %T}" for hours in (begin_h, end_h))
    first, last = (f"{DAY + timedelta(days=days):%F %T}" for days in (begin_h // 24, -(-end_h // 24)))
    found = history.rows(
        "SELECT n, quality.fail, fail_n, round(share_4, 6), round(coverage, 6) FROM "
        f"ioc.sensor_quality(from = '{begin}', to = '{end}') WHERE device_id = 'd102'"
    )
    counted = history.rows(
        "SELECT countIf(quality = 1), countIf(quality = 4) AS fail, fail, round(fail / count(), 6), round(least(1, "
        "count() * 600 / (dateDiff('second', min(toStartOfHour(ts)), max(toStartOfHour(ts))) + 3600)), 6) "
        f"FROM cityfleet.readings FINAL WHERE device_num = 102 AND ts >= '{first}' AND ts < '{last}'",
        "admin",
    )
    assert found == counted


def test_quality_of_today_goes_as_far_as_hours_are_closed(fleet: StoreHandle) -> None:
    add_devices(fleet, [device(130, "gauge-rain", "00025")])
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    # The day that is open, or that ended less than an hour ago.
    local = hour - timedelta(hours=1) + timedelta(hours=7)
    day = local.replace(hour=0) - timedelta(hours=7)
    end = min(hour, day + timedelta(days=1))
    tens = (end - day) // timedelta(minutes=10)
    fleet.query(
        f"INSERT INTO cityfleet.readings SELECT 130, {RAIN}, toDateTime64('{day:%F %T}', 3, 'UTC') + "
        "INTERVAL number * 600 SECOND AS ts, 999, if(number % 3 = 0, 4, 1), if(number % 3 = 0, 1, 0), '00025', ts "
        f"FROM numbers({tens})",
        "writer",
    )
    compute(fleet, [name for name in STEPS if name != "readings_1d"], ms(day), ms(end) - 1000)
    # Whichever hour of the day was the last to change.
    compute(fleet, ("readings_today",), ms(day), ms(day))
    asked = (
        "SELECT n, fail_n, coverage, toString(as_of) FROM ioc.sensor_quality(from = '{:%F %T}', to = '{:%F %T}') "
        "WHERE device_id = 'd130'"
    )
    newest = end - timedelta(minutes=10)
    expected = [str(tens - tens // 3), str(tens // 3), "1", f"{newest:%F %T}.000"]
    assert fleet.rows(asked.format(day, now)) == [expected]
    # From within the hour that isn't closed, or from the last minute of a day that ended.
    late = min(now, day + timedelta(days=1)) - timedelta(minutes=1)
    assert fleet.rows(asked.format(late, now + timedelta(hours=1))) == [expected]
    assert fleet.rows(asked.format(day - timedelta(days=1), day)) == []


def test_a_stuck_sensor_is_stuck_since_its_value_stayed(history: StoreHandle) -> None:
    history.query(
        "INSERT INTO cityfleet.device_types (type_num, device_type, expected_interval_s, metric_nums, "
        "metric_intervals_s, metric_min_values, metric_max_values, metric_resolutions, metric_tests, version) "
        "VALUES (9, 'float', 600, "
        f'[{RAIN}], [0], [NULL], [NULL], [0], [\'{{"flat_line":{{"tolerance":0.1,"suspect_s":3600}}}}\'], 1)',
        "admin",
    )
    add_devices(history, [device(110, "float", "00025")])
    start = DAY + timedelta(hours=3)
    add_readings(
        history, ((110, RAIN, ms(start) + 600_000 * n, float(n if n < 6 else 6), 1, "00025") for n in range(36))
    )
    compute(history, ("quality", *STEPS), ms(start), ms(start + timedelta(hours=6)) - 1000)
    rows = history.rows(
        "SELECT test, toString(stuck_since) FROM "
        f"ioc.sensor_quality(from = '{DAY:%F %T}', to = '{DAY + timedelta(days=2):%F %T}') WHERE device_id = 'd110'"
    )
    assert rows == [["flat_line", f"{start + timedelta(hours=1):%F %T}.000"]]


def test_latency_is_sampled_by_gateway(history: StoreHandle) -> None:
    second = DAY + timedelta(days=1)
    row = history.rows(
        "SELECT gateway_id, p50_s, p99_s, future_ts_n, late_n, sampled_n, ward_name FROM "
        f"ioc.gateway_latency(from = '{second:%F %T}', to = '{second + timedelta(days=1):%F %T}') "
        "WHERE gateway_id = 'd103'"
    )[0]
    assert row[5] == "288"
    assert float(row[1]) > 1.9
    assert row[6] == ""


def test_six_hours_that_are_not_put_together_yet_are_taken_by_the_hour(history: StoreHandle) -> None:
    end = DAY + timedelta(days=2)
    asked = f"SELECT * FROM ioc.gateway_latency(from = '{DAY:%F %T}', to = '{end:%F %T}') ORDER BY gateway_id"
    expected = history.rows(asked)
    assert expected
    history.query("TRUNCATE TABLE cityfleet.gateway_latency_6h", "admin")
    assert history.rows(asked) == expected
    # One of them amidst others that are not there, then all.
    compute(history, ["gateway_latency_6h"], ms(DAY + timedelta(hours=12)), ms(DAY + timedelta(hours=13)))
    assert history.rows(asked) == expected
    compute(history, ["gateway_latency_6h"], ms(DAY), ms(end) - 1000)
    assert history.rows(asked) == expected


def test_percentiles_are_near_the_true_ones(history: StoreHandle) -> None:
    add_devices(history, [device(120, "gauge-rain", "00004", gateway_id="d-far")])
    history.query(
        f"INSERT INTO cityfleet.readings SELECT 120, {RAIN}, fromUnixTimestamp64Milli({ms(DAY)} + number * 3000) "
        "AS ts, 1, 1, 0, '00004', if(number < 10, ts - INTERVAL 5 SECOND, ts + INTERVAL number * 10 MILLISECOND) "
        "FROM numbers(1000)",
        "writer",
    )
    compute(history, STEPS, ms(DAY), ms(DAY + timedelta(hours=1)) - 1000)
    row = history.rows(
        "SELECT p50_s, p95_s, p99_s, future_ts_n, late_n, sampled_n, least_s FROM "
        f"ioc.gateway_latency(from = '{DAY:%F %T}', to = '{DAY + timedelta(hours=1):%F %T}') WHERE gateway_id = 'd-far'"
    )[0]
    assert [float(one) for one in row[:3]] == pytest.approx([5, 9.5, 9.9], rel=0.03)
    assert row[3:] == ["10", "0", "1000", "-5"]


def test_whom_to_visit_is_ranked_with_reasons(fleet: StoreHandle, silent: dict[str, list[str]]) -> None:
    add_devices(
        fleet, [device(num, "lamp", labels={"firmware": "1.0" if num == 40 else "2.0"}) for num in range(40, 44)]
    )
    add_latest(
        fleet,
        [(40, BATTERY, 60, 8.0, 1), (40, RSSI, 60, -120.0, 1), *((num, BATTERY, 60, 90.0, 1) for num in (41, 42, 43))],
    )
    today = datetime(NOW.year, NOW.month, NOW.day, 17, tzinfo=UTC) - timedelta(days=2)
    values = ", ".join(
        f"({BATTERY}, 40, '{today - timedelta(days=n):%F %T}', '00070', 24, 24, {12 + 2 * n}, 1)" for n in range(5)
    )
    columns = "metric_num, device_num, ts, ward_code, n, good_n, last, version"
    fleet.query(f"INSERT INTO cityfleet.readings_1d ({columns}) VALUES {values}", "admin")
    look(fleet)
    rows = fleet.rows(
        "SELECT device_id, firmware, round(battery_ratio, 2), round(battery_days_left, 1), rssi_dbm, score, reason, "
        "usual_firmware FROM ioc.devices_to_service ORDER BY score DESC, device_id"
    )
    assert rows[0] == [
        "d40", "1.0", "0.08", "4", "-120", "80",
        "battery low; battery falls; signal weak; firmware unlike its kind", "2.0",
    ]  # fmt: skip
    assert {"d41", "d42", "d43"}.isdisjoint({row[0] for row in rows})
    assert ["d6", "40", "silent"] in [[row[0], row[5], row[6]] for row in rows]
    # What a device reports goes before its label.
    fleet.query(
        "INSERT INTO cityfleet.device_reported (device_num, ward_code, firmware_version, version) "
        "VALUES (40, '00070', '2.0', 1), (43, '00070', '1.5', 1), (42, '00070', '', 1)",
        "admin",
    )
    look(fleet)
    rows = fleet.rows(
        "SELECT device_id, firmware, usual_firmware, reason FROM ioc.devices_to_service "
        "WHERE device_id IN ('d40', 'd41', 'd42', 'd43') ORDER BY device_id"
    )
    assert rows == [
        ["d40", "2.0", "2.0", "battery low; battery falls; signal weak"],
        ["d43", "1.5", "2.0", "firmware unlike its kind"],
    ]


@pytest.mark.parametrize(
    "name", ["silent_devices", "devices_to_service", "availability_daily", "sensor_quality", "gateway_latency"]
)
def test_every_answer_says_what_it_rests_on(fleet: StoreHandle, name: str) -> None:
    period = (
        ""
        if name in ("silent_devices", "devices_to_service")
        else "(from = '2026-01-01 00:00:00', to = '2026-02-01 00:00:00')"
    )
    fleet.query(
        f"SELECT ward_code, ward_name, as_of, n, coverage, quality.good, method FROM ioc.{name}{period} LIMIT 1"
    )


def test_a_group_that_nobody_is_in_is_no_cause(silent: dict[str, list[str]]) -> None:
    # Devices without gateway, site and vendor have only their ward, their type and the city in common.
    assert {row[4] for row in silent.values()} <= {"ward", "device", "late"}
    assert all(row[5] for row in silent.values())


def test_what_silent_devices_have_in_common_is_named_by_its_kind(
    fleet: StoreHandle, silent: dict[str, list[str]]
) -> None:
    fleet.query("INSERT INTO cityfleet.sites (site_id, kind, version) VALUES ('bts-9', 'bts', 1)", "admin")
    behind = [device(num, "gauge-rain", "00013", gateway_id="d200") for num in range(201, 204)]
    beside = [device(num, "gauge-rain", "00013") for num in (204, 205)]
    of_vendor = [device(num, "gauge-rain", f"0{num}", labels={"vendor": "zeta"}) for num in range(210, 213)]
    of_type = [device(num, "siren", f"0{num}") for num in range(220, 223)]
    of_site = [device(num, "gauge-rain", f"0{num}", site_id="bts-9") for num in range(230, 233)]
    add_devices(fleet, [device(200, "gateway-bts", "00013"), *behind, *beside, *of_vendor, *of_type, *of_site])
    add_latest(fleet, [(num, RAIN, 30, 0.0, 1) for num in (204, 205)])
    look(fleet)
    found = fleet.rows(
        "SELECT device_num, probable_cause, cause_id, siblings_silent_n, siblings_n FROM ioc.silent_devices "
        "WHERE device_num >= 200 ORDER BY device_num"
    )
    expected = {
        range(200, 204): ["gateway", "d200", "3", "3"],
        range(210, 213): ["vendor", "zeta", "2", "2"],
        range(220, 223): ["type", "siren", "2", "2"],
        range(230, 233): ["bts_site", "bts-9", "2", "2"],
    }
    assert found == [[str(num), *cause] for nums, cause in expected.items() for num in nums]
