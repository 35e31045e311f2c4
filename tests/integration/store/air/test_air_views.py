"""Questions 14 to 18: the columns that modules rely on, dated limits, the two scales, and what is true now."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.air import HANOI, City, hourly

pytestmark = pytest.mark.timeout(900)
COMMON = ["as_of", "n", "coverage", "quality", "method"]
NEW_YEAR = datetime(2026, 1, 1, tzinfo=HANOI)
PERIOD = "from = '2025-12-29 17:00:00', to = '2026-01-01 17:00:00'"  # 30 December to 1 January at +07:00
QUESTIONS = {
    "vn_aqi_now": "station_id ward_code ts vn_aqi dominant category colour advice_vi n_hours",
    "ward_vn_aqi_now": "ward_code ts vn_aqi station_id dominant category colour advice_vi n_hours",
    "ward_vn_aqi_daily": "ward_code day vn_aqi_d dominant category coverage",
    "qcvn_exceedances": "station_id parameter averaging exceed_n worst_value limit limit_valid_from",
    "ward_bad_air_hours": "ward_code hours_gt150 max_vn_aqi mean_rain_mm rank",
    "aqi_scales": "station_id ts vn_aqi us_aqi pm25_nowcast",
}


@pytest.fixture(scope="module", autouse=True)
def stations(city: City) -> None:
    start = NEW_YEAR - timedelta(days=2)
    city.add(
        city.station("dated", "00004"),
        [*hourly("pm2_5", start, [47.0] * 72), *hourly("so2", start, [400.0, 360.0, 350.0])],
        "00004",
    )
    city.add(city.station("scales", "00025"), hourly("pm2_5", start, [30.0] * 72), "00025")
    city.add(
        city.station("smog", "00025"),
        [*hourly("pm2_5", NEW_YEAR, [200.0] * 4), *hourly("rain_mm", NEW_YEAR, [0, 0, 3, 1.5])],
        "00025",
    )
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    city.add(city.station("now-1", "00025"), hourly("pm2_5", hour - timedelta(hours=4), [90.0] * 4), "00025")
    city.add(city.station("now-2", "00025"), hourly("pm2_5", hour - timedelta(hours=4), [20.0] * 4), "00025")
    city.add(city.station("stale", "00004"), hourly("pm2_5", hour - timedelta(hours=12), [20.0] * 4), "00004")
    city.compute()


def test_every_view_has_its_columns_by_name(city: City) -> None:
    for view, columns in QUESTIONS.items():
        called = f"ioc.{view}" if view.endswith("now") else f"ioc.{view}({PERIOD})"
        found = city.store.query(f"SELECT * FROM {called} LIMIT 0 FORMAT TSVWithNames").split()
        wanted = columns.split()
        assert found[: len(wanted)] == wanted, view
        assert {"ward_code", "ward_name", *COMMON} <= set(found), view


def test_every_example_of_a_comment_runs(city: City) -> None:
    for view in QUESTIONS:
        comment = city.store.query(
            f"SELECT comment FROM system.tables WHERE database = 'ioc' AND name = '{view}' FORMAT TSVRaw"
        )
        question, example = comment.split("Example:")
        assert question.startswith("Question")
        assert "Source:" in question
        city.store.query(example.split("\n", 1)[1])


def test_a_limit_counts_as_it_was_on_the_day(city: City) -> None:
    found = city.rows(
        "SELECT averaging, exceed_n, periods_n, worst_value, limit, limit_valid_from, coverage "
        f"FROM ioc.qcvn_exceedances({PERIOD}) WHERE station_id = 'dated' AND parameter = 'pm2_5' ORDER BY limit DESC"
    )
    assert found == [
        ["24h", "0", "2", "47", "50", "2023-09-12", "1"],
        ["24h", "1", "1", "47", "45", "2026-01-01", "1"],
    ]


def test_the_limit_itself_is_not_exceeded(city: City) -> None:
    found = city.row(
        "SELECT exceed_n, periods_n, worst_value, worst_ts, n, quality, ward_name, method "
        f"FROM ioc.qcvn_exceedances({PERIOD}) WHERE station_id = 'dated' AND parameter = 'so2' AND averaging = '1h'"
    )
    assert found == ["2", "3", "400", "2025-12-29 17:00:00", "3", "(3,0,0)", "Ba Đình", "QCVN 05:2023/BTNMT v1"]


def test_readings_of_a_period_that_begins_and_ends_within_days_are_counted_once(city: City) -> None:
    found = city.rows(
        "SELECT averaging, exceed_n, periods_n, limit, n, quality FROM "
        "ioc.qcvn_exceedances(from = '2025-12-30 01:00:00', to = '2026-01-01 05:00:00') "
        "WHERE station_id = 'dated' AND parameter = 'pm2_5' ORDER BY limit DESC"
    )
    assert found == [["24h", "0", "1", "50", "52", "(52,0,0)"], ["24h", "1", "1", "45", "52", "(52,0,0)"]]


def test_the_two_scales_disagree_by_design(city: City) -> None:
    found = city.rows(
        f"SELECT DISTINCT vn_aqi, us_aqi, pm25_nowcast FROM ioc.aqi_scales({PERIOD}) "
        "WHERE station_id = 'scales' AND vn_aqi IS NOT NULL AND n > 0"
    )
    assert found == [["60", "90", "30"]]


def test_a_ward_has_its_worst_station_of_each_day(city: City) -> None:
    found = city.rows(
        "SELECT ward_code, day, vn_aqi_d, category, station_id, coverage, days_in_category, days_n "
        f"FROM ioc.ward_vn_aqi_daily({PERIOD}) WHERE ward_code = '00025' ORDER BY day"
    )
    assert found == [
        ["00025", f"{day}", "60", "Trung bình", "scales", "1", "3", "3"]
        for day in ("2025-12-30", "2025-12-31", "2026-01-01")
    ]


def test_hours_of_bad_air_come_with_their_rain(city: City) -> None:
    found = city.rows(
        "SELECT rank, ward_code, hours_gt150, max_vn_aqi, mean_rain_mm, mean_wind_m_s, stations_n "
        f"FROM ioc.ward_bad_air_hours({PERIOD}) ORDER BY rank"
    )
    # Of four hours of smog the first has no NowCast yet; an hour later two hours of it still weigh.
    assert found[0] == ["1", "00025", "4", "250", "1.5", "\\N", "2"]
    assert found[1][:4] == ["2", "00004", "0", "103"]


def test_now_is_the_last_hour_that_ended(city: City) -> None:
    found = {
        row[0]: row[1:]
        for row in city.rows("SELECT station_id, vn_aqi, category, is_current, n_hours FROM ioc.vn_aqi_now")
    }
    assert found["now-1"] == ["157", "Xấu", "true", "4"]
    assert found["stale"][2] == "false"
    wards = city.rows("SELECT ward_code, vn_aqi, station_id, dominant, hex, stations_n FROM ioc.ward_vn_aqi_now")
    assert wards == [["00025", "157", "now-1", "pm2_5", "#FF0000", "2"]]
