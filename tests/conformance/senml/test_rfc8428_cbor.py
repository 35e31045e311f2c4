"""SenML CBOR (RFC 8428 section 6): the RFC's own bytes, and its JSON examples in CBOR say the same as in JSON."""

import json
from typing import Any

import cbor2
import pytest

from ext.telemetry.frames import ENCODING_NAMES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings
from ingest.decode import Decoder

# Mon Nov 16 2020; relative times count from here
NOW_MS = 1_605_484_800_000
LABELS = {"bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6} | {
    label: number for number, label in enumerate(["n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"])
}
OW = "urn:dev:ow:10e2073a01080063"
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "5.1.1": [{"n": OW, "u": "Cel", "v": 23.1}],
    "5.1.2": [{"bn": OW + ":", "n": "voltage", "u": "V", "v": 120.1}, {"n": "current", "u": "A", "v": 1.2}],
    "5.1.2 in time": [
        {"bn": OW + ":", "bt": 1276020076.001, "bu": "A", "bver": 5, "n": "voltage", "u": "V", "v": 120.1},
        *({"n": "current", "t": at, "v": 1.2} for at in range(-5, 0)),
        {"n": "current", "v": 1.7},
    ],
    "5.1.3": [
        {"bn": OW, "bt": 1320067464, "bu": "%RH", "v": 20},
        {"u": "lon", "v": 24.30621},
        {"t": 60, "v": 20.3},
        {"u": "%EL", "t": 150, "v": 98},
    ],
    "5.1.5": [
        {"bn": OW + ":", "n": "temp", "u": "Cel", "v": 23.1},
        {"n": "label", "vs": "Machine Room"},
        {"n": "open", "vb": False},
        {"n": "nfc-reader", "vd": "aGkgCg"},
    ],
    "5.1.6": [
        {"bn": "2001:db8::2/", "bt": 1320078429, "n": "temperature", "u": "Cel", "v": 25.2},
        {"n": "humidity", "u": "%RH", "v": 30},
        {"bn": "2001:db8::1/", "n": "temperature", "u": "Cel", "v": 12.3},
        {"n": "humidity", "u": "%RH", "v": 67},
    ],
    "5.1.7": [{"bn": OW + ":"}, {"n": "temp", "u": "Cel", "v": 23.1}, {"n": "heat", "u": "/", "v": 1}],
    "5.1.7 lights": [{"bt": 1320078429, "bu": "/", "n": "2001:db8::3", "v": 1}, {"n": "2001:db8::4", "v": 1}],
}
# The dump in RFC 8428 section 6: the second example of section 5.1.2.
RFC_BYTES = bytes.fromhex(
    "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a"
    "22fb41d303a15b00106223614120050067766f6c74616765016156"
    "02fb405e066666666666"
    "a3006763757272656e74062402fb3ff3333333333333"
    "a3006763757272656e74062302fb3ff4cccccccccccd"
    "a3006763757272656e74062202fb3ff6666666666666"
    "a3006763757272656e74062102f93e00"
    "a3006763757272656e74062002fb3ff999999999999a"
    "a3006763757272656e74060002fb3ffb333333333333"
)


def decoded(payload: bytes, encoding: str = "senml-cbor") -> Readings:
    chunk = FrameChunk("test")
    chunk.add(b"", payload, encoding=ENCODING_NAMES[encoding], received_ms=NOW_MS)
    readings = Readings()
    Decoder(DeviceIndex()).decode(chunk, readings)
    return readings


def in_cbor(pack: list[dict[str, Any]], is_numbered: bool = True) -> list[dict[str | int, Any]]:
    data = {"aGkgCg": b"hi \n"}
    return [
        {LABELS[label] if is_numbered else label: data.get(value, value) for label, value in record.items()}
        for record in pack
    ]


def refusal(payload: bytes) -> str:
    readings = decoded(payload)
    assert len(readings) == 0
    ((_, reason, detail, _),) = readings.refusals_list()
    assert reason == "malformed_payload"
    return detail


def test_the_rfcs_own_bytes() -> None:
    device = "10e2073a0108006"
    assert [row[1:] for row in decoded(RFC_BYTES).rows()] == [
        (device, "voltage", "V", 1276020076001, 120.1, ""),
        (device, "current", "A", 1276020071001, 1.2, ""),
        (device, "current", "A", 1276020072001, 1.3, ""),
        (device, "current", "A", 1276020073001, 1.4, ""),
        (device, "current", "A", 1276020074001, 1.5, ""),
        (device, "current", "A", 1276020075001, 1.6, ""),
        (device, "current", "A", 1276020076001, 1.7, ""),
    ]


@pytest.mark.parametrize("name", sorted(EXAMPLES))
@pytest.mark.parametrize("is_numbered", [True, False])
def test_the_rfcs_examples_say_the_same_in_cbor(name: str, is_numbered: bool) -> None:
    pack = EXAMPLES[name]
    cbor = decoded(cbor2.dumps(in_cbor(pack, is_numbered)))
    as_json = decoded(json.dumps(pack).encode(), "senml-json")
    assert cbor.rows() == as_json.rows()
    assert cbor.text_rows() == as_json.text_rows()
    assert not cbor.refusals_list()


def test_a_stream_of_indefinite_length_is_taken() -> None:
    records = b"".join(cbor2.dumps(record) for record in in_cbor(EXAMPLES["5.1.6"]))
    assert decoded(b"\x9f" + records + b"\xff").rows() == decoded(cbor2.dumps(in_cbor(EXAMPLES["5.1.6"]))).rows()
    assert refusal(b"\x9f" + records) == "ends early"


def test_unknown_labels_are_skipped_4_4() -> None:
    pack = [{0: "a", 2: 1, 9: [1], "ct": {"x": b"y"}, 2**40: None, -77: cbor2.CBORTag(1, 5)}]
    assert [row[2:] for row in decoded(cbor2.dumps(pack)).rows()] == [("a", "", NOW_MS, 1.0, "")]


def test_unknown_label_that_ends_in_underscore_is_an_error_4_4() -> None:
    assert refusal(cbor2.dumps([{0: "a", 2: 1, "ct_": 60}])) == "unknown label that ends in _"


def test_numbers_that_are_not_finite_are_refused_alone() -> None:
    pack = [{0: "a", 2: value} for value in (float("nan"), float("inf"), -float("inf"), 1)]
    assert [row[6] for row in decoded(cbor2.dumps(pack)).rows()] == ["value_not_finite"] * 3 + [""]


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        (cbor2.dumps([]), "no record with a value"),
        (cbor2.dumps({0: "a", 2: 1}), "not an array"),
        (cbor2.dumps([[0, "a"]]), "record is no map"),
        (cbor2.dumps([{0: "a"}]), "record without a value"),
        (cbor2.dumps([{0: "a", 2: 1, 3: "x"}]), "record with more than one value"),
        (cbor2.dumps([{0: "a", 2: 1, "n": "b"}]), "label given twice in one record"),
        (cbor2.dumps([{0: "a", 2: 1, b"n": "b"}]), "label is neither an integer nor text"),
        (cbor2.dumps([{0: b"a", 2: 1}]), "string of another type expected"),
        (cbor2.dumps([{0: "a", 8: "x"}]), "string of another type expected"),
        (cbor2.dumps([{0: "a", 2: "1"}]), "number expected"),
        (cbor2.dumps([{0: "a", 2: None}]), "number expected"),
        (cbor2.dumps([{0: "a", 4: 1}]), "boolean expected"),
        (cbor2.dumps([{0: "a", 2: 1, -1: 10.0}]), "version not supported"),
        (cbor2.dumps([{0: "a", 2: 1, -1: 11}]), "version not supported"),
        (cbor2.dumps([{0: "a", 2: 1}]) + b"\x00", "bytes after the end"),
        (cbor2.dumps([{0: "a", 2: 1}])[:-1], "ends early"),
        (cbor2.dumps([{0: "a", 2: cbor2.CBORTag(4, [1])}]), "fraction is no array of two"),
        (cbor2.dumps([{0: "a", 2: cbor2.CBORTag(4, [1.5, 1])}]), "exponent is no integer"),
        (cbor2.dumps([{0: "a", 2: 1 << 600}]), "bignum of more than 64 bytes"),
        (b"\x81\xa2\x00\x61\xff\x02\x01", "not UTF-8"),
        (b"\x81\xa2\x00\x64abc", "string runs over the end"),
        (b"\x81\xa3\x00\x61a\x02\x01\x61x" + b"\x81" * 33 + b"\x00", "nested too deep"),
        (b"\x81\xa2\x00\x61a\x02\x1c", "reserved additional information"),
        (b"\x81\xa2\x00\x61a\x02\x1f", "indefinite length where there is none"),
        (b"\x81\xa2\x00\x7f\x41a\xff\x02\x01", "piece of a string of another type"),
        (b"\x81\xa3\x00\x61a\x02\x01\x61x\xff", "break where an item is expected"),
    ],
)
def test_invalid_packs_are_refused_with_the_reason(payload: bytes, detail: str) -> None:
    assert refusal(payload) == detail
