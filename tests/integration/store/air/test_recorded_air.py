"""VN_AQI and NowCast from recorded readings: Dongsi in December 2016, the US Embassy in Hanoi in 2016 and 2017."""

import random
from datetime import datetime, timedelta, timezone

import pytest

from tests.support.air import DATA, HANOI, City, Reading, csv_rows

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "golden").is_dir(), reason="recorded data is not there (CITYFLEET_DATA)"),
    pytest.mark.timeout(900),
]

BEIJING = timezone(timedelta(hours=8))
# The Decision is of 2019: the readings are taken five years later, hour by hour.
LATER = timedelta(days=1826)
COLUMNS = {"PM2.5": "pm2_5", "PM10": "pm10", "SO2": "so2", "NO2": "no2", "CO": "co", "O3": "o3"}
INDICES = ("aqi_pm2_5", "aqi_pm10", "aqi_so2", "aqi_no2", "aqi_co", "aqi_o3", "vn_aqi", "dominant")


@pytest.fixture(scope="module")
def dongsi() -> list[Reading]:
    readings = []
    for row in csv_rows("air_rain_beijing/PRSA_12stations_2016-12.csv"):
        if row["station"] == "Dongsi":
            at = datetime(*(int(row[part]) for part in ("year", "month", "day", "hour")), tzinfo=BEIJING) + LATER
            readings += [(name, at, float(row[column]), 1) for column, name in COLUMNS.items() if row[column] != "NA"]
    return readings


def test_dongsi_has_the_index_of_the_golden_file_in_every_hour(city: City, dongsi: list[Reading]) -> None:
    city.add(city.station("dongsi"), dongsi)
    city.compute()
    found = {
        row[0]: row[1:]
        for row in city.rows(
            f"SELECT toString(toTimeZone(ts, 'Asia/Shanghai')), pm2_5_nowcast, pm10_nowcast, {', '.join(INDICES)} "
            "FROM cityfleet.vn_aqi_1h FINAL WHERE station_id = 'dongsi'"
        )
    }
    compared = 0
    for row in csv_rows("golden/vn_aqi_hourly_dongsi_2016-12.csv"):
        # The hours before also rest on readings of November, which are not in the recording.
        if row["ts"] < "2016-12-01 11":
            continue
        fine, coarse, *indices = found[str(datetime.fromisoformat(row["ts"]) + LATER)]
        golden = [row[name.replace("2_5", "25").replace("vn_aqi", "vn_aqi_h")] for name in INDICES]
        assert ["" if text == "\\N" else text for text in indices] == [text.replace("pm25", "pm2_5") for text in golden]
        for text, expected in ((fine, row["pm25_nowcast"]), (coarse, row["pm10_nowcast"])):
            assert (text == "\\N") == (expected == "")
            assert expected == "" or float(text) == pytest.approx(float(expected), abs=0.0006)
        compared += 1
    assert compared == 733


def test_days_of_dongsi_follow_from_its_hours(city: City, dongsi: list[Reading]) -> None:
    day = datetime(2021, 12, 3, tzinfo=HANOI)
    fine = [value for metric, at, value, _ in dongsi if metric == "pm2_5" and day <= at < day + timedelta(days=1)]
    mean = sum(fine) / len(fine)
    assert 150 <= mean <= 250  # from 200 to 300
    found = city.row(
        "SELECT vn_aqi, dominant, round(pm2_5_24h, 6), hours FROM cityfleet.vn_aqi_1d FINAL "
        "WHERE station_id = 'dongsi' AND day = '2021-12-03'"
    )
    assert found == [str(int(200 + (mean - 150) + 0.5)), "pm2_5", str(round(mean, 6)), str(len(fine))]


def test_late_readings_in_any_order_give_the_same_indices(city: City, dongsi: list[Reading]) -> None:
    end = datetime(2021, 12, 16, tzinfo=HANOI)
    shuffled = [reading for reading in dongsi if reading[1] < end]
    random.Random(7).shuffle(shuffled)
    station = city.station("dongsi-late")
    for part in (shuffled[::2], shuffled[1::2], shuffled[:100]):
        city.add(station, part)
        city.compute()
    for table, least in (("vn_aqi_1h", 300), ("vn_aqi_1d", 13)):
        columns = "* EXCEPT (device_num, station_id, version, is_deleted)"
        of_both = [
            city.rows(
                f"SELECT {columns} FROM cityfleet.{table} FINAL "
                f"WHERE station_id = '{name}' AND ts < {int(end.timestamp())} ORDER BY ts"
            )
            for name in ("dongsi", "dongsi-late")
        ]
        assert of_both[0] == of_both[1]
        assert len(of_both[0]) > least


def test_the_nowcast_in_hanoi_is_the_published_one(city: City) -> None:
    station = city.station("air-us-embassy-hanoi", "00025", hour_stamp="end")
    published: dict[datetime, float] = {}
    readings: dict[datetime, float] = {}
    for year in (2016, 2017):
        for row in csv_rows(f"air_hanoi/Hanoi_PM2.5_{year}_YTD.csv"):
            at = datetime(*(int(row[part]) for part in ("Year", "Month", "Day", "Hour")), tzinfo=HANOI)
            if row["QC Name"] in ("Valid", "Suspect"):
                readings[at] = float(row["Raw Conc."])
            if float(row["NowCast Conc."]) > -900:
                published[at] = float(row["NowCast Conc."])
    city.add(station, (("pm2_5", at, value, 1) for at, value in readings.items()), "00025")
    city.compute()
    found = {
        # Stamped by the end of the hour there, by its start here.
        datetime.fromtimestamp(int(row[0]), HANOI) + timedelta(hours=1): float(row[1])
        for row in city.rows(
            "SELECT toUnixTimestamp(ts), pm2_5_nowcast FROM cityfleet.vn_aqi_1h FINAL "
            f"WHERE station_id = '{station}' AND pm2_5_nowcast IS NOT NULL"
        )
    }
    both = found.keys() & published.keys()
    near = sum(abs(found[at] - published[at]) <= 0.1 for at in both)
    assert len(both) > 16_000
    assert near / len(both) > 0.99, f"{near} of {len(both)}"
