"""What filters mean: fields have types, values are checked, and a thing in memory passes or does not."""

import pytest

from registry.errors import InvalidError
from registry.filter.check import condition_of
from registry.filter.evaluate import holds, is_near
from registry.filter.fields import AUDIT_EVENTS, DEVICES, SITES

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
BRIDGE = (21.0435, 105.8576)

DEVICE = {
    "device_num": 7,
    "device_id": "wl-long-bien-01",
    "display_name": "Cầu Long Biên, trụ 3",
    "device_type": "gauge",
    "external_id": "",
    "gateway": "gw-1",
    "site_id": "",
    "site": "pier 3",
    "ward_code": "00070",
    "hardware_revision": "b",
    "labels": {"owner": "tnmt", "net.slice": "iot", "empty": ""},
    "state": "active",
    "create_time": NOW_MS - 100 * HOUR_MS,
    "update_time": NOW_MS,
    "connectivity": "online",
    "health": "degraded",
    "reported.firmware_version": "1.10.0",
    "reported.config_version": None,
    "reported.last_seen_time": NOW_MS - HOUR_MS,
    "reported.last_reading_time": None,
}


def answer(name, arguments, row):
    if name == "near":
        return is_near(BRIDGE, *arguments)
    return arguments == ("mine",)


def passes(text: str) -> bool:
    return holds(condition_of(text, DEVICES, NOW_MS), DEVICE, answer)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "ward_code = 00070",
        'ward_code = "00070" AND (labels.owner = "x" OR health != good) AND NOT device_id = "test-*"',
        "device_id = wl-*",
        'device_id = "*bien*01"',
        "device_id != gw-*",
        'display_name:"long biên"',
        'display_name = "*Biên*"',
        "bien",
        "LONG-bien",
        "long*01",
        "gateway:*",
        "NOT external_id:*",
        'external_id = ""',
        "labels:owner",
        "labels.owner:*",
        "labels.owner:tnmt",
        "labels.net.slice = iot",
        "labels:net.slice",
        'labels.empty = ""',
        "labels.missing != x",
        'NOT labels.missing = ""',
        "labels.owner = t*t",
        "labels.owner > a AND labels.owner <= tnmt",
        "state = ACTIVE",
        "health = HEALTH_DEGRADED",
        "state:*",
        "device_num >= 7 AND device_num < 8 AND device_num != -3",
        "reported.config_version != 3",
        "NOT reported.config_version < 3",
        "NOT reported.config_version:*",
        'reported.last_seen_time > ago("61m")',
        "reported.last_seen_time <= ago(1h)",
        "NOT reported.last_reading_time > 2020-01-01",
        "create_time < 2030-01-01T00:00:00+07:00",
        'update_time = "2027-01-15T08:00:00Z"',
        'update_time = "2027-01-15T15:00:00+07:00"',
        "reported.firmware_version = 1.10.0",
        "near(21.0435, 105.8576, 0)",
        "near(21.05, 105.86, 1000) -near(21.05, 105.86, 100)",
        "in_group(mine) AND NOT in_group(other)",
        "ward_code = 1 OR ward_code = 00070",
    ],
)
def test_the_device_passes(text):
    assert passes(text)
    assert not passes(f"NOT ({text})") if text else True


@pytest.mark.parametrize(
    "text",
    [
        "ward_code = 70",
        "device_id = WL-*",
        "device_id = wl",
        'device_id = "wl-long-bien-01*1"',
        "display_name = long*",
        "external_id:*",
        "labels.owner:tn",
        "labels:own",
        'labels.missing = ""',
        "reported.config_version = 0",
        "reported.last_reading_time < 2030-01-01",
        "reported.last_reading_time:*",
        r'device_id = "wl\*"',
        "zzz",
    ],
)
def test_the_device_does_not_pass(text):
    assert not passes(text)


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("colour = red", "FILTER_FIELD_UNKNOWN", "device_type, external_id"),
        ("colour = red", "FILTER_FIELD_UNKNOWN", "labels.KEY"),
        ("state.x = red", "FILTER_FIELD_UNKNOWN", "near(latitude, longitude, radius_m)"),
        ("reported = x", "FILTER_FIELD_UNKNOWN", "reported.firmware_version"),
        ("far(1)", "FILTER_FIELD_UNKNOWN", "in_group(group_id)"),
        ("ago(1h)", "FILTER_FIELD_UNKNOWN", "ago"),
        ("state = broken", "FILTER_VALUE_INVALID", "active, decommissioned, deleted"),
        ("state > active", "FILTER_VALUE_INVALID", "no order"),
        ("device_num = x", "FILTER_VALUE_INVALID", "whole number"),
        ("device_num = 1.5", "FILTER_VALUE_INVALID", "whole number"),
        ("device_num = 99999999999999999999", "FILTER_VALUE_INVALID", "64 bits"),
        ("device_num = ago(1h)", "FILTER_VALUE_INVALID", "whole number"),
        ("device_id = ago(1h)", "FILTER_VALUE_INVALID", "gives none"),
        ("create_time > yesterday", "FILTER_VALUE_INVALID", 'ago("1h")'),
        ("create_time > 2026-13-01", "FILTER_VALUE_INVALID", 'ago("1h")'),
        ("create_time > ago(1y)", "FILTER_VALUE_INVALID", "s, m, h, d or w"),
        ("create_time > now()", "FILTER_VALUE_INVALID", "ago"),
        ("device_id < a*", "FILTER_VALUE_INVALID", "wildcard"),
        ("device_id = a*b*c*d*e*f*g*h*i*j", "FILTER_VALUE_INVALID", "wildcards"),
        ('display_name:""', "FILTER_VALUE_INVALID", "in every text"),
        ("labels = x", "FILTER_VALUE_INVALID", "labels.KEY = value"),
        ("near(91, 0, 1)", "FILTER_VALUE_INVALID", "-90 to 90"),
        ("near(1, 1, 1e9)", "FILTER_VALUE_INVALID", "100000"),
        ("near(1, 1)", "FILTER_VALUE_INVALID", "takes 3, not 2"),
        ("near(nan, 1, 1)", "FILTER_VALUE_INVALID", "latitude"),
        ("in_group(a*)", "FILTER_VALUE_INVALID", "without wildcards"),
        ("state", "FILTER_SYNTAX", "field = value"),
    ],
)
def test_what_means_nothing_is_told_why(text, reason, says):
    with pytest.raises(InvalidError) as refused:
        condition_of(text, DEVICES, NOW_MS)
    (violation,) = refused.value.violations
    assert (violation.field, violation.reason) == ("filter", reason)
    assert says in violation.description


def test_each_resource_has_its_own_fields():
    condition_of("kind = bts AND labels.owner = x", SITES, NOW_MS)
    condition_of("actor = accounts/an AND result != OK AND event_time > ago(7d)", AUDIT_EVENTS, NOW_MS)
    for text, resource in (("kind = bts", DEVICES), ("health = bad", SITES), ("in_group(x)", AUDIT_EVENTS)):
        with pytest.raises(InvalidError):
            condition_of(text, resource, NOW_MS)
