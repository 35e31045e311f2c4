"""The rules of ids, places, labels, types and tokens, each broken once."""

import math

import msgspec
import pytest

from registry.devices.model import DeviceSpec, TypeMetric, TypeSpec
from registry.devices.rules import check_device, check_hardware_revision, check_metric_id, check_type, check_unit
from registry.devices.tokens import check_token, digest, new_token

GOOD = DeviceSpec(
    device_id="wl-long-bien-01",
    device_type="gauge-river",
    display_name="Cầu Long Biên",
    gateway="bts-0042",
    ward_code="00097",
    site="Trụ P12",
    latitude=21.0437,
    longitude=105.8588,
    labels={"owner": "tnmt", "net.slice": "a b"},
)
METRICS = {"water_level_m": 1, "battery_pct": 2}


def reasons(violations):
    return [(violation.field, violation.reason) for violation in violations]


def test_a_complete_device_passes():
    assert check_device(GOOD) == []


def test_a_device_outside_the_city_passes():
    assert check_device(msgspec.structs.replace(GOOD, ward_code="", latitude=None, longitude=None)) == []


@pytest.mark.parametrize("device_id", ["a", "0", "-", "a" * 63, "wl-1"])
def test_good_ids_pass(device_id):
    assert check_device(msgspec.structs.replace(GOOD, device_id=device_id)) == []


@pytest.mark.parametrize("device_id", ["", "A", "a_b", "a b", "a/b", "é", "a" * 64, "a\n", "wl.1", "+", "#"])
def test_bad_ids_are_refused(device_id):
    found = check_device(msgspec.structs.replace(GOOD, device_id=device_id))
    assert reasons(found) == [("device_id", "DEVICE_ID_INVALID")]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"device_type": ""}, "device_type", "DEVICE_TYPE_MISSING"),
        ({"ward_code": "99999"}, "ward_code", "WARD_UNKNOWN"),
        ({"ward_code": "97"}, "ward_code", "WARD_UNKNOWN"),
        ({"ward_code": "Ba Đình"}, "ward_code", "WARD_UNKNOWN"),
        ({"gateway": "wl-long-bien-01"}, "gateway", "GATEWAY_ITSELF"),
        ({"latitude": None}, "latitude", "PLACE_INCOMPLETE"),
        ({"longitude": None}, "longitude", "PLACE_INCOMPLETE"),
        ({"latitude": 90.1}, "latitude", "LATITUDE_INVALID"),
        ({"latitude": math.nan}, "latitude", "LATITUDE_INVALID"),
        ({"longitude": -180.5}, "longitude", "LONGITUDE_INVALID"),
        ({"longitude": math.inf}, "longitude", "LONGITUDE_INVALID"),
        ({"display_name": "x" * 256}, "display_name", "TEXT_TOO_LONG"),
        ({"site": "a\x00b"}, "site", "TEXT_NOT_PRINTABLE"),
        ({"labels": {"Owner": "x"}}, "labels", "LABEL_KEY_INVALID"),
        ({"labels": {"owner": "x" * 256}}, "labels.owner", "TEXT_TOO_LONG"),
        ({"labels": {f"k{n}": "" for n in range(33)}}, "labels", "TOO_MANY_LABELS"),
    ],
)
def test_each_wrong_field_is_named(change, field, reason):
    assert reasons(check_device(msgspec.structs.replace(GOOD, **change))) == [(field, reason)]


def test_lost_zeros_are_recognised():
    found = check_device(msgspec.structs.replace(GOOD, ward_code="70"))
    assert "write 00070" in found[0].description


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"type_id": "Gauge"}, "name", "TYPE_ID_INVALID"),
        ({"default_encoding": "cbor"}, "default_encoding", "ENCODING_UNKNOWN"),
        ({"expected_interval_s": 40_000_000}, "expected_interval_s", "INTERVAL_TOO_LONG"),
        ({"metrics": (TypeMetric("depth"),)}, "metrics[0].metric", "METRIC_UNKNOWN"),
        ({"metrics": (TypeMetric("battery_pct"),) * 2}, "metrics[1].metric", "METRIC_TWICE"),
        ({"metrics": (TypeMetric("battery_pct", 5.0, 5.0),)}, "metrics[0]", "RANGE_EMPTY"),
        ({"metrics": (TypeMetric("battery_pct", math.nan),)}, "metrics[0]", "RANGE_NOT_FINITE"),
        ({"metrics": (TypeMetric("battery_pct", resolution=-1),)}, "metrics[0].resolution", "RESOLUTION_INVALID"),
        ({"metrics": (TypeMetric("battery_pct", resolution=math.inf),)}, "metrics[0].resolution", "RESOLUTION_INVALID"),
        (
            {"metrics": (TypeMetric("battery_pct", expected_interval_s=40_000_000),)},
            "metrics[0].expected_interval_s",
            "INTERVAL_TOO_LONG",
        ),
        ({"hardware_revisions": ("B2", "")}, "hardware_revisions[1]", "HARDWARE_REVISION_INVALID"),
        ({"hardware_revisions": ("B2", "B2")}, "hardware_revisions[1]", "HARDWARE_REVISION_TWICE"),
        (
            {"hardware_revisions": tuple(f"r{at}" for at in range(65))},
            "hardware_revisions",
            "TOO_MANY_HARDWARE_REVISIONS",
        ),
    ],
)
def test_each_wrong_field_of_a_type_is_named(change, field, reason):
    spec = TypeSpec("gauge-river", metrics=(TypeMetric("water_level_m", -5, 20), TypeMetric("battery_pct")))
    assert check_type(spec, METRICS) == []
    assert reasons(check_type(msgspec.structs.replace(spec, **change), METRICS)) == [(field, reason)]


def test_a_device_has_a_hardware_revision_of_its_type():
    spec = TypeSpec("gauge-river", hardware_revisions=("A1", "B2"))
    assert check_hardware_revision("", spec) == []
    assert check_hardware_revision("B2", spec) == []
    found = check_hardware_revision("b2", spec)
    assert reasons(found) == [("hardware_revision", "HARDWARE_REVISION_UNKNOWN")]
    assert "A1, B2" in found[0].description


@pytest.mark.parametrize("metric_id", ["", "Rain", "1_m", "rain-mm", "r" * 64, "rain mm", "_m"])
def test_bad_metric_names_are_refused(metric_id):
    assert reasons(check_metric_id(metric_id)) == [("metric_id", "METRIC_ID_INVALID")]


@pytest.mark.parametrize("unit", ["m", "ug/m3", "%", "1", "Cel", "m/s2", "[ppb]", "{veh}", "10*3/uL"])
def test_ucum_units_pass(unit):
    assert check_unit(unit) == []


@pytest.mark.parametrize("unit", ["", "µg/m³", "km / h", "[ppb", "{veh"])
def test_other_units_are_refused(unit):
    assert reasons(check_unit(unit)) == [("unit", "UNIT_INVALID")]


def test_tokens_differ_and_pass_their_own_check():
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(check_token(token) == [] and len(token) == 43 for token in made)
    assert len(digest("x" * 16)) == 32


@pytest.mark.parametrize("token", ["short", "x" * 257, "with a space in it", "tab\tinside-a-token", "ä" * 20])
def test_weak_or_odd_tokens_are_refused(token):
    assert check_token(token)
