"""The package for modules of others at a real store, as reader and as the account of a ward."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cityfleet_ioc import AccessError, BadQuestionError, City, StaleAnswerError, UnavailableError, UnknownQuestionError
from tests.support.store import StoreHandle, running_store
from tests.support.wards import OWN, account, fill

_START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("city")) as store:
        fill(store)
        # Two hours of a gauge as rollups would have them.
        store.query(
            "INSERT INTO cityfleet.readings_1h (metric_num, device_num, ts, ward_code, n, good_n, sum, min, max, last, "
            f"last_ts, version) SELECT 7, 2, toDateTime('2026-11-01 00:00:00', 'UTC') + number * 3600, '{OWN}', 4, "
            "if(number = 0, 4, 0), if(number = 0, 10, 0), if(number = 0, 1, nan), if(number = 0, 4, nan), "
            "if(number = 0, 3, nan), toDateTime64('2026-11-01 00:50:00', 3, 'UTC'), 1 FROM numbers(2)",
            "admin",
        )
        yield store


@pytest.fixture(scope="module")
def city(filled: StoreHandle) -> Iterator[City]:
    with City(filled.url, "reader", filled.reader_password) as reader:
        yield reader


def test_a_question_is_answered_in_every_shape(city: City) -> None:
    answer = city.ask("devices", ward=OWN, limit=5)
    assert len(answer) == len(answer.rows()) == answer.arrow().num_rows == len(answer.pandas()) == 5
    assert {row["ward_code"] for row in answer.rows()} == {OWN}
    assert len(city.ask("ward_vn_aqi_daily", start=_START, end=_START + timedelta(days=1))) == 0


def test_sql_takes_parameters(city: City) -> None:
    sql = "SELECT count() AS n FROM ioc.devices WHERE ward_code = {w:String}"
    assert city.sql(sql, {"w": OWN}).rows() == [{"n": 40}]


def test_history_is_raw_or_by_windows(city: City) -> None:
    raw = city.history("2", "water_level_m", _START, _START + timedelta(hours=1)).rows()
    assert [(row["ts"], row["value"], row["quality"]) for row in raw] == [(_START, 2.0, 1)]
    hours = city.history("2", "water_level_m", _START, _START + timedelta(hours=2), step="1h").rows()
    assert [(row["n"], row["good_n"], row["mean"], row["max"]) for row in hours] == [
        (4, 4, 2.5, 4.0),
        (4, 0, None, None),
    ]
    assert not city.history("2", "water_level_m", _START - timedelta(days=1), _START, step="1d").rows()


def test_an_old_answer_raises_also_an_empty_one(city: City) -> None:
    with pytest.raises(StaleAnswerError) as caught:
        city.ask("street_floods_open", max_age_s=60)
    assert caught.value.as_of == _START
    assert len(city.ask("street_floods_open", max_age_s=100 * 365 * 86_400)) == 0


def test_an_empty_answer_is_old_where_nothing_is_computed(filled: StoreHandle, city: City) -> None:
    ran = _START - timedelta(days=30)
    filled.query(f"INSERT INTO cityfleet.fleet_now (version) VALUES ({int(ran.timestamp() * 1000)})", "admin")
    with pytest.raises(StaleAnswerError) as caught:
        city.ask("street_floods_open", max_age_s=60)
    assert caught.value.as_of == ran
    filled.query("TRUNCATE TABLE cityfleet.fleet_now", "admin")


def test_questions_are_told_with_their_comments(city: City) -> None:
    assert city.questions()["ward_vn_aqi_daily"].startswith("Question 15:")


def test_mistakes_have_their_types(filled: StoreHandle, city: City) -> None:
    with pytest.raises(UnknownQuestionError):
        city.ask("no_such_question")
    with pytest.raises(BadQuestionError):
        city.ask("quality_reasons", ward=OWN)
    with pytest.raises(BadQuestionError):
        city.ask("ward_vn_aqi_daily")
    with pytest.raises(BadQuestionError, match="as_of"):
        city.ask("devices", max_age_s=60)
    with pytest.raises(AccessError):
        city.sql("INSERT INTO cityfleet.wards VALUES ('1', '1', '1', '1', 1)")
    with pytest.raises(AccessError):
        City(filled.url, "reader", "wrong")
    with pytest.raises(UnavailableError):
        City("http://127.0.0.1:1", "reader", "x", timeout_s=1)


def test_a_ward_sees_its_own(filled: StoreHandle) -> None:
    password = account(filled, "ward_own", OWN)
    deadline = time.monotonic() + 60
    while True:
        try:
            city = City(filled.url, "ward_own", password)
            break
        except AccessError:  # until the store has read the accounts again
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with city:
        assert {row["ward_code"] for row in city.ask("sites").rows()} == {OWN}
        assert len(city.ask("sites", ward="00004")) == 0
        assert city.history("2", "water_level_m", _START, _START + timedelta(hours=2), step="1h").rows()
        assert "river_levels_now" in city.questions()
