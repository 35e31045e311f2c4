"""What the filled city measures: its kinds of devices, how many of 1,000, how often, and each value as an expression.

The expressions are SQL over `d` (number of the device), `t` (Unix seconds), `hour` (of the day in Hanoi, with its
fraction), `rush` (0 to about 1, twice a day) and `u` (0 to 1, by device, metric and time): always the same reading.
"""

import math
from dataclasses import dataclass

_PI = math.pi
# Storms come for two hours over some wards, street floods after them for three over some streets.
_STORM = "cityHash64(intDiv(t, 7200), d % 126 % 16) % 12 = 0"
_FLOOD = "cityHash64(intDiv(t, 10800), d, 'flood') % 200 = 0"


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric of a kind. `interval_s` 0: the kind's. `low`, `high`: its gross range."""

    metric: str
    unit: str
    value: str
    low: float
    high: float
    interval_s: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """`share`: of a thousand devices. `long`: few devices, whose readings go back a month whatever the rest do."""

    device_type: str
    prefix: str
    share: int
    interval_s: int
    measured: tuple[Measured, ...]
    long: bool = False


def _battery(interval_s: int = 3600) -> Measured:
    return Measured("battery_pct", "%", "round(100 - (t / 86400 + d) % 85)", 0, 100, interval_s)


def _air(metric: str, usual: float, low: float, high: float) -> Measured:
    value = f"round({usual} * (0.6 + 0.5 * rush + 0.4 * sin(t / 200000 + d % 126) + 0.5 * u), 1)"
    return Measured(metric, "ug/m3", value, low, high)


_TEMPERATURE = Measured("temperature_cel", "Cel", f"round(26 + 5 * sin((hour - 9) / 12 * {_PI}) + u, 1)", -20, 60)
_HUMIDITY = Measured("humidity_pct", "%", f"round(75 - 15 * sin((hour - 9) / 12 * {_PI}) + 5 * u, 1)", 0, 100)

KINDS = (
    Kind(
        "gateway-bts", "gw", 120, 60,
        (
            Measured("battery_pct", "%", "round(90 + 10 * u)", 0, 100),
            Measured("temperature_cel", "Cel", "round(35 + 8 * u, 1)", -20, 85),
            Measured("rssi_dbm", "dBm", "round(-95 + d % 30 + 6 * u)", -150, 0),
        ),
    ),
    Kind(
        "gauge-river", "wl", 10, 300,
        (
            Measured(
                "water_level_m", "m",
                f"round(3 + 7 * pow(greatest(0, sin(t / 777600 * 2 * {_PI} + d)), 2) + 0.01 * u, 3)", -5, 20,
            ),
            _battery(),
        ),
        long=True,
    ),
    Kind(
        "air-station", "as", 1, 300,
        (
            _air("pm2_5_ug_m3", 45, -10, 2000), _air("pm10_ug_m3", 80, -10, 5000), _air("tsp_ug_m3", 130, -10, 10000),
            _air("so2_ug_m3", 15, -20, 10000), _air("no2_ug_m3", 35, -20, 10000), _air("o3_ug_m3", 60, -20, 3000),
            _air("co_ug_m3", 900, -500, 300000), _TEMPERATURE, _HUMIDITY,
            Measured("wind_m_s", "m/s", "round(4 * u, 1)", 0, 75),
        ),
        long=True,
    ),
    Kind(
        "gauge-rain", "rain", 120, 60,
        (Measured("rain_mm", "mm", f"if({_STORM}, round(u * 2, 1), 0.)", 0, 100), _battery()),
    ),
    Kind(
        "gauge-street", "st", 300, 60,
        (
            Measured(
                "street_flood_depth_mm", "mm",
                f"round(if({_FLOOD}, 20 + 400 * sin(t % 10800 / 10800 * {_PI}), 6 * u - 3))", -50, 3000,
            ),
            _battery(),
        ),
    ),
    Kind(
        "air-monitor", "air", 149, 300,
        (_air("pm2_5_ug_m3", 45, -10, 2000), _air("pm10_ug_m3", 80, -10, 5000), _TEMPERATURE, _HUMIDITY),
    ),
    Kind(
        "traffic-counter", "tc", 300, 60,
        (
            Measured("vehicle_count", "1", "round(3 + 25 * rush + 10 * u)", 0, 1000),
            Measured("speed_km_h", "km/h", "round(48 - 30 * rush * (d % 10) / 9 - 6 * u, 1)", 0, 200),
            Measured("occupancy_pct", "%", "round(4 + 40 * rush * (d % 10) / 9 + 4 * u, 1)", 0, 100),
            Measured("travel_time_s", "s", "round(60 + 120 * rush * (d % 10) / 9 + 20 * u)", 0, 7200),
        ),
    ),
)  # fmt: skip

# Numbered as the registry numbers what it brings, so that ingest may write beside.
METRICS = {
    metric: number
    for number, metric in enumerate(
        (
            "water_level_m", "street_flood_depth_mm", "rain_mm", "pm2_5_ug_m3", "pm10_ug_m3", "vehicle_count",
            "speed_km_h", "occupancy_pct", "travel_time_s", "temperature_cel", "humidity_pct", "battery_pct",
            "rssi_dbm", "snr_db", "so2_ug_m3", "no2_ug_m3", "o3_ug_m3", "co_ug_m3", "tsp_ug_m3", "wind_m_s",
        ), 1,
    )
}  # fmt: skip
# What the load beside the questions is of; no question asks for it.
LOAD_METRIC = "snr_db"
