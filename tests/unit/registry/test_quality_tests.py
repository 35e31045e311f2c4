"""Quality tests of a type: each rule broken once, files and messages that say the same, and what ingest would find."""

import msgspec
import pytest

from cli.type_file import type_document, type_of
from registry.api.device_type import message, spec_of
from registry.devices.model import DeviceType, TypeMetric, TypeSpec
from registry.devices.quality import QualityTests, Span, flag
from registry.devices.rules import check_type

GOOD = {
    "suspect": {"min": -2, "max": 3.5},
    "climatology": [
        {"months": [12, 1, 2], "suspect": {"max": 2}, "fail": {"min": -4, "max": 3}},
        {"months": [7], "fail": {"min": 0}},
    ],
    "spike": {"suspect": 0.8, "fail": 3},
    "rate_per_s": {"suspect": 0.001},
    "flat_line": {"tolerance": 0.001, "suspect_s": 10_800, "fail_s": 21_600},
    "gap_s": {"suspect": 7200},
}


def spec_with(tests: object, interval_s: int = 3600, low: float | None = -10) -> TypeSpec:
    return TypeSpec(
        "gauge",
        expected_interval_s=interval_s,
        metrics=(TypeMetric("water_level_m", low, None, tests=msgspec.convert(tests, QualityTests)),),
    )


def reasons(spec: TypeSpec) -> list[tuple[str, str]]:
    return [
        (found.field.removeprefix("metrics[0].tests"), found.reason) for found in check_type(spec, {"water_level_m": 1})
    ]


def test_complete_tests_pass() -> None:
    assert reasons(spec_with(GOOD)) == []


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"suspect": {"min": 1, "max": 0}}, ".suspect", "RANGE_EMPTY"),
        ({"suspect": {"min": float("nan")}}, ".suspect", "RANGE_NOT_FINITE"),
        ({"suspect": {"min": -10.5}}, ".suspect", "SPAN_OUTSIDE"),
        ({"climatology": [{"months": [0], "suspect": {"min": 1}}]}, ".climatology[0].months", "MONTHS_INVALID"),
        ({"climatology": [{"months": [], "suspect": {"min": 1}}]}, ".climatology[0].months", "MONTHS_INVALID"),
        ({"climatology": [{"months": [3, 3], "suspect": {"min": 1}}]}, ".climatology[0].months", "MONTH_TWICE"),
        ({"climatology": [{"months": [3]}]}, ".climatology[0]", "SPAN_MISSING"),
        (
            {"climatology": [{"months": [3], "suspect": {"max": 5}, "fail": {"max": 4}}]},
            ".climatology[0].suspect",
            "SPAN_OUTSIDE",
        ),
        ({"spike": {"suspect": 0}}, ".spike", "THRESHOLD_INVALID"),
        ({"spike": {"suspect": 2, "fail": 1}}, ".spike", "THRESHOLD_INVALID"),
        ({"rate_per_s": {"fail": float("inf")}}, ".rate_per_s", "THRESHOLD_INVALID"),
        ({"gap_s": {"fail": 1_000_000}}, ".gap_s", "WINDOW_TOO_LONG"),
        ({"flat_line": {"tolerance": 0, "suspect_s": 10_800}}, ".flat_line.tolerance", "THRESHOLD_INVALID"),
        ({"flat_line": {"tolerance": 1}}, ".flat_line", "WINDOW_INVALID"),
        ({"flat_line": {"tolerance": 1, "suspect_s": 9000, "fail_s": 8000}}, ".flat_line", "WINDOW_INVALID"),
        ({"flat_line": {"tolerance": 1, "suspect_s": 3600}}, ".flat_line", "WINDOW_TOO_SHORT"),
    ],
)
def test_every_rule_names_its_field(change: dict[str, object], field: str, reason: str) -> None:
    assert (field, reason) in reasons(spec_with({**GOOD, **change}))


def test_tests_that_compare_need_an_interval_and_all_need_a_range() -> None:
    assert reasons(spec_with({"spike": {"fail": 1}}, interval_s=0)) == [("", "TESTS_WITHOUT_INTERVAL")]
    assert reasons(spec_with({"suspect": {"min": 1}}, interval_s=0, low=None)) == []
    assert reasons(spec_with({"spike": {"fail": 1}}, low=None)) == [("", "TESTS_WITHOUT_RANGE")]


def test_a_file_a_message_and_the_registry_say_the_same() -> None:
    document = {"device_type": "gauge", "metrics": [{"metric": "water_level_m", "min_value": -10.0, "tests": GOOD}]}
    sent = type_of(document)
    spec = spec_of(sent)
    assert spec.metrics[0].tests == msgspec.convert(GOOD, QualityTests)
    answered = message(DeviceType(1, spec, 1, 1, 1, 0, 0))
    assert answered.metrics == sent.metrics
    assert spec_of(type_of(type_document(answered))) == spec
    assert msgspec.json.decode(msgspec.json.encode(spec), type=TypeSpec) == spec


@pytest.mark.parametrize(
    ("value", "month", "expected"),
    [
        (1, 6, "good"),
        (3, 6, "good"),
        (3, 12, "suspect"),
        (3.1, 12, "fail"),
        (-1, 7, "fail"),
        (3.6, 6, "suspect"),
        (-11, 6, "fail"),
    ],
)
def test_flag_is_the_worst_of_range_and_month(value: float, month: int, expected: str) -> None:
    tests = msgspec.convert(GOOD, QualityTests)
    assert flag(tests, Span(-10, None), value, month) == expected
    assert flag(QualityTests(), Span(), value, month) == "not evaluated"
