"""Levels of rivers: the bulletins' cases, periods with hysteresis in any order of arrival, wards, the forecast."""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

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
    from_text,
    ms,
)  # fmt: skip
from tests.support.store import StoreHandle, running_store

LEVEL = 41
GAUGE_STEPS = ("readings_10min", "alarm_gauges", "alarm_levels", "alarm_periods", "river_now", "ward_alarms_now")
# Station, level of the bulletin, alarm level, metres above its threshold (below the next one, where at none).
BULLETINS = [
    ("long-bien", 9.62, 1, 0.12, 10.5),  # 13:00 on 2024-09-10
    ("long-bien", 10.39, 1, 0.89, 10.5),
    ("thuong-cat", 9.94, 1, 0.94, 10.0),
    ("ba-tha", 4.37, 0, None, 5.5),  # I - 1.13
    ("ba-tha", 5.62, 1, 0.12, 6.5),
    ("an-canh", 7.23, 1, 0.03, 8.2),
    ("vinh-phuc", 7.28, 2, 0.08, 8.0),  # level I of the Tích is not known
    ("vinh-phuc", 7.64, 2, 0.44, 8.0),  # III - 0.36
    ("yen-duyet", 6.0, 1, 0.0, 6.5),
    ("yen-duyet", 6.59, 2, 0.09, None),  # level III of the Bùi is not known
    ("luong-phuc", 5.92, 0, None, 6.0),
    ("manh-tan", 8.0, 3, 0.0, None),
    ("manh-tan", 5.85, 0, None, 6.0),
]
# For the tests of time: a gauge each.
TREMBLING, LATE, RISING, BROKEN = 101, 102, 103, 104


@pytest.fixture(scope="module")
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def rivers(tmp_path_factory: pytest.TempPathFactory, now: datetime) -> Iterator[StoreHandle]:
    """A gauge for each case with its level of five minutes ago, all of quality 1."""
    with running_store(tmp_path_factory.mktemp("rivers")) as store:
        add_metrics(store, {"water_level_m": LEVEL})
        add_type(store, 1, "gauge-river", [LEVEL], 300)
        add_wards(store, {"00070": "Hoàn Kiếm", "10030": "Phú Nghĩa", "10045": "Xuân Mai", "09982": "Hạ Bằng"})
        stations = {at + 1: case[0] for at, case in enumerate(BULLETINS)}
        stations |= {TREMBLING: "long-bien", LATE: "long-bien", RISING: "son-tay", BROKEN: "trung-ha"}
        add_devices(
            store,
            (
                {
                    "device_num": num, "device_id": f"wl-{num}", "device_type": "gauge-river", "ward_code": "00070",
                    "labels": {"station": station},
                }
                for num, station in stations.items()
            ),
        )  # fmt: skip
        at = ms(now - timedelta(minutes=5))
        readings: list[Reading] = [(num + 1, LEVEL, at, case[1], 1, "00070") for num, case in enumerate(BULLETINS)]
        # A metre in ten hours, read every ten minutes, 0.32 m below the first level of Sơn Tây now.
        readings += [
            (RISING, LEVEL, ms(now - timedelta(minutes=10 * back)), 12.08 - back / 60, 1, "00070") for back in range(24)
        ]
        # Its newest reading failed a test: the level is the one before.
        readings += [(BROKEN, LEVEL, at - 600_000, 14.2, 1, "00070"), (BROKEN, LEVEL, at, 88.0, 4, "00070")]
        add_readings(store, readings)
        compute_now(store, GAUGE_STEPS, ms(now - timedelta(hours=5)))
        yield store


@pytest.mark.parametrize("case", range(len(BULLETINS)))
def test_a_bulletins_level_has_the_bulletins_alarm_level(rivers: StoreHandle, case: int) -> None:
    _, level_m, alarm, above_m, next_m = BULLETINS[case]
    found = rivers.rows(
        "SELECT level_m, bd_level, above_threshold_m, next_threshold_m, gap_to_next_m, qc_flag, n "
        f"FROM ioc.river_levels_now WHERE gauge_id = 'wl-{case + 1}' FORMAT TSV"
    )
    assert len(found) == 1
    level, bd_level, above, threshold, gap, flag, n = found[0]
    assert (float(level), int(bd_level)) == (level_m, alarm)
    assert above == "\\N" if above_m is None else float(above) == pytest.approx(above_m, abs=1e-9)
    assert threshold == "\\N" if next_m is None else float(threshold) == next_m
    assert gap == "\\N" if next_m is None else float(gap) == pytest.approx(next_m - level_m, abs=1e-9)
    assert (flag, n) == ("1", "1")


def test_a_level_of_decision_05_names_its_source(rivers: StoreHandle) -> None:
    found = rivers.rows(
        "SELECT DISTINCT method, threshold_source LIKE '%05/2020%', ward_name FROM ioc.river_levels_now "
        "WHERE gauge_id = 'wl-1'"
    )
    assert found == [["bao_dong/QD05-2020 v1", "1", "Hoàn Kiếm"]]


def test_a_failed_reading_is_told_and_not_used(rivers: StoreHandle) -> None:
    found = rivers.rows(
        f"SELECT level_m, bd_level, qc_flag, quality.good, quality.fail FROM ioc.river_levels_now "
        f"WHERE gauge_id = 'wl-{BROKEN}'"
    )
    assert found == [["14.2", "0", "4", "1", "1"]]


def test_the_forecast_of_a_straight_rise_is_exact(rivers: StoreHandle, now: datetime) -> None:
    found = rivers.rows(
        "SELECT round(slope_m_per_h, 6), next_level, eta_ts, eta_low, eta_high, n_points FROM ioc.river_forecast "
        f"WHERE gauge_id = 'wl-{RISING}'"
    )
    slope, level, eta, low, high, points = found[0]
    assert (float(slope), level) == (0.1, "1")
    expected = ms(now) + round((12.4 - 12.08) / 0.1 * 3_600_000)
    for moment in (eta, low, high):
        assert abs(from_text(moment) - expected) < 60_000
    assert 17 <= int(points) <= 19


def test_a_gauge_that_does_not_rise_has_no_forecast(rivers: StoreHandle) -> None:
    assert rivers.rows("SELECT eta_ts, eta_low, eta_high FROM ioc.river_forecast WHERE gauge_id = 'wl-1'") == [
        ["\\N", "\\N", "\\N"]
    ]


PERIODS = (
    "SELECT level, toUnixTimestamp64Milli(since_ts), toUnixTimestamp64Milli(until_ts), peak_m, good_n "
    "FROM cityfleet.alarm_periods FINAL WHERE device_num = {num} ORDER BY level, since_ts"
)


def test_a_level_that_trembles_about_its_threshold_is_one_period(rivers: StoreHandle, now: datetime) -> None:
    start = ms(now - timedelta(days=3)) // 600_000 * 600_000
    levels = [9.3, 9.49, 9.5, 9.45, 9.52, 9.41, 9.6, 9.4, 9.39, 9.45, 9.2, 9.5, 9.1]
    add_readings(
        rivers, [(TREMBLING, LEVEL, start + 300_000 * at, level, 1, "00070") for at, level in enumerate(levels)]
    )
    compute(rivers, GAUGE_STEPS, start, start + 7_200_000)
    # On at 9.5, off below 9.4 (9.39): a reading of 9.4 is still within the margin.
    expected = [["1", str(start + 600_000), str(start + 2_400_000), "9.6", "6"]]
    expected.append(["1", str(start + 3_300_000), str(start + 3_600_000), "9.5", "1"])
    assert rivers.rows(PERIODS.format(num=TREMBLING), "admin") == expected


def test_readings_in_any_order_and_a_day_late_give_the_same_periods(rivers: StoreHandle, now: datetime) -> None:
    start = ms(now - timedelta(days=6)) // 600_000 * 600_000
    chance = random.Random(7)
    readings = list[Reading]()
    for at in range(288):
        level = 9.7 + 1.0 * math.sin(at / 12) + chance.uniform(-0.2, 0.2)
        readings.append((LATE, LEVEL, start + 600_000 * at, round(level, 2), 1, "00070"))
    expected = _periods([(at, value) for _, _, at, value, _, _ in readings], {1: 9.5, 2: 10.5, 3: 11.5})
    assert len(expected) > 6
    chance.shuffle(readings)
    for first in range(0, len(readings), 96):
        part = readings[first : first + 96]
        add_readings(rivers, part)
        windows = sorted({at // 43_200_000 * 43_200_000 for _, _, at, _, _, _ in part}, reverse=True)
        for window in windows:
            compute(rivers, ("readings_10min", "alarm_periods"), window, window + 43_199_000)
    found = [
        (int(bd), int(since), None if until == "\\N" else int(until), float(peak), int(n))
        for bd, since, until, peak, n in rivers.rows(PERIODS.format(num=LATE), "admin")
    ]
    assert found == expected


def test_an_alarm_is_of_the_wards_that_orders_name(rivers: StoreHandle) -> None:
    found = rivers.rows(
        "SELECT ward_code, gauge_id, bd_level, declared, measured_level FROM ioc.ward_alarms_now WHERE river = 'Bùi' "
        "ORDER BY ward_code"
    )
    assert [row[0] for row in found] == ["10030", "10045", "10072", "10081", "10096", "10459"]
    assert {tuple(row[1:]) for row in found} == {("wl-10", "2", "false", "2")}
    # Phú Nghĩa is named for two rivers.
    found = rivers.rows("SELECT river, bd_level FROM ioc.ward_alarms_now WHERE ward_name = 'Phú Nghĩa' ORDER BY river")
    assert found == [["Bùi", "2"], ["Tích", "2"]]
    # The ward that the gauges stand in is not warned by any of these rivers.
    assert rivers.rows("SELECT count() FROM ioc.ward_alarms_now WHERE ward_code = '00070'") == [["0"]]


def test_an_alarm_follows_the_gauge_that_is_highest_until_none_is(rivers: StoreHandle) -> None:
    alarms = "SELECT DISTINCT gauge_id, bd_level, n FROM ioc.ward_alarms_now WHERE river = 'Bùi'"
    moment = datetime.now(UTC) - timedelta(minutes=2)
    for num, left in ((10, [["wl-9", "1", "1"]]), (9, [])):
        add_readings(rivers, [(num, LEVEL, ms(moment), 5.0, 1, "00070")])
        compute_now(rivers, GAUGE_STEPS, ms(moment - timedelta(hours=1)))
        assert rivers.rows(alarms) == left


def test_a_gauge_that_is_gone_is_no_longer_listed(rivers: StoreHandle, now: datetime) -> None:
    listed = f"SELECT count() FROM ioc.river_levels_now WHERE gauge_id = 'wl-{BROKEN}'"
    assert rivers.rows(listed) == [["1"]]
    add_devices(
        rivers,
        [{"device_num": BROKEN, "device_id": f"wl-{BROKEN}", "device_type": "gauge-river", "state": "deleted",
          "version": 2}],
    )  # fmt: skip
    compute_now(rivers, ("alarm_gauges", "river_now"))
    assert rivers.rows(listed) == [["0"]]


def test_nor_is_the_last_one(rivers: StoreHandle, now: datetime) -> None:
    columns = "device_num, device_id, device_type, state, version"
    rivers.query(
        f"INSERT INTO cityfleet.devices ({columns}) "
        "SELECT device_num, device_id, device_type, 'deleted', 3 FROM cityfleet.devices FINAL",
        "admin",
    )
    compute_now(rivers, ("alarm_gauges", "river_now"))
    assert rivers.rows("SELECT gauge_id FROM ioc.river_levels_now") == []
    assert rivers.rows("SELECT gauge_id FROM ioc.river_forecast") == []


def _periods(
    levels: list[tuple[int, float]], thresholds: dict[int, float]
) -> list[tuple[int, int, int | None, float, int]]:
    """The rule, once more: on from the threshold, off 0.10 m below it."""
    found = []
    for bd_level, threshold in thresholds.items():
        since: int | None = None
        inside: list[float] = []
        for at, level in sorted(levels):
            if since is None and level >= threshold:
                since, inside = at, []
            if since is not None and level < threshold - 0.1:
                found.append((bd_level, since, at, max(inside), len(inside)))
                since = None
            inside.append(level)
        if since is not None:
            found.append((bd_level, since, None, max(inside), len(inside)))
    return found
