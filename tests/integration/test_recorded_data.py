"""Recorded readings of Hanoi, New York, Minnesota and Alaska, replayed by the command as registered devices over MQTT.

What must be in ClickHouse is computed here from the CSV files alone, with the csv module, `datetime` arithmetic and
Decimal, and asked back over HTTP by curl.

Quirks of the files, each with a claim below:
- Hanoi PM2.5: local stamps at the end of the hour (01:00 .. next 00:00); 402 and 62 rows are -999 with QC Missing,
  60 and 24 have QC Invalid; slightly negative values are valid. The stamps went through a US clock: on the US day of
  summer time 02:00 is missing and 03:00 comes twice, with two values; the later row stays.
- New York street flood: local time of New York; sensors in blocks, three of them with an earlier event after a later
  one; rows run into the next day; sensor ids with capitals.
- Traffic detector 6005: stamps without zone in Minnesota, off the 5-minute grid, miles per hour, holes of days.
- Kotzebue: UTC; 3,503 and 709 equal values (a stuck gauge); 1,374 below zero; hours missing, quarter hours in between.
"""

import csv
import json
import math
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from loadtest.platform import Platform
from runtime.secrets import secret

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CITYFLEET_DATA", ROOT.parent / "shared" / "data"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "air_hanoi").is_dir(), reason="recorded data is not there (CITYFLEET_DATA)"),
    pytest.mark.timeout(300),
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HANOI = timezone(timedelta(hours=7))
EMBASSY = "air-us-embassy-hanoi"
DETECTOR = "traffic-6005"
KOTZEBUE = "water-kotzebue"


class Expected(NamedTuple):
    """A row that has to be sent, in the file's order."""

    device: str
    ts_ms: int
    text: str


def rows(path: str) -> list[dict[str, str]]:
    with (DATA / path).open(newline="", encoding="ascii") as file:
        return list(csv.DictReader(file))


def ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def hanoi(year: int) -> Callable[[], Iterator[Expected]]:
    def read() -> Iterator[Expected]:
        for row in rows(f"air_hanoi/Hanoi_PM2.5_{year}_YTD.csv"):
            if row["QC Name"] == "Valid":
                hour = datetime(int(row["Year"]), int(row["Month"]), int(row["Day"]), int(row["Hour"]), tzinfo=HANOI)
                yield Expected(EMBASSY, ms(hour), row["Raw Conc."])

    return read


def new_york() -> Iterator[Expected]:
    for row in rows("street_flood_nyc/derived_readings_2023-09-29.csv"):
        # Both days of the file are in summer time: four hours behind UTC.
        moment = datetime.strptime(row["ts_local"] + " -0400", "%Y-%m-%d %H:%M:%S %z")
        yield Expected("nyc-" + row["sensor_id"].lower(), ms(moment), row["depth_mm"])


def detector(name: str) -> Callable[[], Iterator[Expected]]:
    def read() -> Iterator[Expected]:
        for row in rows(f"traffic/{name}_6005.csv"):
            moment = datetime.strptime(row["timestamp"] + " -0500", "%Y-%m-%d %H:%M:%S %z")
            yield Expected(DETECTOR, ms(moment), row["value"])

    return read


def kotzebue() -> Iterator[Expected]:
    for row in rows("water_level/kotzebue_water_level_hourly.csv"):
        yield Expected(KOTZEBUE, int(row["timestamp"]) * 1000, row["sea_surface_height_above_sea_level"])


class Recording(NamedTuple):
    file: str
    map: str
    metric: str
    read: Callable[[], Iterator[Expected]]
    rows: int
    skipped: dict[str, int]
    distinct: int


RECORDINGS = {
    "hanoi 2016": Recording(
        "air_hanoi/Hanoi_PM2.5_2016_YTD.csv", "air-hanoi", "pm2_5_ug_m3", hanoi(2016),
        8784, {"sentinel -999": 402, "filtered": 60}, 8321,
    ),
    "hanoi 2017": Recording(
        "air_hanoi/Hanoi_PM2.5_2017_YTD.csv", "air-hanoi", "pm2_5_ug_m3", hanoi(2017),
        8760, {"sentinel -999": 62, "filtered": 24}, 8673,
    ),
    "new york": Recording(
        "street_flood_nyc/derived_readings_2023-09-29.csv", "flood-nyc", "street_flood_depth_mm", new_york,
        8181, {}, 8181,
    ),
    "occupancy": Recording(
        "traffic/occupancy_6005.csv", "traffic-6005-occupancy", "occupancy_pct", detector("occupancy"), 2380, {}, 2380
    ),
    "speed": Recording(
        "traffic/speed_6005.csv", "traffic-6005-speed", "speed_km_h", detector("speed"), 2500, {}, 2500
    ),
    "kotzebue": Recording(
        "water_level/kotzebue_water_level_hourly.csv", "water-kotzebue", "water_level_m", kotzebue, 7241, {}, 7241
    ),
}  # fmt: skip


def by_identity(recording: Recording) -> dict[tuple[str, int], str]:
    """The same device and time again is the same reading: the later row counts."""
    return {(row.device, row.ts_ms): row.text for row in recording.read()}


def curl(platform: Platform, sql: str) -> list[list[str]]:
    """Ask as any reader does, from another process."""
    done = subprocess.run(
        [
            "curl", "-sS", "--fail-with-body", platform.store_url,
            "-H", "X-ClickHouse-User: reader",
            "-H", f"X-ClickHouse-Key: {secret(platform.data_dir, 'store-reader')}",
            "--data-binary", "@-",
        ],
        input=f"{sql} FORMAT TabSeparated", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def reports(platform: Platform) -> dict[str, dict[str, Any]]:
    """Each file replayed once; the command's own report."""
    found = {}
    for name, recording in RECORDINGS.items():
        done = platform.cli(
            "replay", str(DATA / recording.file), "--map", str(ROOT / "ops" / "replay" / f"{recording.map}.toml"),
            "--provision", "--verify", "-o", "json",
        )  # fmt: skip
        found[name] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module", params=list(RECORDINGS))
def recording(request: pytest.FixtureRequest) -> Recording:
    return RECORDINGS[request.param]


@pytest.fixture(scope="module")
def expected(recording: Recording) -> dict[tuple[str, int], str]:
    return by_identity(recording)


@pytest.fixture(scope="module")
def stored(
    platform: Platform, reports: dict[str, dict[str, Any]], recording: Recording, expected: dict[tuple[str, int], str]
) -> dict[tuple[str, int], str]:
    """What a reader sees of this recording: values as text, by device and time."""
    devices = sorted({device for device, _ in expected})
    first, last = min(ts for _, ts in expected), max(ts for _, ts in expected)
    found = curl(
        platform,
        "SELECT device_id, toUnixTimestamp64Milli(ts), toString(value) FROM ioc.readings"
        f" WHERE metric = '{recording.metric}' AND device_id IN ({', '.join(repr(device) for device in devices)})"
        f" AND ts BETWEEN fromUnixTimestamp64Milli({first}) AND fromUnixTimestamp64Milli({last})",
    )
    assert len(found) == len({(device, ts) for device, ts, _ in found}), "one reading came back twice"
    return {(device, int(ts)): text for device, ts, text in found}


def test_the_command_reports_every_row(reports: dict[str, dict[str, Any]]) -> None:
    for name, recording in RECORDINGS.items():
        report = reports[name]
        sent = len(list(recording.read()))
        assert report["rows"] == recording.rows, name
        assert report["skipped"] == recording.skipped, name
        assert report["sent"] == report["acked"] == sent == recording.rows - sum(recording.skipped.values()), name
        assert report["unacked"] == 0
        assert report["refused"] == {}
        assert report["stored"] == recording.distinct, name
        assert report["quarantined"] == report["missing"] == 0, name


def test_the_same_identities_are_stored_and_no_other(
    recording: Recording, expected: dict[tuple[str, int], str], stored: dict[tuple[str, int], str]
) -> None:
    assert len(expected) == recording.distinct
    assert stored.keys() == expected.keys()


def test_every_value_is_the_one_of_the_file(
    recording: Recording, expected: dict[tuple[str, int], str], stored: dict[tuple[str, int], str]
) -> None:
    if recording.metric == "speed_km_h":  # miles per hour; 1.609344 km are a mile (UCUM [mi_i])
        for identity, text in expected.items():
            exact = float(Decimal(text) * Decimal("1.609344"))
            assert abs(float(stored[identity]) - exact) <= math.ulp(exact), identity
        return
    assert {identity: float(text) for identity, text in stored.items()} == {
        identity: float(text) for identity, text in expected.items()
    }


def test_sums_are_exact(
    platform: Platform,
    recording: Recording,
    expected: dict[tuple[str, int], str],
    stored: dict[tuple[str, int], str],
) -> None:
    if recording.metric == "speed_km_h":
        total = math.fsum(float(text) for text in stored.values())
        assert total == pytest.approx(float(sum(map(Decimal, expected.values())) * Decimal("1.609344")), rel=1e-15)
        return
    assert math.fsum(map(float, stored.values())) == math.fsum(map(float, expected.values()))
    # The engine's own sum, in decimals: no file has more than nine digits behind the point.
    first, last = min(ts for _, ts in expected), max(ts for _, ts in expected)
    found = curl(
        platform,
        "SELECT device_id, count(), sum(toDecimal128(toString(value), 9)) FROM ioc.readings"
        f" WHERE metric = '{recording.metric}' AND startsWith(device_id, '{min(expected)[0][:4]}')"
        f" AND ts BETWEEN fromUnixTimestamp64Milli({first}) AND fromUnixTimestamp64Milli({last}) GROUP BY device_id",
    )
    totals: dict[str, tuple[int, Decimal]] = {}
    for (device, _), text in expected.items():
        count, total = totals.get(device, (0, Decimal(0)))
        totals[device] = (count + 1, total + Decimal(text))
    assert {device: (int(count), Decimal(total)) for device, count, total in found if device in totals} == totals


def test_minus_999_is_never_a_reading(platform: Platform, reports: dict[str, dict[str, Any]]) -> None:
    devices = ", ".join(f"'{device}'" for device in (EMBASSY, DETECTOR, KOTZEBUE))
    assert curl(platform, f"SELECT count() FROM ioc.readings WHERE device_id IN ({devices}) AND value <= -15") == [
        ["0"]
    ]


def test_rows_that_their_owner_withdrew_are_not_stored(platform: Platform, reports: dict[str, dict[str, Any]]) -> None:
    # 59 times 38.0 with QC Invalid, from 2016-11-22 23:00 to 11-25 09:00 in Hanoi.
    assert curl(
        platform,
        f"SELECT count() FROM ioc.readings WHERE device_id = '{EMBASSY}'"
        " AND ts BETWEEN '2016-11-22 16:00:00' AND '2016-11-25 02:00:00'",
    ) == [["0"]]


def test_slightly_negative_values_are_stored(platform: Platform, reports: dict[str, dict[str, Any]]) -> None:
    found = curl(platform, f"SELECT count(), min(value) FROM ioc.readings WHERE device_id = '{EMBASSY}' AND value < 0")
    assert found == [["34", "-4"]]


def test_hanoi_times_are_seven_hours_ahead_of_utc(platform: Platform, reports: dict[str, dict[str, Any]]) -> None:
    found = curl(
        platform,
        "SELECT toString(min(ts), 'Asia/Ho_Chi_Minh'), toString(max(ts), 'Asia/Ho_Chi_Minh'), toString(min(ts), 'UTC'),"
        f" argMin(value, ts), argMax(value, ts) FROM ioc.readings WHERE device_id = '{EMBASSY}'",
    )
    assert found == [["2016-01-01 01:00:00.000", "2018-01-01 00:00:00.000", "2015-12-31 18:00:00.000", "94.7", "71.9"]]


def test_midnight_belongs_to_the_day_that_begins(platform: Platform, reports: dict[str, dict[str, Any]]) -> None:
    # The file writes "2017-01-01 12:00 AM" for the last hour of 2016.
    found = curl(
        platform,
        f"SELECT value FROM ioc.readings WHERE device_id = '{EMBASSY}' AND ts = '2016-12-31 17:00:00'",
    )
    assert found == [["179"]]


@pytest.mark.parametrize(("day", "later"), [("2016-03-13", "6.9"), ("2017-03-12", "25.2")])
def test_the_us_clock_in_the_hanoi_files_shows_and_the_later_row_stays(
    platform: Platform, reports: dict[str, dict[str, Any]], day: str, later: str
) -> None:
    found = dict(
        curl(
            platform,
            f"SELECT toString(toHour(toTimezone(ts, 'Asia/Ho_Chi_Minh'))), toString(value) FROM ioc.readings"
            f" WHERE device_id = '{EMBASSY}' AND toDate(ts, 'Asia/Ho_Chi_Minh') = '{day}'"
            " AND toHour(toTimezone(ts, 'Asia/Ho_Chi_Minh')) BETWEEN 1 AND 4",
        )
    )
    assert "2" not in found
    assert found["3"] == later
    assert {"1", "4"} <= found.keys()


def test_new_york_times_are_summer_time_and_run_into_the_next_day(
    platform: Platform, reports: dict[str, dict[str, Any]]
) -> None:
    found = curl(
        platform,
        "SELECT toString(min(ts), 'America/New_York'), toString(max(ts), 'America/New_York'), toString(min(ts), 'UTC'),"
        " uniqExact(device_id), max(value) FROM ioc.readings WHERE metric = 'street_flood_depth_mm'"
        " AND startsWith(device_id, 'nyc-')",
    )
    assert found == [["2023-09-29 00:01:33.000", "2023-09-30 19:59:42.000", "2023-09-29 04:01:33.000", "24", "912.9"]]


def test_an_earlier_event_after_a_later_one_is_in_its_place(
    platform: Platform, reports: dict[str, dict[str, Any]]
) -> None:
    found = curl(
        platform,
        "SELECT toString(min(ts), 'America/New_York'), count() FROM ioc.readings"
        " WHERE device_id = 'nyc-q-davenport-ct-1-07zks0'",
    )
    assert found == [["2023-09-29 02:42:46.000", "653"]]


def test_the_detector_has_both_quantities_at_their_common_times(
    platform: Platform, reports: dict[str, dict[str, Any]]
) -> None:
    zone = ZoneInfo("America/Chicago")
    moment = ms(datetime(2015, 9, 1, 13, 45, tzinfo=zone))
    found = curl(
        platform,
        f"SELECT count(), uniqExact(ts), countIf(toUnixTimestamp64Milli(ts) = {moment}) FROM ioc.readings"
        f" WHERE device_id = '{DETECTOR}'",
    )
    assert found == [["4880", "2500", "2"]]


def test_the_stuck_gauge_is_stored_as_it_reported(platform: Platform, reports: dict[str, dict[str, Any]]) -> None:
    found = curl(
        platform,
        "SELECT countIf(value = 1.0942), countIf(value = 1.094232 AND ts >= '2019-05-13 19:00:00'), countIf(value < 0)"
        f" FROM ioc.readings WHERE device_id = '{KOTZEBUE}'",
    )
    assert found == [["3503", "709", "1374"]]


def test_a_second_replay_changes_nothing(platform: Platform, reports: dict[str, dict[str, Any]]) -> None:
    recording = RECORDINGS["occupancy"]
    done = platform.cli(
        "replay", str(DATA / recording.file), "--map", str(ROOT / "ops" / "replay" / f"{recording.map}.toml"),
        "--provision", "--verify", "--encoding", "batch", "-o", "json",
    )  # fmt: skip
    assert json.loads(done.stdout)["stored"] == recording.distinct
    sql = f"SELECT count() FROM ioc.readings WHERE device_id = '{DETECTOR}' AND metric = 'occupancy_pct'"
    assert curl(platform, sql) == [[str(recording.distinct)]]
