"""The 25 questions with sample parameters, a month of a device and a series, a city's hour, to time `ioc` by."""

from typing import NamedTuple

NOW, HISTORY, CITY_HOUR, PERIOD = "now", "history", "city_hour", "period"


class Question(NamedTuple):
    """`view`: without it in the store the question is not asked."""

    name: str
    group: str
    view: str
    sql: str


def _now(name: str) -> Question:
    return Question(name, NOW, name, f"SELECT * FROM ioc.{name} FORMAT Null")  # noqa: S608


def _period(name: str, begin: str) -> Question:
    """From then on to now. Parameters of views are taken as texts: in UTC."""
    return Question(
        name, PERIOD, name,
        f"SELECT * FROM ioc.{name}(from = now('UTC') - INTERVAL {begin}, to = now('UTC')) FORMAT Null",  # noqa: S608
    )  # fmt: skip


QUESTIONS = (
    _now("river_levels_now"),
    _now("ward_alarms_now"),
    _now("river_forecast"),
    _now("ward_rain_now"),
    _now("street_floods_open"),
    _period("street_flood_events", "30 DAY"),
    _period("street_flood_sites", "30 DAY"),
    _now("storm_rain_48h"),
    _now("congestion_now"),
    _now("worst_segments_last_hour"),
    _period("network_los_by_hour", "1 DAY"),
    _period("traffic_incidents", "1 DAY"),
    _period("flood_effect_on_traffic", "1 DAY"),
    _now("vn_aqi_now"),
    _now("ward_vn_aqi_now"),
    _period("ward_vn_aqi_daily", "30 DAY"),
    _period("qcvn_exceedances", "30 DAY"),
    _period("ward_bad_air_hours", "7 DAY"),
    _period("aqi_scales", "1 DAY"),
    _now("silent_devices"),
    _period("availability_daily", "7 DAY"),
    _period("sensor_quality", "7 DAY"),
    _period("gateway_latency", "1 DAY"),
    _now("devices_to_service"),
    _now("ward_briefing"),
    _period("ward_effectiveness", "30 DAY"),
    Question(
        "device_30_days", PERIOD, "readings_of",
        "SELECT ts, metric, value, quality FROM ioc.readings_of(device_id = '{river}') "
        "WHERE ts >= now() - INTERVAL 30 DAY ORDER BY ts FORMAT Null",
    ),
    Question(
        "series_30_days", HISTORY, "series_of",
        "SELECT ts, value, quality FROM ioc.series_of(device_id = '{river}', metric = 'water_level_m') "
        "WHERE ts >= now() - INTERVAL 30 DAY ORDER BY ts FORMAT Null",
    ),
    Question(
        "city_hour_by_ward", CITY_HOUR, "readings",
        "SELECT ward_code, sum(sum) / sum(good_n), sum(n) FROM cityfleet.readings_1h FINAL WHERE metric_num = {speed} "
        "AND ts >= toStartOfHour(now() - INTERVAL 2 HOUR) AND ts < toStartOfHour(now() - INTERVAL 1 HOUR) "
        "GROUP BY ward_code FORMAT Null",
    ),
)  # fmt: skip
