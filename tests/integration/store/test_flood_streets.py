"""Street-flood events: those of New York on 2023-09-29 as published, in any order of arrival; the rain before them."""

import csv
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.city_rollups import (
    Reading,
    add_devices,
    add_metrics,
    add_readings,
    add_type,
    add_wards,
    compute,
    compute_now,
    ms,
)  # fmt: skip
from tests.support.store import StoreHandle, running_store
from tests.support.wards import Ward, account

DATA = Path(os.environ.get("CITYFLEET_DATA", Path(__file__).parents[4] / "shared" / "data"))
DEPTH, RAIN = 51, 52
STEPS = ("readings_10min", "rain_10min", "rain_1h", "street_floods", "street_flood_rain", "street_floods_now")
NEW_YORK = timezone(timedelta(hours=-4))
EVENTS = (
    "SELECT device_num, toUnixTimestamp64Milli(onset_ts), toUnixTimestamp64Milli(end_ts), "
    "toUnixTimestamp64Milli(peak_ts), max_depth_mm, wet_n, good_n FROM cityfleet.street_floods FINAL "
    "ORDER BY device_num, onset_ts"
)
Event = tuple[int, int, int | None, int, float, int, int]


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("streets")) as store:
        add_metrics(store, {"street_flood_depth_mm": DEPTH, "rain_mm": RAIN})
        add_type(store, 1, "gauge-street", [DEPTH], 60)
        add_type(store, 2, "gauge-rain", [RAIN], 600)
        add_wards(store, {"00070": "Hoàn Kiếm", "00025": "Giảng Võ"})
        yield store


def profiles() -> dict[str, list[tuple[int, float]]]:
    """Depths by sensor in the order of the file: one published profile after the other."""
    found: dict[str, list[tuple[int, float]]] = {}
    path = DATA / "street_flood_nyc" / "derived_readings_2023-09-29.csv"
    with path.open(newline="", encoding="ascii") as file:
        for row in csv.DictReader(file):
            moment = datetime.fromisoformat(row["ts_local"]).replace(tzinfo=NEW_YORK)
            found.setdefault(row["sensor_id"], []).append((ms(moment), float(row["depth_mm"])))
    return found


def stored(store: StoreHandle, devices: range) -> list[Event]:
    found = []
    for num, onset, end, peak, depth, wet, good in store.rows(EVENTS, "admin"):
        if int(num) in devices:
            until = None if end == "\\N" else int(end)
            found.append((int(num), int(onset), until, int(peak), float(depth), int(wet), int(good)))
    return found


def expected_events(num: int, depths: list[tuple[int, float]]) -> list[Event]:
    """The rule, once more, without windows of time."""
    minute = 60_000
    events: list[Event] = []
    run: list[tuple[int, float]] = []
    before: tuple[int, float] | None = None
    onset = 0
    for at, depth in [*sorted(depths), (1 << 52, 0.0)]:
        if run:
            last_wet = max(when for when, value in run if value >= 10)
            is_apart = depth >= 10 and run[-1][1] < 10 and at - last_wet > 30 * minute
            if is_apart or at - run[-1][0] > 120 * minute:
                end = next((when for when, _ in run if last_wet < when <= last_wet + 120 * minute), None)
                inside = [(when, value) for when, value in run if when <= (end or last_wet)]
                peak = max(value for _, value in inside)
                first = next(when for when, value in inside if value == peak)
                wet = sum(value >= 10 for _, value in inside)
                events.append((num, onset, end, first, peak, wet, len(inside) + (onset < run[0][0])))
                run = []
        if not run and depth >= 10:
            is_near = before is not None and before[1] < 10 and at - before[0] <= 30 * minute
            onset = before[0] if before is not None and is_near else at
        if run or depth >= 10:
            run.append((at, depth))
        before = (at, depth)
    return events


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not there (CITYFLEET_DATA)")


@pytest.mark.data
@needs_data
def test_published_events_of_new_york_are_found_in_any_order_of_arrival(streets: StoreHandle) -> None:
    sensors = profiles()
    nums = {sensor: 100 + at for at, sensor in enumerate(sensors)}
    add_devices(
        streets,
        ({"device_num": num, "device_id": sensor.lower(), "device_type": "gauge-street", "ward_code": "00070"}
         for sensor, num in nums.items()),
    )  # fmt: skip
    readings: list[Reading] = [
        (nums[sensor], DEPTH, at, depth, 1, "00070") for sensor, depths in sensors.items() for at, depth in depths
    ]
    random.Random(3).shuffle(readings)
    # In two lots, each a random half, a window of twelve hours at a time, the newest first.
    for lot in range(2):
        part = readings[lot::2]
        add_readings(streets, part)
        for window in sorted({at // 43_200_000 * 43_200_000 for _, _, at, _, _, _ in part}, reverse=True):
            compute(streets, STEPS, window, window + 43_199_000)
    found = stored(streets, range(100, 200))
    assert found == [event for sensor, num in nums.items() for event in expected_events(num, sensors[sensor])]

    # Where the file is one published profile, from the dry reading before to the first dry one after: to the second.
    singles = 0
    for sensor, depths in sensors.items():
        is_one_profile = depths[0][1] == depths[-1][1] == 0 and all(depth > 0 for _, depth in depths[1:-1])
        if not is_one_profile or max(b[0] - a[0] for a, b in pairwise(depths)) > 1_800_000:
            continue
        peak = max(depth for _, depth in depths)
        peak_at = next(at for at, depth in depths if depth == peak)
        rows = streets.rows(
            "SELECT toUnixTimestamp64Milli(onset_ts), peak_depth_mm, onset_min, drain_min, duration_min, ended_by, n "
            "FROM ioc.street_flood_events(from = '2023-09-28 00:00:00', to = '2023-10-02 00:00:00') "
            f"WHERE device_id = '{sensor.lower()}'"
        )
        assert len(rows) == 1
        assert int(rows[0][0]) == depths[0][0]
        assert [float(value) for value in rows[0][1:5]] == pytest.approx(
            [
                peak,
                (peak_at - depths[0][0]) / 60e3,
                (depths[-1][0] - peak_at) / 60e3,
                (depths[-1][0] - depths[0][0]) / 60e3,
            ]
        )
        assert rows[0][5:] == ["dry", str(len(depths))]
        singles += 1
    assert singles >= 10


@pytest.mark.data
@needs_data
def test_minutes_above_a_depth_are_those_of_the_profile(streets: StoreHandle) -> None:
    sensors = profiles()
    depths = sorted(sensors["BK-carroll-st-4th-av-0ery00"])
    for limit in (100, 300):
        expected = sum(b[0] - a[0] for a, b in pairwise(depths) if a[1] >= limit) / 60e3
        found = streets.rows(
            f"SELECT minutes_above_{limit}mm FROM ioc.street_flood_events(from = '2023-09-28 00:00:00', "
            "to = '2023-10-02 00:00:00') WHERE device_id = 'bk-carroll-st-4th-av-0ery00'"
        )
        assert float(found[0][0]) == pytest.approx(expected)


def test_a_late_reading_joins_two_events_and_a_wrong_one_goes(streets: StoreHandle) -> None:
    start = ms(datetime(2025, 9, 30, 1, 0, tzinfo=UTC))
    minute = 60_000
    depths = {0: 0, 5: 40, 10: 60, 15: 0, 55: 0, 60: 50, 65: 70, 70: 0}

    def expected(by_minute: dict[int, int]) -> list[Event]:
        return expected_events(300, [(start + at * minute, mm) for at, mm in by_minute.items()])

    add_readings(streets, [(300, DEPTH, start + at * minute, mm, 1, "00070") for at, mm in depths.items()])
    compute(streets, STEPS, start, start + 7_200_000)
    assert stored(streets, range(300, 301)) == expected(depths)
    assert len(stored(streets, range(300, 301))) == 2
    depths[35] = 20
    add_readings(streets, [(300, DEPTH, start + 35 * minute, 20, 1, "00070")])
    compute(streets, STEPS, start + 30 * minute, start + 39 * minute)
    assert stored(streets, range(300, 301)) == expected(depths)
    assert len(stored(streets, range(300, 301))) == 1
    # The same reading again, of quality 4: the events part again.
    add_readings(streets, [(300, DEPTH, start + 35 * minute, 20, 4, "00070")], received_ms=1_900_000_001_000)
    compute(streets, STEPS, start + 30 * minute, start + 39 * minute)
    assert len(stored(streets, range(300, 301))) == 2
    # Good after all, and then a test in the store finds fault with it.
    add_readings(streets, [(300, DEPTH, start + 35 * minute, 20, 1, "00070")], received_ms=1_900_000_002_000)
    compute(streets, STEPS, start + 30 * minute, start + 39 * minute)
    assert len(stored(streets, range(300, 301))) == 1
    streets.query(
        "INSERT INTO cityfleet.quality_flags (metric_num, device_num, ts, quality, quality_reasons, ward_code, "
        f"version, is_deleted) SELECT {DEPTH}, 300, fromUnixTimestamp64Milli({start + 35 * minute}, 'UTC'), 3, 32, "
        "'00070', 1, 0",
        "admin",
    )
    compute(streets, STEPS, start + 30 * minute, start + 39 * minute)
    assert len(stored(streets, range(300, 301))) == 2


def test_what_is_looked_at_for_one_event_makes_no_other_of_the_end_of_the_one_before(streets: StoreHandle) -> None:
    start, minute = ms(datetime(2025, 6, 30, 1, 0, tzinfo=UTC)), 60_000
    depths = {0: 40, 20: 40, 24: 0, 45: 0, 52: 30, 60: 50, 100: 20, 104: 0}

    def expected() -> list[Event]:
        return expected_events(400, [(start + at * minute, mm) for at, mm in depths.items()])

    add_readings(streets, [(400, DEPTH, start + at * minute, mm, 1, "00070") for at, mm in depths.items()])
    compute(streets, STEPS, start, start + 7_200_000)
    assert stored(streets, range(400, 401)) == expected()
    assert len(expected()) == 2
    # Within two hours of the second event, but not of the first, whose last water is half an hour before the second.
    depths[160] = 0
    add_readings(streets, [(400, DEPTH, start + 160 * minute, 0, 1, "00070")])
    compute(streets, STEPS, start + 160 * minute, start + 169 * minute)
    assert stored(streets, range(400, 401)) == expected()


def test_a_gauge_that_was_carried_off_leaves_the_ward_its_water_only(streets: StoreHandle) -> None:
    now = ms(datetime.now(UTC))
    gauge = {"device_num": 311, "device_id": "st-311", "device_type": "gauge-street", "site_id": "bts-10"}
    add_devices(streets, [{**gauge, "ward_code": "00004", "latitude": 21.0, "longitude": 105.8}])
    depths = [12, 120, 340]
    add_readings(streets, [(311, DEPTH, now - (30 - 5 * at) * 60_000, mm, 1, "00025") for at, mm in enumerate(depths)])
    compute_now(streets, STEPS, now - 3_600_000)
    told = "SELECT site_id, device_id, latitude, max_depth_mm FROM ioc.street_floods_open"
    assert streets.rows(told) == [["bts-10", "st-311", "21", "340"]]
    ward = Ward(streets, "ward_00025", account(streets, "ward_00025", "00025"))
    assert ward.query(told).rstrip("\n").split("\t") == ["", "", "\\N", "340"]
    add_readings(streets, [(311, DEPTH, now - 60_000, 2, 1, "00025")])
    compute_now(streets, STEPS, now - 3_600_000)
    assert ward.query(told) == ""


def test_an_open_event_is_shown_until_the_street_is_dry(streets: StoreHandle) -> None:
    now = ms(datetime.now(UTC))
    add_devices(
        streets,
        [
            {
                "device_num": 310,
                "device_id": "st-310",
                "device_type": "gauge-street",
                "ward_code": "00025",
                "site_id": "bts-9",
            }
        ],
    )
    depths = [0, 12, 120, 340, 330, 150]
    add_readings(streets, [(310, DEPTH, now - (30 - 5 * at) * 60_000, mm, 1, "00025") for at, mm in enumerate(depths)])
    compute_now(streets, STEPS, now - 3_600_000)
    found = streets.rows(
        "SELECT site_id, ward_name, depth_mm, max_depth_mm, round(minutes_open), minutes_above_100mm, "
        "minutes_above_300mm, n FROM ioc.street_floods_open"
    )
    assert found == [["bts-9", "Giảng Võ", "150", "340", "30", "15", "10", "6"]]
    add_readings(streets, [(310, DEPTH, now - 60_000, 2, 1, "00025")])
    compute_now(streets, STEPS, now - 3_600_000)
    assert streets.rows("SELECT count() FROM ioc.street_floods_open") == [["0"]]
    day = f"from = '{datetime.now(UTC) - timedelta(days=1):%F %T}', to = '{datetime.now(UTC):%F %T}'"
    found = streets.rows(
        f"SELECT ended_by, peak_depth_mm FROM ioc.street_flood_events({day}) WHERE device_id = 'st-310'"
    )
    assert found == [["dry", "340"]]


def test_rain_of_two_hours_before_is_of_the_nearest_gauge_and_makes_the_sites_threshold(streets: StoreHandle) -> None:
    add_devices(
        streets,
        [
            {"device_num": 320, "device_id": "st-320", "device_type": "gauge-street", "ward_code": "00070",
             "latitude": 21.03, "longitude": 105.85},
            {"device_num": 321, "device_id": "rain-near", "device_type": "gauge-rain", "ward_code": "00070",
             "latitude": 21.049, "longitude": 105.851},
            {"device_num": 322, "device_id": "rain-far", "device_type": "gauge-rain", "ward_code": "00070",
             "latitude": 21.03, "longitude": 105.94},
        ],
    )  # fmt: skip
    readings: list[Reading] = []
    for day, each_mm in enumerate((3, 4, 8)):
        start = ms(datetime(2025, 8, 1 + day, 6, 0, tzinfo=UTC))
        readings += [(321, RAIN, start + 600_000 * at, each_mm, 1, "00070") for at in range(30)]
        readings += [(322, RAIN, start + 600_000 * at, 50, 1, "00070") for at in range(30)]
        flood = start + 3 * 3_600_000
        readings += [(320, DEPTH, flood + 60_000 * at, mm, 1, "00070") for at, mm in enumerate((0, 80, 90, 0))]
    add_readings(streets, readings)
    compute(streets, STEPS, ms(datetime(2025, 8, 1, tzinfo=UTC)), ms(datetime(2025, 8, 5, tzinfo=UTC)))
    month = "from = '2025-08-01 00:00:00', to = '2025-09-01 00:00:00'"
    found = streets.rows(
        "SELECT rain_2h_before_mm, rain_gauge_id, round(rain_gauge_distance_m, -2) "
        f"FROM ioc.street_flood_events({month}) ORDER BY onset_ts"
    )
    assert found == [[str(12 * mm), "rain-near", "2100"] for mm in (3, 4, 8)]
    found = streets.rows(
        "SELECT site_id, events_n, trigger_rain_p10_mm, worst_depth_mm, last_event_ts, rain_events_n "
        f"FROM ioc.street_flood_sites({month})"
    )
    assert found == [["st-320", "3", "38.4", "90", "2025-08-03 09:00:00.000", "3"]]
