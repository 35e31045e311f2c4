"""Traffic: detector 6005 and its gaps through the real store, judged as numpy does; incidents, delay, floods."""

import csv
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from store.reference_data import load_own
from tests.support.city_rollups import (
    Ask,
    Reading,
    add_devices,
    add_metrics,
    add_readings,
    add_type,
    add_wards,
    compute,
    ms,
)  # fmt: skip
from tests.support.store import StoreHandle, running_store

DATA = Path(os.environ.get("CITYFLEET_DATA", Path(__file__).parents[4] / "shared" / "data"))
SPEED, COUNT, OCCUPANCY, MOTORCYCLES, DEPTH = 61, 62, 63, 64, 65
STEPS = (
    "readings_10min", "traffic_10min", "traffic_free_flow", "traffic_typical", "traffic_state_10min", "traffic_1h",
    "street_floods", "street_flood_traffic",
)  # fmt: skip
HANOI = ZoneInfo("Asia/Ho_Chi_Minh")
TEN = 600_000
# A Tuesday, 08:00 at +07:00, four weeks after the first readings.
DAY = datetime(2026, 3, 31, 1, 0, tzinfo=UTC)
HERE = {"latitude": 21.03, "longitude": 105.85}


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("traffic")) as store:
        load_own(Ask(store))
        names = {
            "speed_km_h": SPEED,
            "vehicle_count": COUNT,
            "occupancy_pct": OCCUPANCY,
            "street_flood_depth_mm": DEPTH,
        }
        add_metrics(store, {**names, "motorcycle_count": MOTORCYCLES})
        add_type(store, 1, "traffic-counter", [SPEED, COUNT, OCCUPANCY], 300)
        add_type(store, 2, "class-counter", [COUNT, MOTORCYCLES], 300)
        add_type(store, 3, "gauge-street", [DEPTH], 60)
        add_wards(store, {"00070": "Hoàn Kiếm", "00025": "Giảng Võ"})
        yield store


def recorded(name: str) -> list[tuple[int, float]]:
    """Times in ms and values of a file, taken as local times of Hanoi; the last of equal times counts."""
    found: dict[int, float] = {}
    with (DATA / "traffic" / f"{name}_6005.csv").open(newline="", encoding="ascii") as file:
        for row in csv.DictReader(file):
            found[ms(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=HANOI))] = float(row["value"])
    return sorted(found.items())


def by_ten_minutes(values: list[tuple[int, float]]) -> dict[int, float]:
    cells: dict[int, list[float]] = {}
    for at, value in values:
        cells.setdefault(at // TEN * TEN, []).append(value)
    return {at: float(np.mean(cell)) for at, cell in cells.items()}


def los(ratio: float) -> str:
    bounds = (("A", 0.85), ("B", 0.67), ("C", 0.5), ("D", 0.4), ("E", 0.3))
    return next((name for name, low in bounds if ratio > low), "F")


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not there (CITYFLEET_DATA)")


@pytest.mark.data
@needs_data
def test_recorded_detector_is_judged_as_numpy_does_gaps_and_all(traffic: StoreHandle) -> None:
    add_devices(
        traffic,
        [{"device_num": 1, "device_id": "traffic-6005", "device_type": "traffic-counter", "ward_code": "00070"}],
    )
    speeds = [(at, round(value * 1.609344, 3)) for at, value in recorded("speed")]
    occupancy = recorded("occupancy")
    readings: list[Reading] = [(1, SPEED, at, value, 1, "00070") for at, value in speeds]
    add_readings(traffic, readings + [(1, OCCUPANCY, at, value, 1, "00070") for at, value in occupancy])
    first, last = min(speeds[0][0], occupancy[0][0]), max(speeds[-1][0], occupancy[-1][0])
    start = first // 86_400_000 * 86_400_000 - 7 * 3_600_000
    compute(traffic, STEPS[:-1], start, start + ((last - start) // 86_400_000 + 1) * 86_400_000 - 1000)
    rows = traffic.rows(
        "SELECT toUnixTimestamp(ts) * 1000, speed_km_h, occupancy, free_flow_km_h, los, speed_z "
        "FROM cityfleet.traffic_state_10min FINAL WHERE segment_id = 'traffic-6005' ORDER BY ts",
        "admin",
    )
    means, shares = by_ten_minutes(speeds), by_ten_minutes(occupancy)
    assert [int(row[0]) for row in rows] == sorted(means.keys() | shares.keys())
    judged = abnormal = 0
    for at_text, speed_text, share_text, free_text, found, z_text in rows:
        at = int(at_text)
        assert float(speed_text) == pytest.approx(means.get(at, float("nan")), nan_ok=True)
        assert float(share_text) == pytest.approx(shares.get(at, float("nan")) / 100, nan_ok=True)
        local = datetime.fromtimestamp(at / 1000, HANOI)
        midnight = ms(local.replace(hour=0, minute=0))
        # Of the newest day before that has a free flow: here the day before.
        nights = [
            value
            for when, value in means.items()
            if midnight - 28 * 86_400_000 <= when < midnight and datetime.fromtimestamp(when / 1000, HANOI).hour < 5
        ]
        if len(nights) < 12:
            assert (free_text, found) == ("nan", "")
            continue
        free = float(np.percentile(nights, 85))
        assert float(free_text) == pytest.approx(free)
        assert found == ("" if at not in means else los(means[at] / free))
        judged += 1
        hour = at // 3_600_000 * 3_600_000
        week = 7 * 86_400_000
        alike = [
            v for when, v in means.items() if when // 3_600_000 * 3_600_000 in [hour - week * k for k in range(1, 5)]
        ]
        if at in means and len(alike) >= 6:
            middle = float(np.median(alike))
            sigma = max(1.4826 * float(np.median(np.abs(np.array(alike) - middle))), 1, 0.02 * middle)
            assert float(z_text) == pytest.approx((means[at] - middle) / sigma)
            abnormal += float(z_text) <= -3
    assert judged > 1000
    period = f"from = '{text(start)}', to = '{text(last + 86_400_000)}'"
    incidents = traffic.rows(f"SELECT sum(minutes) FROM ioc.traffic_incidents({period}) WHERE metric = 'speed_km_h'")
    assert int(incidents[0][0]) == 10 * abnormal > 0


def text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def test_a_mean_over_detectors_weighs_by_their_counts_and_flows_add_up(traffic: StoreHandle) -> None:
    add_devices(
        traffic,
        ({"device_num": num, "device_id": f"lane-{num}", "device_type": kind, "ward_code": "00070",
          "labels": {"segment": "lanes"}}
         for num, kind in ((11, "traffic-counter"), (12, "traffic-counter"), (13, "class-counter"))),
    )  # fmt: skip
    at = ms(DAY)
    add_readings(
        traffic,
        [
            (11, SPEED, at, 20, 1, "00070"), (11, SPEED, at + 300_000, 20, 1, "00070"),
            (11, COUNT, at, 30, 1, "00070"), (11, COUNT, at + 300_000, 30, 1, "00070"),
            # One of the two readings is lost, and one is bad: the flow is that of the time counted in.
            (12, SPEED, at, 50, 1, "00070"), (12, COUNT, at, 20, 1, "00070"),
            (12, COUNT, at + 300_000, 900, 4, "00070"),
            (13, COUNT, at, 10, 1, "00070"), (13, MOTORCYCLES, at, 8, 1, "00070"),
        ],
    )  # fmt: skip
    compute(traffic, STEPS[:2], at, at + 599_000)
    row = traffic.rows(
        "SELECT vehicles, flow_veh_h, flow_pcu_h, speed_km_h, good_n, fail_n, expected_n "
        "FROM cityfleet.traffic_10min FINAL WHERE segment_id = 'lanes'",
        "admin",
    )[0]
    expected = (90, 360 + 240 + 120, 360 + 240 + 0.3 * 96, (20 * 60 + 50 * 20) / 80, 8, 1, 2 * 3 * 2 + 2 * 2)
    assert [float(value) for value in row] == pytest.approx(expected)


def test_water_on_the_street_shows_in_the_traffic_beside_it_and_not_farther_off(traffic: StoreHandle) -> None:
    places = {21: ("near", 21.0318), 22: ("far", 21.036)}
    add_devices(
        traffic,
        [{"device_num": num, "device_id": name, "device_type": "traffic-counter", "ward_code": "00025", "latitude": lat,
          "longitude": 105.85, "labels": {"segment": name}} for num, (name, lat) in places.items()]
        + [{"device_num": 23, "device_id": "puddle", "device_type": "gauge-street", "ward_code": "00025", **HERE}],
    )  # fmt: skip
    onset = ms(DAY)
    readings: list[Reading] = []
    for week in range(5):
        for step in range(24):
            at = onset - week * 7 * 86_400_000 + step * 300_000
            speed = 15.0 if week == 0 else 38.0 + step % 3
            for num in (21, 22):
                readings += [(num, SPEED, at, speed, 1, "00025"), (num, COUNT, at, 50, 1, "00025")]
    water = [
        (23, DEPTH, onset + minute * 60_000, 200.0 if 0 < minute < 60 else 0.0, 1, "00025") for minute in range(121)
    ]
    add_readings(traffic, readings + water)
    midnight = onset - 8 * 3_600_000
    compute(traffic, STEPS, midnight - 28 * 86_400_000, midnight + 86_400_000 - 1000)
    period = f"from = '{text(midnight)}', to = '{text(midnight + 86_400_000)}'"
    rows = traffic.rows(
        "SELECT segment_id, distance_m, speed_drop_pct, flow_drop_pct, minutes_affected, minutes_seen "
        f"FROM ioc.flood_effect_on_traffic({period})"
    )
    assert [row[0] for row in rows] == ["near"]
    distance, speed_drop, flow_drop, affected, seen = (float(value) for value in rows[0][1:])
    assert distance == pytest.approx(200, abs=2)
    assert speed_drop == pytest.approx(100 * (1 - 15 / 39), abs=1)
    assert (flow_drop, affected, seen) == (0, 120, 120)
    incidents = traffic.rows(
        "SELECT metric, minutes, value, toUnixTimestamp(start_ts) "
        f"FROM ioc.traffic_incidents({period}) WHERE segment_id = 'far'"
    )
    assert [list(row) for row in incidents] == [["speed_km_h", "120", "15", str(onset // 1000)]]


def test_now_questions_answer_the_newest_closed_ten_minutes(traffic: StoreHandle) -> None:
    now = traffic.rows("SELECT toUnixTimestamp(now('UTC'))", "admin")[0][0]
    end = int(now) * 1000 // TEN * TEN
    traffic.query(
        "INSERT INTO cityfleet.road_segments (segment_id, ward_code, length_m, lanes, free_flow_km_h, los_scheme) "
        "VALUES ('bridge', '00070', 2000, 2, 60, ''), ('ring', '00070', 1000, 2, 60, 'los_khcm2013_arterial1')",
        "admin",
    )
    add_devices(
        traffic,
        [{"device_num": num, "device_id": name, "device_type": "traffic-counter", "ward_code": "00025",
          "labels": {"segment": name}}
         for num, name in ((31, "bridge"), (32, "ring"))],
    )  # fmt: skip
    readings: list[Reading] = []
    for at in range(end - 6 * TEN, end, 300_000):
        for num, speed in ((31, 15.0), (32, 55.0)):
            readings += [(num, SPEED, at, speed, 1, "00025"), (num, COUNT, at, 40, 1, "00025")]
    add_readings(traffic, readings)
    compute(traffic, [*STEPS[:2], "traffic_state_10min", "traffic_now"], end - 6 * TEN, end - 1000)
    hour = (end - 6 * TEN) // 3_600_000 * 3_600_000
    compute(traffic, ["traffic_1h"], hour, hour + 2 * 3_600_000 - 1000)
    rows = traffic.rows(
        "SELECT segment_id, ward_code, ratio, los, flow_veh_h FROM ioc.congestion_now ORDER BY segment_id"
    )
    assert [list(row) for row in rows] == [
        ["bridge", "00070", "0.25", "F", "480"],
        ["ring", "00070", str(55 / 60), "B", "480"],
    ]
    worst = traffic.rows(
        "SELECT rank, segment_id, delay_veh_h, minutes_at_EF FROM ioc.worst_segments_last_hour ORDER BY rank"
    )
    assert [(row[0], row[1], row[3]) for row in worst] == [("1", "bridge", "60"), ("2", "ring", "0")]
    assert float(worst[0][2]) == pytest.approx(480 * (2 / 15 - 2 / 60))
    period = f"from = '{text(hour)}', to = '{text(hour + 2 * 3_600_000)}'"
    network = traffic.rows(
        f"SELECT segments_n, share_ab FROM ioc.network_los_by_hour({period}) WHERE ward_code = '00070'"
    )
    assert network
    assert all((row[0], row[1]) == ("2", "0.5") for row in network)
