"""The simulated city: the same seed gives the same city, and the city behaves like one."""

from collections import Counter
from datetime import UTC, datetime
from statistics import mean
from zoneinfo import ZoneInfo

import pytest

from loadtest.fleet.behaviour import City, demand_share
from loadtest.fleet.devices import AIR, GATEWAY, METRICS, RAIN, RIVER, STREET, TRAFFIC, CityDevice, fleet
from loadtest.fleet.faults import BadHabit, Faults, bad_message
from loadtest.fleet.places import wards
from loadtest.fleet.weather import HOUR_MS, is_weekend, local_hour

SEED = 7
HANOI = ZoneInfo("Asia/Ho_Chi_Minh")
ANCHOR_MS = int(datetime(2026, 9, 30, 18, 0, tzinfo=HANOI).timestamp() * 1000)  # a Wednesday


@pytest.fixture(scope="module")
def devices() -> list[CityDevice]:
    return fleet(SEED, 1000)


@pytest.fixture(scope="module")
def city() -> City:
    return City(SEED, ANCHOR_MS)


def of(devices: list[CityDevice], kind: str) -> list[CityDevice]:
    return [device for device in devices if device.device_type == kind]


def values(city: City, devices: list[CityDevice], metric: str, hours: float, interval_s: int = 600) -> list[float]:
    at = METRICS[devices[0].device_type].index(metric)
    return [city.measure(device, ANCHOR_MS + int(hours * HOUR_MS), interval_s)[at] for device in devices]


def test_the_fleet_has_every_type_in_every_part_of_the_city(devices: list[CityDevice]) -> None:
    assert len({device.device_id for device in devices}) == len(devices) == 1000
    assert {device.spot.ward_code for device in devices} == {spot.ward_code for spot in wards()}
    assert set(Counter(device.device_type for device in devices)) == set(METRICS)


@pytest.mark.parametrize("count", [20, 60, 300, 999, 2500])
def test_a_fleet_of_any_size_is_exact_and_every_gateway_exists_before_those_behind_it(count: int) -> None:
    devices = fleet(SEED, count)
    assert len({device.device_id for device in devices}) == count
    seen: set[str] = {""}
    for device in devices:
        assert device.gateway in seen
        if device.device_type == GATEWAY:
            seen.add(device.device_id)


def test_device_ids_keep_to_the_rule(devices: list[CityDevice]) -> None:
    for device in devices:
        assert len(device.device_id) <= 63
        assert device.device_id.replace("-", "").isalnum()
        assert device.device_id == device.device_id.lower()
        assert device.device_id.isascii()


def test_the_same_seed_is_the_same_city_in_any_order(devices: list[CityDevice]) -> None:
    some = devices[::37]
    moments = [ANCHOR_MS + hours * HOUR_MS for hours in range(-20, 4, 3)]
    forward = {(d.device_id, t): City(SEED, ANCHOR_MS).measure(d, t, 600) for d in some for t in moments}
    again = City(SEED, ANCHOR_MS)
    for device in reversed(fleet(SEED, 1000)[::37]):
        for moment in reversed(moments):
            assert again.measure(device, moment, 600) == forward[device.device_id, moment]


def test_another_seed_is_another_city(devices: list[CityDevice], city: City) -> None:
    other = City(SEED + 1, ANCHOR_MS)
    assert any(city.measure(d, ANCHOR_MS, 600) != other.measure(d, ANCHOR_MS, 600) for d in of(devices, AIR)[:3])


def test_every_value_is_one_that_the_sensor_could_measure(devices: list[CityDevice], city: City) -> None:
    ranges = {
        "water_level_m": (0, 20),
        "street_flood_depth_mm": (0, 1200),
        "rain_mm": (0, 40),
        "pm2_5_ug_m3": (1, 500),
        "pm10_ug_m3": (1, 800),
        "vehicle_count": (0, 1500),
        "speed_km_h": (2, 70),
        "occupancy_pct": (0, 100),
        "temperature_cel": (5, 50),
        "humidity_pct": (30, 100),
        "battery_pct": (0, 100),
        "rssi_dbm": (-120, -40),
    }
    for device in devices[::3]:
        for hours in (-23.0, -13.0, -4.5, -1.0, -0.4, 0.0, 1.5):
            measured = city.measure(device, ANCHOR_MS + int(hours * HOUR_MS), 600)
            for metric, value in zip(METRICS[device.device_type], measured, strict=True):
                low, high = ranges[metric]
                assert low <= value <= high, (device.device_id, metric, hours, value)


def test_the_front_comes_from_the_north_west_and_reaches_every_ward(devices: list[CityDevice], city: City) -> None:
    gauges = of(devices, RAIN)
    north_west = min(gauges, key=lambda device: device.x_km - device.y_km)
    south_east = max(gauges, key=lambda device: device.x_km - device.y_km)
    weather = city.weather
    assert weather.arrival_ms(north_west.x_km, north_west.y_km) < weather.arrival_ms(south_east.x_km, south_east.y_km)
    for device in gauges:
        fallen = weather.rain_over_mm(device.x_km, device.y_km, ANCHOR_MS - 6 * HOUR_MS, ANCHOR_MS + 6 * HOUR_MS)
        assert 5 < fallen < 160, device.device_id
    assert max(values(city, gauges, "rain_mm", -8)) == 0


def test_rain_amounts_add_up_over_intervals(devices: list[CityDevice], city: City) -> None:
    device = of(devices, RAIN)[60]
    whole = city.weather.rain_over_mm(device.x_km, device.y_km, ANCHOR_MS - 2 * HOUR_MS, ANCHOR_MS)
    parts = [
        city.weather.rain_over_mm(device.x_km, device.y_km, ANCHOR_MS - step * 60_000, ANCHOR_MS - (step - 10) * 60_000)
        for step in range(10, 130, 10)
    ]
    assert sum(parts) == pytest.approx(whole, rel=0.05)


def test_some_streets_flood_and_drain_again(devices: list[CityDevice], city: City) -> None:
    gauges = of(devices, STREET)
    before, now, later = (values(city, gauges, "street_flood_depth_mm", hours) for hours in (-6, 0, 8))
    assert max(before) == 0
    assert 3 <= sum(depth >= 100 for depth in now) <= len(gauges) // 3
    assert max(now) >= 200
    assert max(later) < 30


def test_rivers_rise_and_some_pass_an_alarm_level(devices: list[CityDevice], city: City) -> None:
    stations = [device for device in of(devices, RIVER) if device.gauge and device.gauge.alarms_m[0]]
    rise = [
        now - before
        for now, before in zip(
            values(city, stations, "water_level_m", 0), values(city, stations, "water_level_m", -20), strict=True
        )
    ]
    assert min(rise) > 0.3
    above = [
        device.device_id
        for device, level in zip(stations, values(city, stations, "water_level_m", 2), strict=True)
        if device.gauge and device.gauge.alarms_m[0] and level > device.gauge.alarms_m[0]
    ]
    assert above


def test_last_night_was_smoggy_and_the_rain_washed_it_out(devices: list[CityDevice], city: City) -> None:
    monitors = of(devices, AIR)
    night = mean(values(city, monitors, "pm2_5_ug_m3", -13))  # 05:00
    noon = mean(values(city, monitors, "pm2_5_ug_m3", -5))
    after = mean(values(city, monitors, "pm2_5_ug_m3", 0.5))
    assert night > 2.5 * noon > 2.5 * after
    for fine, coarse in zip(
        values(city, monitors, "pm2_5_ug_m3", -5), values(city, monitors, "pm10_ug_m3", -5), strict=True
    ):
        assert coarse > fine


def test_rush_hours_are_slow_and_nights_are_free(devices: list[CityDevice], city: City) -> None:
    counters = of(devices, TRAFFIC)
    night, morning = (mean(values(city, counters, "speed_km_h", hours)) for hours in (-15, -10))  # 03:00, 08:00
    assert morning < 0.7 * night
    flow_night, flow_morning = (mean(values(city, counters, "vehicle_count", hours)) for hours in (-15, -10))
    assert flow_morning > 3 * flow_night
    assert mean(values(city, counters, "occupancy_pct", -10)) > 2 * mean(values(city, counters, "occupancy_pct", -15))


def test_weekends_have_no_rush_hour() -> None:
    saturday = int(datetime(2026, 10, 3, 7, 45, tzinfo=HANOI).timestamp() * 1000)
    assert is_weekend(saturday)
    assert not is_weekend(ANCHOR_MS)
    assert demand_share(saturday) < 0.5 * demand_share(saturday - 24 * HOUR_MS)


def test_local_hour_is_hanoi_s() -> None:
    assert local_hour(ANCHOR_MS) == 18.0
    assert datetime.fromtimestamp(ANCHOR_MS / 1000, UTC).hour == 11


def test_faults_are_few_and_the_same_each_time(devices: list[CityDevice]) -> None:
    faults = Faults.of(SEED, devices, ANCHOR_MS)
    assert faults == Faults.of(SEED, fleet(SEED, 1000), ANCHOR_MS)
    assert 10 <= len(faults.silent_since_ms) <= 30
    assert all(since < ANCHOR_MS for since in faults.silent_since_ms.values())
    assert Counter(faults.habits.values()) == dict.fromkeys(BadHabit, 2)
    assert not faults.habits.keys() & faults.silent_since_ms.keys()


def test_a_silent_gateway_silences_those_behind_it(devices: list[CityDevice]) -> None:
    faults = Faults.of(SEED, devices, ANCHOR_MS)
    (lost,) = (d.device_id for d in of(devices, GATEWAY) if d.device_id in faults.silent_since_ms)
    behind = [device.device_id for device in devices if device.gateway == lost]
    assert behind
    assert set(behind) <= faults.silent_since_ms.keys()


def test_bad_messages_are_bad_in_their_way(devices: list[CityDevice]) -> None:
    device = of(devices, TRAFFIC)[0]
    broken = bad_message(device, BadHabit.BROKEN_JSON, ANCHOR_MS, ANCHOR_MS)
    assert not broken.payload.endswith(b"]")
    assert "rain_mm" not in METRICS[TRAFFIC]
    assert b"rain_mm" in bad_message(device, BadHabit.WRONG_METRIC, ANCHOR_MS, ANCHOR_MS).payload
    assert bad_message(device, BadHabit.NEVER_SET_CLOCK, ANCHOR_MS, ANCHOR_MS - 5000).readings == 2
