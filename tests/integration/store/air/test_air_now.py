"""The air now is found by steps: what is corrected shows, what is gone goes, and what nobody computes ages."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.air import City, hourly
from tests.support.city_rollups import compute_now
from tests.support.store import running_store
from tests.support.wards import Ward, account

OWN, OTHER = "00070", "00004"


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """Two stations in each of two wards, with the four hours before this one."""
    with running_store(tmp_path_factory.mktemp("air_now"), CITYFLEET_STORE__ROLLUP__ENABLED="false") as store:
        made = City(store)
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        for ward in (OWN, OTHER):
            for name, value in (("high", 90.0), ("low", 20.0)):
                station = made.station(f"{name}-{ward}", ward)
                made.add(station, hourly("pm2_5", hour - timedelta(hours=4), [value] * 4), ward)
        made.compute()
        yield made


def look(city: City) -> None:
    """What the rollups do each minute."""
    compute_now(city.store, ("vn_aqi_now", "ward_vn_aqi_now"))


def of_wards(city: City) -> list[list[str]]:
    return city.rows("SELECT ward_code, station_id, vn_aqi, stations_n, n FROM ioc.ward_vn_aqi_now ORDER BY 1")


def test_the_worst_station_stands_for_its_ward(city: City) -> None:
    assert of_wards(city) == [[OTHER, "high-00004", "157", "2", "2"], [OWN, "high-00070", "157", "2", "2"]]


def test_the_account_of_a_ward_has_its_own_stations(city: City) -> None:
    ward = Ward(city.store, "ward_own", account(city.store, "ward_own", OWN))
    asked = "SELECT station_id FROM ioc.{} ORDER BY 1"
    assert ward.query(asked.format("vn_aqi_now")).split() == ["high-00070", "low-00070"]
    assert ward.query(asked.format("ward_vn_aqi_now")).split() == ["high-00070"]


def test_a_late_reading_corrects_the_hour_that_is_told(city: City) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    city.add("low-00070", hourly("pm2_5", hour - timedelta(minutes=50), [250.0]), OWN)
    city.compute()
    look(city)
    asked = "SELECT n, vn_aqi > 60 FROM ioc.vn_aqi_now WHERE station_id = 'low-00070'"
    assert city.row(asked) == ["2", "1"]
    assert of_wards(city)[1] == [OWN, "high-00070", "157", "2", "3"]


def test_what_is_not_computed_any_more_is_told_as_old_and_then_not_at_all(city: City) -> None:
    """As if the newest run were of hours ago."""
    asked = "SELECT station_id, is_current FROM ioc.vn_aqi_now WHERE ward_code = '00004' ORDER BY 1"

    def set_back(table: str, hours: int) -> None:
        older = f"SELECT * REPLACE (ts - INTERVAL {hours} HOUR AS ts) FROM cityfleet.{table}"
        for statement in (
            f"TRUNCATE TABLE cityfleet.{table}_next",
            f"INSERT INTO cityfleet.{table}_next {older}",
            f"ALTER TABLE cityfleet.{table} REPLACE PARTITION tuple() FROM cityfleet.{table}_next",
        ):
            city.store.query(statement, "admin")

    for table in ("vn_aqi_now", "ward_vn_aqi_now"):
        set_back(table, 4)
    assert city.rows(asked) == [["high-00004", "false"], ["low-00004", "false"]]
    assert of_wards(city) == []
    set_back("vn_aqi_now", 22)
    assert city.rows(asked) == []


def test_a_run_that_finds_no_station_leaves_none_of_the_run_before(city: City) -> None:
    for table in ("vn_aqi_now", "ward_vn_aqi_now"):
        city.store.query(f"TRUNCATE TABLE cityfleet.{table}", "admin")
    look(city)
    assert len(of_wards(city)) == 2
    city.store.query(
        "INSERT INTO cityfleet.vn_aqi_1h SELECT * REPLACE (toUnixTimestamp64Milli(now64(3)) + 1 AS version, "
        f"1 AS is_deleted) FROM cityfleet.vn_aqi_1h FINAL WHERE ward_code = '{OTHER}'",
        "admin",
    )
    look(city)
    assert [row[0] for row in of_wards(city)] == [OWN]
    assert city.rows(f"SELECT station_id FROM ioc.vn_aqi_now WHERE ward_code = '{OTHER}'") == []
    ward = Ward(city.store, "ward_other", account(city.store, "ward_other", OTHER))
    for view in ("vn_aqi_now", "ward_vn_aqi_now"):
        assert ward.query(f"SELECT count() FROM ioc.{view}").strip() == "0"
