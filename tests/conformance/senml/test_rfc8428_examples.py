"""The examples of RFC 8428 section 5.1, with their resolved values written out from the text of the RFC."""

import json
from typing import Any

import pytest

from ext.telemetry.frames import ENCODING_NAMES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings
from ingest.decode import Decoder

# Mon Nov 16 2020; relative times count from here
NOW_MS = 1_605_484_800_000

Row = tuple[str | None, str, str, int, float, str]


def decoded(payload: bytes) -> Readings:
    chunk = FrameChunk("test")
    chunk.add(b"", payload, encoding=ENCODING_NAMES["senml-json"], received_ms=NOW_MS)
    readings = Readings()
    Decoder(DeviceIndex()).decode(chunk, readings)
    return readings


def decode(payload: bytes) -> tuple[list[Row], list[str]]:
    """Readings as (device, metric, unit, time_ms, value, reason), and details of refused payloads."""
    readings = decoded(payload)
    assert all(reason == "malformed_payload" for _, reason, _, _ in readings.refusals_list())
    return [row[1:] for row in readings.rows()], [detail for _, _, detail, _ in readings.refusals_list()]


def rows(pack: Any) -> list[Row]:
    found, refused = decode(json.dumps(pack).encode())
    assert not refused
    return found


def refusal(pack: Any) -> str:
    found, refused = decode(json.dumps(pack).encode())
    assert not found
    return refused[0]


def test_single_datapoint_5_1_1() -> None:
    assert rows([{"n": "urn:dev:ow:10e2073a01080063", "u": "Cel", "v": 23.1}]) == [
        ("ow", "10e2073a01080063", "Cel", NOW_MS, 23.1, "")
    ]


def test_multiple_datapoints_5_1_2() -> None:
    pack = [
        {"bn": "urn:dev:ow:10e2073a01080063:", "n": "voltage", "u": "V", "v": 120.1},
        {"n": "current", "u": "A", "v": 1.2},
    ]
    assert rows(pack) == [
        ("10e2073a01080063", "voltage", "V", NOW_MS, 120.1, ""),
        ("10e2073a01080063", "current", "A", NOW_MS, 1.2, ""),
    ]


def test_base_time_unit_and_version_5_1_2() -> None:
    payload = (
        b'[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},'
        b'{"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},'
        b'{"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","v":1.7}]'
    )
    device = "10e2073a0108006"
    assert decode(payload)[0] == [
        (device, "voltage", "V", 1276020076001, 120.1, ""),
        (device, "current", "A", 1276020071001, 1.2, ""),
        (device, "current", "A", 1276020072001, 1.3, ""),
        (device, "current", "A", 1276020073001, 1.4, ""),
        (device, "current", "A", 1276020074001, 1.5, ""),
        (device, "current", "A", 1276020075001, 1.6, ""),
        (device, "current", "A", 1276020076001, 1.7, ""),
    ]


def test_multiple_measurements_5_1_3() -> None:
    payload = (
        b'[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},{"u":"lon","v":24.30621},'
        b'{"u":"lat","v":60.07965},{"t":60,"v":20.3},{"u":"lon","t":60,"v":24.30622},{"u":"lat","t":60,"v":60.07965},'
        b'{"t":120,"v":20.7},{"u":"lon","t":120,"v":24.30623},{"u":"lat","t":120,"v":60.07966},'
        b'{"u":"%EL","t":150,"v":98},{"t":180,"v":21.2},{"u":"lon","t":180,"v":24.30628},{"u":"lat","t":180,"v":60.07967}]'
    )
    name = ("ow", "10e2073a01080063")
    assert decode(payload)[0] == [
        (*name, "%RH", 1320067464000, 20.0, ""),
        (*name, "lon", 1320067464000, 24.30621, ""),
        (*name, "lat", 1320067464000, 60.07965, ""),
        (*name, "%RH", 1320067524000, 20.3, ""),
        (*name, "lon", 1320067524000, 24.30622, ""),
        (*name, "lat", 1320067524000, 60.07965, ""),
        (*name, "%RH", 1320067584000, 20.7, ""),
        (*name, "lon", 1320067584000, 24.30623, ""),
        (*name, "lat", 1320067584000, 60.07966, ""),
        (*name, "%EL", 1320067614000, 98.0, ""),
        (*name, "%RH", 1320067644000, 21.2, ""),
        (*name, "lon", 1320067644000, 24.30628, ""),
        (*name, "lat", 1320067644000, 60.07967, ""),
    ]


def test_resolved_data_means_what_it_was_resolved_from_5_1_4() -> None:
    pack = [
        {"bn": "urn:dev:ow:10e2073a01080063", "bt": 1.320067464e09, "bu": "%RH", "v": 20},
        {"u": "lon", "v": 24.30621},
        {"t": 60, "v": 20.3},
        {"u": "lon", "t": 60, "v": 24.30622},
        {"u": "%EL", "t": 150, "v": 98},
        {"t": 180, "v": 21.2},
    ]
    resolved = [
        {"n": "urn:dev:ow:10e2073a01080063", "u": "%RH", "t": 1.320067464e09, "v": 20},
        {"n": "urn:dev:ow:10e2073a01080063", "u": "lon", "t": 1.320067464e09, "v": 24.30621},
        {"n": "urn:dev:ow:10e2073a01080063", "u": "%RH", "t": 1.320067524e09, "v": 20.3},
        {"n": "urn:dev:ow:10e2073a01080063", "u": "lon", "t": 1.320067524e09, "v": 24.30622},
        {"n": "urn:dev:ow:10e2073a01080063", "u": "%EL", "t": 1.320067614e09, "v": 98},
        {"n": "urn:dev:ow:10e2073a01080063", "u": "%RH", "t": 1.320067644e09, "v": 21.2},
    ]
    assert rows(pack) == rows(resolved)
    assert len(rows(pack)) == 6


def test_multiple_data_types_5_1_5() -> None:
    pack = [
        {"bn": "urn:dev:ow:10e2073a01080063:", "n": "temp", "u": "Cel", "v": 23.1},
        {"n": "label", "vs": "Machine Room"},
        {"n": "open", "vb": False},
        {"n": "nfc-reader", "vd": "aGkgCg"},
    ]
    device = "10e2073a01080063"
    assert rows(pack) == [(device, "temp", "Cel", NOW_MS, 23.1, "")]
    assert decoded(json.dumps(pack).encode()).text_rows() == [
        (0, device, "label", NOW_MS, "string", b"Machine Room", ""),
        (0, device, "open", NOW_MS, "boolean", b"false", ""),
        (0, device, "nfc-reader", NOW_MS, "data", b"hi \n", ""),
    ]


def test_collection_of_resources_5_1_6() -> None:
    pack = [
        {"bn": "2001:db8::2/", "bt": 1.320078429e09, "n": "temperature", "u": "Cel", "v": 25.2},
        {"n": "humidity", "u": "%RH", "v": 30},
        {"bn": "2001:db8::1/", "n": "temperature", "u": "Cel", "v": 12.3},
        {"n": "humidity", "u": "%RH", "v": 67},
    ]
    assert rows(pack) == [
        ("2", "temperature", "Cel", 1320078429000, 25.2, ""),
        ("2", "humidity", "%RH", 1320078429000, 30.0, ""),
        ("1", "temperature", "Cel", 1320078429000, 12.3, ""),
        ("1", "humidity", "%RH", 1320078429000, 67.0, ""),
    ]


def test_setting_an_actuator_5_1_7() -> None:
    pack = [
        {"bn": "urn:dev:ow:10e2073a01080063:"},
        {"n": "temp", "u": "Cel", "v": 23.1},
        {"n": "heat", "u": "/", "v": 1},
        {"n": "fan", "u": "/", "v": 0},
    ]
    assert rows(pack) == [
        ("10e2073a01080063", "temp", "Cel", NOW_MS, 23.1, ""),
        ("10e2073a01080063", "heat", "/", NOW_MS, 1.0, ""),
        ("10e2073a01080063", "fan", "/", NOW_MS, 0.0, ""),
    ]


def test_turning_lights_on_5_1_7() -> None:
    pack = [{"bt": 1.320078429e09, "bu": "/", "n": "2001:db8::3", "v": 1}, {"n": "2001:db8::4", "v": 1}]
    assert rows(pack) == [("", "3", "/", 1320078429000, 1.0, ""), ("", "4", "/", 1320078429000, 1.0, "")]


def test_turning_lights_off_5_1_7() -> None:
    pack = [
        {"bt": 1.320078429e09, "bu": "/", "n": "2001:db8::3", "v": 0.5},
        {"n": "2001:db8::4", "v": 0.5},
        {"n": "2001:db8::3", "t": 0.1, "v": 0},
        {"n": "2001:db8::4", "t": 0.1, "v": 0},
    ]
    assert rows(pack) == [
        ("", "3", "/", 1320078429000, 0.5, ""),
        ("", "4", "/", 1320078429000, 0.5, ""),
        ("", "3", "/", 1320078429100, 0.0, ""),
        ("", "4", "/", 1320078429100, 0.0, ""),
    ]


def test_base_value_is_added_to_numbers_only() -> None:
    pack = [{"bv": 20, "n": "a", "v": 0.5}, {"n": "a", "vs": "x"}, {"n": "a", "v": -1}, {"bv": 0, "n": "a", "v": 1}]
    assert [row[4] for row in rows(pack) if not row[5]] == [20.5, 19.0, 1.0]


def test_sum_alone_is_no_value_and_beside_a_value_is_ignored() -> None:
    assert [row[4:] for row in rows([{"n": "a", "s": 5}, {"n": "a", "v": 1, "s": 6}])] == [
        (0.0, "sum_without_value"),
        (1.0, ""),
    ]


def test_time_below_2_to_the_28_is_relative_after_adding_4_5_3() -> None:
    assert [row[3] for row in rows([{"n": "a", "v": 1, "bt": 2**28 - 1}, {"n": "a", "v": 1, "t": 1}])] == [
        NOW_MS + (2**28 - 1) * 1000,
        2**28 * 1000,
    ]


def test_unknown_labels_are_ignored_4_4() -> None:
    pack = [{"n": "a", "v": 1, "l": [{"href": None, "x": [True, "v"]}], "ct": "60", "": 1, "ut": 60, "bs": 1}]
    assert rows(pack) == [(None, "a", "", NOW_MS, 1.0, "")]


def test_unknown_label_that_ends_in_underscore_is_an_error_4_4() -> None:
    assert refusal([{"n": "a", "v": 1}, {"n": "a", "v": 1, "ct_": "60"}]) == "unknown label that ends in _"


@pytest.mark.parametrize("version", [1, 5, 10, 26])
def test_supported_versions_are_taken(version: int) -> None:
    assert len(rows([{"bver": version, "n": "a", "v": 1}, {"n": "a", "v": 1}])) == 2


@pytest.mark.parametrize("version", [0, -1, 11, 27, 10.5])
def test_other_versions_are_refused(version: float) -> None:
    assert refusal([{"bver": version, "n": "a", "v": 1}]) == "version not supported"


def test_records_of_different_versions_are_refused() -> None:
    assert refusal([{"n": "a", "v": 1}, {"bver": 5, "n": "a", "v": 1}]) == "records of different versions"


@pytest.mark.parametrize(
    ("pack", "detail"),
    [
        ([], "record missing"),
        ({"n": "a", "v": 1}, "not an array"),
        ([{"n": "a"}], "record without a value"),
        ([{"bn": "a", "t": 0}, {"v": 1}], "record without a value"),
        ([{"n": "a", "v": 1}, {}], "record without a value"),
        ([{"bn": "a"}], "no record with a value"),
        ([{"n": "a", "v": 1, "vs": "x"}], "record with more than one value"),
        ([{"v": 1}], "record without a name"),
        ([{"n": "-a", "v": 1}], "name does not start with a letter or digit"),
        ([{"n": "a b", "v": 1}], "name holds characters other than A-Z a-z 0-9 - : . / _"),
        ([{"n": "a", "v": "1"}], "not a number, or one of more than 1000 characters"),
        ([{"n": 1, "v": 1}], "string expected"),
        ([{"n": "a", "vb": 1}], "boolean expected"),
        ([{"n": "a", "vd": "aGkgC"}], "vd is not base64url without padding"),
        ([{"n": "a", "vd": "aGkgCg=="}], "vd is not base64url without padding"),
        ([{"n": "a", "vd": "+/+/"}], "vd is not base64url without padding"),
        ([{"n": "a", "v": None}], "not a number, or one of more than 1000 characters"),
        ([[]], "record missing"),
    ],
)
def test_invalid_packs_are_refused_with_the_reason(pack: Any, detail: str) -> None:
    assert refusal(pack) == detail


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        (b'[{"n":"a","v":1,"v":2}]', "label given twice in one record"),
        (b'[{"n":"a","v":1}] x', "text after the end"),
        (b'[{"n":"a","v":1}', "comma missing"),
        (b'[{"n":"a","v":1},]', "record missing"),
        (b'[{"n":"a","v":NaN}]', "not a number, or one of more than 1000 characters"),
        (b'[{"n":"a\xff","v":1}]', "not UTF-8"),
        (b'[{"n":"a","v":1,"x":"\n"}]', "control character in a string"),
        (b'[{"n":"a","v":1,"x":"\\ud800"}]', "bad escape in a string"),
        (b'[{"n":"a","v":1,"x":' + b"[" * 40 + b"]" * 40 + b"}]", "nested too deep"),
        (b'[{"n":"a', "string without an end"),
    ],
)
def test_broken_text_is_refused_with_the_reason(payload: bytes, detail: str) -> None:
    assert decode(payload) == ([], [detail])


def test_infinite_number_is_refused_alone() -> None:
    assert [row[5] for row in decode(b'[{"n":"a","v":1e999},{"n":"a","v":1}]')[0]] == ["value_not_finite", ""]
