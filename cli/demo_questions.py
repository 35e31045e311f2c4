"""What an operations centre asks first: the demo's questions, as plain SQL over the views of the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.fleet.devices import CityDevice

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """`columns`: what the table shows; `name` and `alarm` are added from the fleet's own list."""

    title: str
    sql: str
    columns: tuple[str, ...]


HIGHEST_WATER = Question(
    "Highest water, by how far it is from alarm level I",
    """
    SELECT device_id, ward_name, round(argMax(value, ts), 2) AS level_m,
           round(argMax(value, ts) - argMinIf(value, ts, ts > now() - INTERVAL 3 HOUR), 2) AS rise_3h_m
    FROM ioc.readings WHERE metric = 'water_level_m' AND ts > now() - INTERVAL 6 HOUR
    GROUP BY device_id, ward_name
    """,
    ("name", "ward_name", "level_m", "rise_3h_m", "alarm"),
)

FLOODED_STREETS = Question(
    "Flooded streets now (100 mm and more), with the highest of the last 3 hours",
    """
    SELECT device_id, ward_name, argMax(value, ts) AS depth_mm, max(value) AS highest_mm
    FROM ioc.readings WHERE metric = 'street_flood_depth_mm' AND ts > now() - INTERVAL 3 HOUR
    GROUP BY device_id, ward_name HAVING depth_mm >= 100 ORDER BY depth_mm DESC LIMIT 8
    """,
    ("name", "ward_name", "depth_mm", "highest_mm"),
)

RAIN = Question(
    "Most rain in the last 2 hours (from 50 mm on, streets are expected to flood)",
    """
    SELECT device_id, ward_code, ward_name, round(sum(value), 1) AS rain_2h_mm
    FROM ioc.readings WHERE metric = 'rain_mm' AND ts > now() - INTERVAL 2 HOUR
    GROUP BY device_id, ward_code, ward_name ORDER BY rain_2h_mm DESC LIMIT 6
    """,
    ("ward_code", "ward_name", "rain_2h_mm"),
)

WORST_AIR = Question(
    "Worst air: highest 1-hour mean of PM2.5 in the last 24 hours, by station",
    """
    SELECT device_id, ward_name, max(hour_mean) AS pm2_5_1h_ug_m3, argMax(local_hour, hour_mean) AS at_local_hour
    FROM (
        SELECT device_id, ward_name, round(avg(value), 1) AS hour_mean,
               formatDateTime(toStartOfHour(ts, 'Asia/Ho_Chi_Minh'), '%m-%d %H:00', 'Asia/Ho_Chi_Minh') AS local_hour
        FROM ioc.readings WHERE metric = 'pm2_5_ug_m3' AND ts > now() - INTERVAL 24 HOUR
        GROUP BY device_id, ward_name, toStartOfHour(ts, 'Asia/Ho_Chi_Minh') HAVING count() >= 4
    )
    GROUP BY device_id, ward_name ORDER BY pm2_5_1h_ug_m3 DESC LIMIT 6
    """,
    ("device_id", "ward_name", "pm2_5_1h_ug_m3", "at_local_hour"),
)

SLOWEST_STREETS = Question(
    "Slowest streets of the last half hour (mean speed weighted by vehicles)",
    """
    SELECT device_id, ward_name, round(sum(speed * vehicles) / sum(vehicles), 1) AS speed_km_h,
           sum(vehicles) AS counted
    FROM (
        SELECT device_id, ward_name, ts, anyIf(value, metric = 'speed_km_h') AS speed,
               anyIf(value, metric = 'vehicle_count') AS vehicles
        FROM ioc.readings WHERE metric IN ('speed_km_h', 'vehicle_count') AND ts > now() - INTERVAL 30 MINUTE
        GROUP BY device_id, ward_name, ts
    )
    GROUP BY device_id, ward_name HAVING counted > 0 ORDER BY speed_km_h LIMIT 8
    """,
    ("name", "ward_name", "speed_km_h", "counted"),
)

SILENT = Question(
    "Silent devices: nothing measured for 30 minutes",
    """
    SELECT device_id, device_type, ward_name, dateDiff('minute', max(ts), now()) AS silent_min
    FROM ioc.latest GROUP BY device_id, device_type, ward_name HAVING silent_min >= 30 ORDER BY silent_min DESC
    """,
    ("device_id", "device_type", "ward_name", "silent_min", "gateway"),
)

QUARANTINE = Question(
    "Quarantine: what could not be stored, and why",
    """
    SELECT reason, uniqExact(device_id) AS devices, sum(readings) AS readings, any(detail) AS example
    FROM cityfleet.quarantine GROUP BY reason ORDER BY readings DESC
    """,
    ("reason", "devices", "readings", "example"),
)

# Some of the 25 questions, each by the view that answers it; steps compute what these rest on, a minute or two late.
NAMED = (
    Question(
        "river_levels_now: levels of the rivers, the nearest to its next alarm level first",
        """
        SELECT name, river, round(level_m, 2) AS level_m, bd_level AS alarm_level, round(gap_to_next_m, 2) AS to_next_m,
               round(rate_m_per_h, 3) AS m_per_h, round(coverage, 2) AS coverage
        FROM ioc.river_levels_now WHERE gap_to_next_m IS NOT NULL ORDER BY gap_to_next_m LIMIT 5
        """,
        ("name", "river", "level_m", "alarm_level", "to_next_m", "m_per_h", "coverage"),
    ),
    Question(
        "ward_rain_now: wards with most rain in 2 hours",
        """
        SELECT ward_name, round(r1_mm, 1) AS last_1h_mm, round(r2_mm, 1) AS last_2h_mm, round(r24_mm, 1) AS last_24h_mm,
               exceeds_50mm_2h, gauges_reporting
        FROM ioc.ward_rain_now WHERE r2_mm > 0 ORDER BY r2_mm DESC LIMIT 5
        """,
        ("ward_name", "last_1h_mm", "last_2h_mm", "last_24h_mm", "exceeds_50mm_2h", "gauges_reporting"),
    ),
    Question(
        "congestion_now: the slowest segments against free flow",
        """
        SELECT segment_id, ward_name, round(speed_km_h, 1) AS km_h, round(ratio, 2) AS ratio, los,
               round(flow_veh_h) AS flow_veh_h
        FROM ioc.congestion_now WHERE speed_km_h IS NOT NULL ORDER BY los_level DESC, speed_km_h LIMIT 5
        """,
        ("segment_id", "ward_name", "km_h", "ratio", "los", "flow_veh_h"),
    ),
    Question(
        "vn_aqi_now: the worst air by VN_AQI",
        """
        SELECT station_id, ward_name, vn_aqi, dominant, category, n_hours
        FROM ioc.vn_aqi_now WHERE vn_aqi IS NOT NULL ORDER BY vn_aqi DESC LIMIT 5
        """,
        ("station_id", "ward_name", "vn_aqi", "dominant", "category", "n_hours"),
    ),
    Question(
        "silent_devices: who is silent, and what they have in common",
        """
        SELECT probable_cause, cause_id, count() AS devices, intDiv(max(silent_s), 60) AS silent_min
        FROM ioc.silent_devices GROUP BY probable_cause, cause_id ORDER BY devices DESC, cause_id LIMIT 5
        """,
        ("probable_cause", "cause_id", "devices", "silent_min"),
    ),
    Question(
        "ward_briefing: what is open, the worst first",
        """
        SELECT ward_name, domain, severity, title, round(value, 1) AS value, unit,
               formatDateTime(since_ts, '%H:%i', 'Asia/Ho_Chi_Minh') AS since
        FROM ioc.ward_briefing ORDER BY severity DESC, since_ts LIMIT 8
        """,
        ("ward_name", "domain", "severity", "title", "value", "unit", "since"),
    ),
)

QUESTIONS = (HIGHEST_WATER, FLOODED_STREETS, RAIN, WORST_AIR, SLOWEST_STREETS, SILENT, QUARANTINE)


def complete(question: Question, rows: Sequence[Row], devices: Mapping[str, CityDevice]) -> list[Row]:
    """Add what only the fleet's list knows: a device's name, its gateway, a gauge's alarm levels."""
    for row in rows:
        if "device_id" not in row:
            continue
        device = devices.get(str(row["device_id"]))
        row["name"] = device.display_name.split(", Phường")[0].split(", Xã")[0] if device else row["device_id"]
        row["gateway"] = device.gateway if device else ""
    if question is not HIGHEST_WATER:
        return list(rows)
    ranked = []
    for row in rows:
        device = devices.get(str(row["device_id"]))
        levels = device.gauge.alarms_m if device and device.gauge else (None, None, None)
        if levels[0] is None:
            continue
        reached = [
            name for name, level in zip(("I", "II", "III"), levels, strict=True) if level and row["level_m"] >= level
        ]
        above_m = round(row["level_m"] - levels[0], 2)
        row["alarm"] = f"ALARM {reached[-1]}" if reached else f"{-above_m:.2f} m below I"
        ranked.append((above_m, row))
    return [row for _, row in sorted(ranked, key=lambda pair: -pair[0])[:8]]
