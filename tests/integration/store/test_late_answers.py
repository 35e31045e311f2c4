"""Whatever the order and delay of the readings, the runner's own windows make of them what one look at all makes."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from store.rollup import ledger, step
from store.rollup.runner import Runner
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

LEVEL, DEPTH, RAIN, SPEED, COUNT, OCCUPANCY, PM, BATTERY = range(71, 79)
NAMES = {
    "water_level_m": LEVEL, "street_flood_depth_mm": DEPTH, "rain_mm": RAIN, "speed_km_h": SPEED,
    "vehicle_count": COUNT, "occupancy_pct": OCCUPANCY, "pm2_5_ug_m3": PM, "battery_pct": BATTERY,
}  # fmt: skip
WARDS = {"00070": "Hoàn Kiếm", "00004": "Ba Đình"}
# A Monday, midnight of Hanoi. What is computed costs by windows, so the ten minutes are few.
BEGIN = ms(datetime(2025, 11, 30, 17, 0, tzinfo=UTC))
DAY, TEN = 86_400_000, 600_000
GAP = '{"gap_s":{"suspect":5400,"fail":9000}}'
# What is true of this minute alone: of windows of the past these steps say nothing.
OF_NOW = {
    "readings_today", "rain_now", "river_now", "ward_rain", "traffic_now", "fleet_now", "congested", "troubled_devices",
    "open_alarms",
    "vn_aqi_now", "ward_vn_aqi_now", "ward_alarms_now", "street_floods_now", "open_alarms_now",
}  # fmt: skip
STEPS = [one for one in step.load() if one.name not in OF_NOW]
TARGETS = sorted({one.target for one in STEPS})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("late")) as running:
        add_metrics(running, NAMES)
        add_type(running, 1, "post", sorted(NAMES.values()), 600)
        # The first reading after a gap is suspect, until the late ones have filled it.
        tests = f"arrayMap(m -> if(m = {PM}, '{GAP}', ''), metric_nums) AS metric_tests"
        running.query(
            f"INSERT INTO cityfleet.device_types SELECT * REPLACE ({tests}, 2 AS version) FROM cityfleet.device_types",
            "admin",
        )
        add_type(running, 2, "gateway", [], 600)
        add_wards(running, WARDS)
        posts = [
            {"device_num": num, "device_id": f"post-{num}", "device_type": "post", "ward_code": ward,
             "site_id": f"s-{num}", "gateway_id": "gw", "latitude": 21.03, "longitude": 105.85,
             "expected_interval_s": 600,
             "labels": {"station": "long-bien"} if num == 1 else {}, "create_time": "2025-11-01 00:00:00"}
            for num, ward in ((1, "00070"), (2, "00004"))
        ]  # fmt: skip
        gateway = {"device_num": 9, "device_id": "gw", "device_type": "gateway", "ward_code": "00070"}
        add_devices(running, [*posts, {**gateway, "create_time": "2025-11-01 00:00:00"}])
        yield running


def times() -> Iterator[tuple[int, int]]:
    """Day and ten minutes of it: from before midnight to three, then one an hour; and the first two a week later."""
    yield from ((0, slot) for slot in (*range(-3, 18), *range(18, 108, 6)))
    yield from ((7, slot) for slot in range(12))


def readings() -> list[Reading]:
    """Of two posts; binary fractions, whose sums do not depend on their order."""
    chance = random.Random(3)
    found: list[Reading] = []
    for day, slot in times():
        at = BEGIN + day * DAY + slot * TEN + 60_000
        wave = abs(72 - slot) / 16  # 4.5 at midnight, 0 at noon
        for device, ward in ((1, "00070"), (2, "00004")):
            values = {
                LEVEL: 8.5 + wave, DEPTH: max(0.0, wave - 2) * 64, RAIN: wave if day < 7 else 0.0,
                SPEED: 60 - 8 * wave if day < 7 else 12, COUNT: 16 + slot % 4, OCCUPANCY: 12.5, PM: 32 + 16 * wave,
                BATTERY: 50 - day,
            }  # fmt: skip
            for metric, value in values.items():
                # The day's index of the air wants 18 hours.
                if metric == PM or chance.random() > 0.05:
                    quality = 1 if metric == PM else chance.choice((1,) * 10 + (3, 4))
                    found.append((device, metric, at, float(value), quality, ward))
    return found


def answers(store: StoreHandle) -> dict[str, list[list[str]]]:
    """All that the tables say. A flag that was taken back says what the reading says itself."""
    found = {}
    for name in TARGETS:
        where = "WHERE quality_reasons != 0" if name == "cityfleet.quality_flags" else ""
        rows = store.rows(f"SELECT * EXCEPT (version, is_deleted) FROM {name} FINAL {where} ORDER BY ALL", "admin")
        found[name] = [[_plain(value) for value in row] for row in rows]
    return found


def _plain(value: str) -> str:
    """Without the last digits of a quotient."""
    try:
        return value if value.isdigit() else f"{float(value):.9g}"
    except ValueError:
        return value


def clear(store: StoreHandle) -> None:
    for name in (*TARGETS, "cityfleet.readings", "cityfleet.rollup_changes", "cityfleet.rollup_done"):
        store.query(f"TRUNCATE TABLE {name}", "admin")


@pytest.mark.timeout(400)
def test_random_order_and_a_days_delay_change_no_answer(store: StoreHandle) -> None:
    rows = readings()
    received = BEGIN + 30 * DAY
    add_readings(store, rows, received)
    # Days of traffic say something of the four weeks after them.
    compute(store, [one.name for one in STEPS], BEGIN - DAY, BEGIN + 36 * DAY - 1000)
    expected = answers(store)
    clear(store)
    # Half comes in time; the rest, and a part of that again, when all of before is computed.
    random.Random(5).shuffle(rows)
    runner = Runner(Ask(store), STEPS, grace_s=0, settle_s=0)
    for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :] + rows[:200]):
        add_readings(store, part, received)
        while runner.run().cells:
            pass
    found = answers(store)
    # What has no row would prove nothing.
    assert [name for name, answer in expected.items() if not answer] == []
    assert {row[5] for row in expected["cityfleet.vn_aqi_1d"]} - {"\\N"}
    assert [name for name in TARGETS if found[name] != expected[name]] == []


def test_a_night_that_comes_a_day_late_puts_free_flow_right(store: StoreHandle) -> None:
    clear(store)
    steps = [one for one in STEPS if one.name.startswith(("readings_", "traffic_"))]
    runner = Runner(Ask(store), steps, grace_s=0, settle_s=0)

    def add(device: int, day: int, slots: range, speed: float) -> None:
        times = (BEGIN + day * DAY + slot * TEN for slot in slots)
        add_readings(store, ((device, SPEED, at, speed, 1, "00070") for at in times), BEGIN + 30 * DAY)
        while runner.run().cells:
            pass

    def judged() -> list[list[str]]:
        return store.rows(
            "SELECT segment_id, free_flow_km_h, free_flow_by, los, los_level FROM cityfleet.traffic_state_10min FINAL "
            f"WHERE ts >= fromUnixTimestamp64Milli({BEGIN + DAY}) AND toHour(ts, 'Asia/Ho_Chi_Minh') = 8 "
            "ORDER BY segment_id, ts",
            "admin",
        )

    add(1, -1, range(18), 40.0)
    add(2, 1, range(48, 54), 30.0)
    add(1, 1, range(48, 54), 30.0)
    nothing = ["s-2", "nan", "", "", "0"]
    assert judged() == [["s-1", "40", "nights", "B", "2"]] * 6 + [nothing] * 6
    # The night before that day comes when the day is over; that of segment 1 changes what was known.
    add(1, 0, range(18), 64.0)
    add(2, 0, range(18), 80.0)
    found = judged()
    assert found == [["s-1", "64", "nights", "D", "4"]] * 6 + [["s-2", "80", "nights", "E", "5"]] * 6
    hours = "SELECT segment_id, judged_n, ab_n, ef_n FROM cityfleet.traffic_1h FINAL WHERE judged_n > 0 ORDER BY ALL"
    follows = store.rows(hours, "admin")
    assert ["s-2", "6", "0", "6"] in follows
    # A look at all of it says the same.
    compute(store, [one.name for one in steps], BEGIN - DAY, BEGIN + 36 * DAY - 1000)
    assert judged() == found
    assert store.rows(hours, "admin") == follows
    # Readings of the night that were not: what they said goes with them, also from what was judged by them.
    store.query(
        f"ALTER TABLE cityfleet.readings DELETE WHERE device_num = 2 AND ts < "
        f"fromUnixTimestamp64Milli({BEGIN + DAY}) SETTINGS mutations_sync = 2",
        "admin",
    )
    ledger.note_span(Ask(store), steps[0], (BEGIN - DAY) // 1000, (BEGIN + 2 * DAY) // 1000, steps)
    while runner.run().cells:
        pass
    assert judged() == [["s-1", "64", "nights", "D", "4"]] * 6 + [nothing] * 6
