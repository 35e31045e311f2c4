"""A question by its name becomes SQL: times in UTC, everything else quoted, mistakes said before the store is asked."""

import pytest

from cli import query_named
from cli.errors import CommandError


def _sql(
    name: str, *given: str, wards: tuple[str, ...] = (), since: str | None = None, until: str | None = None
) -> str:
    return query_named.statement(query_named.find(name), wards, since, until, given, None)


def test_times_of_any_zone_become_utc_text() -> None:
    sql = _sql("ward_vn_aqi_daily", since="2026-10-01T00:00+07:00", until="2026-11-01T00:00Z")
    assert sql == ("SELECT * FROM ioc.ward_vn_aqi_daily(from = '2026-09-30 17:00:00', to = '2026-11-01 00:00:00')")


def test_to_is_now_unless_given() -> None:
    assert ", to = '20" in _sql("aqi_scales", since="7d")


def test_wards_and_parameters_are_quoted() -> None:
    assert _sql("readings_of", "device_id=a' OR 1 \\", wards=("00070", "x'y")) == (
        "SELECT * FROM ioc.readings_of(device_id = 'a\\' OR 1 \\\\') WHERE ward_code IN ('00070', 'x\\'y')"
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "ward_vn_aqi_daily"}, "needs from"),
        ({"name": "river_levels_now", "since": "1d"}, "no parameter 'from'; it takes: none"),
        ({"name": "aqi_scales", "since": "yesterday"}, "is no time"),
        ({"name": "aqi_scales", "since": "1h", "until": "2h"}, "--from is not before --to"),
        ({"name": "device_metrics_x"}, "there is no question"),
        ({"name": "quality_reasons", "wards": ("00070",)}, "is not by ward"),
    ],
)
def test_mistakes_are_said(given: dict[str, object], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        _sql(**given)  # type: ignore[arg-type]


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(CommandError) as caught:
        query_named.find("ward_rain")
    assert "ward_rain_now" in caught.value.remedy


def test_statements_are_not_taken_for_names() -> None:
    assert query_named.is_name("ioc.latest")
    assert not query_named.is_name("SELECT 1")


def test_the_shell_completes_names() -> None:
    assert query_named.names("ward_vn") == ["ward_vn_aqi_now", "ward_vn_aqi_daily"]
