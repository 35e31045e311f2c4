"""What requests to the open formats ask for: read whole, or refused by the name of the parameter."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from share.ngsi import asked, temporal
from share.ngsi.models import MODELS_BY_NAME
from share.problem import Problem
from share.sta import options

_BITS = st.sampled_from(
    [
        "pm25",
        "name",
        "==",
        "!=",
        ">=",
        "<",
        ";",
        ",",
        '"',
        "'",
        "1",
        "x",
        " ",
        "(",
        ")",
        "|",
        "eq",
        "and",
        "''",
        "é",
        "\\",
    ]
)
_TEXT = st.lists(_BITS, max_size=12).map("".join)


@given(_TEXT)
@settings(max_examples=300, deadline=None)
def test_any_q_is_terms_of_what_it_says_or_is_refused(text: str):
    try:
        found = asked.parse({"q": text, "type": "AirQualityObserved"}, ["q", "type"], 100, 1000)
    except Problem as exc:
        assert (exc.status, exc.parameter) == (400, "q")
        return
    rest = text
    for term in found.terms:
        for part in (term.attribute, term.op, *term.values):
            assert part in rest
            rest = rest[rest.index(part) + len(part) :]
    assert not set(rest) - set('"; ')


@given(_TEXT)
@settings(max_examples=300, deadline=None)
def test_any_filter_is_terms_of_what_it_says_or_is_refused(text: str):
    try:
        found = options.parse({"$filter": text}, ["$filter"], 100, 1000)
    except Problem as exc:
        assert (exc.status, exc.parameter) == (400, "$filter")
        return
    for term in found.terms:
        assert term.field in text
        assert term.value.replace("'", "''") in text or term.value in text


def test_of_q_every_part_is_read():
    found = asked.parse({"q": 'pm25>=35.5;name!="a;b","c|d";dateObserved<2026-11-01T00:00:00+07:00'}, ["q"], 100, 1000)
    assert found.terms == (
        asked.Term("pm25", ">=", ("35.5",)),
        asked.Term("name", "!=", ("a;b", "c|d")),
        asked.Term("dateObserved", "<", ("2026-11-01T00:00:00+07:00",)),
    )
    assert [model.name for model in found.models] == ["AirQualityObserved"]


def test_types_are_those_that_can_have_what_is_asked():
    def types(**query: str) -> list[str]:
        return [model.name for model in asked.parse(query, list(query), 100, 1000).models]

    assert types(attrs="name") == list(MODELS_BY_NAME)
    assert types(attrs="batteryLevel,currentLevel") == ["Device", "FloodMonitoring"]
    assert types(q="dateObserved;refDevice") == ["AirQualityObserved", "TrafficFlowObserved", "WeatherObserved"]
    assert types(type="Device,Device,Vehicle") == ["Device"]
    assert types(id="urn:ngsi-ld:Device:a", type="FloodMonitoring") == []


@pytest.mark.parametrize(
    ("query", "days", "last_n"),
    [
        ({}, 31, 0),
        ({"timerel": "before", "timeAt": "2026-11-01T00:00:00Z"}, 31, 0),
        ({"timerel": "after", "timeAt": "2026-01-01T00:00:00Z", "lastN": "5"}, 31, 5),
        ({"timerel": "between", "timeAt": "2026-01-01T00:00:00Z", "endTimeAt": "2026-01-03T00:00:01Z"}, 3, 0),
        ({"timerel": "after", "timeAt": "2100-01-01T00:00:00Z"}, 1, 0),
    ],
)
def test_a_history_is_of_a_bounded_time(query: dict[str, str], days: int, last_n: int):
    found = temporal.span(query, 31, False)
    assert (found.days, found.last_n) == (days, last_n)
    assert found.start <= found.end


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({}, "timerel"),
        ({"timerel": "near", "timeAt": "2026-01-01T00:00:00Z"}, "timerel"),
        ({"timerel": "after"}, "timerel"),
        ({"timerel": "after", "timeAt": "2026-01-01"}, "timeAt"),
        ({"timerel": "between", "timeAt": "2026-01-01T00:00:00Z"}, "endTimeAt"),
        (
            {"timerel": "between", "timeAt": "2026-01-01T00:00:00Z", "endTimeAt": "2025-01-01T00:00:00Z"},
            "endTimeAt",
        ),
        (
            {"timerel": "between", "timeAt": "2026-01-01T00:00:00Z", "endTimeAt": "2026-03-01T00:00:00Z"},
            "endTimeAt",
        ),
        ({"timerel": "after", "timeAt": "2026-01-01T00:00:00Z", "lastN": "all"}, "lastN"),
        ({"timerel": "after", "timeAt": "2026-01-01T00:00:00Z", "timeproperty": "createdAt"}, "timeproperty"),
    ],
)
def test_of_a_time_what_is_wrong_is_named(query: dict[str, str], parameter: str):
    with pytest.raises(Problem) as told:
        temporal.span(query, 31, True)
    assert (told.value.status, told.value.parameter) == (400, parameter)


def test_the_more_days_the_fewer_entities_in_one_answer():
    day = temporal.Span(0, temporal.DAY_MS, 0)
    month = temporal.Span(0, 31 * temporal.DAY_MS, 0)
    assert (temporal.page(day, None, 31, 100), temporal.page(month, None, 31, 100)) == (100, 10)
    with pytest.raises(Problem) as told:
        temporal.page(month, 11, 31, 100)
    assert (told.value.status, told.value.ngsi_ld) == (403, "TooManyResults")
