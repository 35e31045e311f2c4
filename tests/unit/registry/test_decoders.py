"""How a device type's payloads are decoded: each rule broken once, and test vectors that fail say where."""

from typing import Any

import msgspec
import pytest

from registry.api.decoder import decoder_message, decoder_of, vector_message, vector_of
from registry.devices.catalogue import check_source_units
from registry.devices.decoder import (
    Decoder,
    ExpectedReading,
    JsonMapping,
    Layout,
    LayoutBits,
    LayoutField,
    LayoutRepeat,
    PortDecoder,
    TestVector,
)
from registry.devices.decoder_rules import check_decoder
from registry.devices.json_path import steps_of
from registry.devices.model import TypeSpec
from registry.devices.payload import rfc3339_ms
from registry.devices.vectors import check_vectors
from tests.support.declared import UNITS, metrics

LAYOUT = Layout(
    f_ports=(2,),
    byte_order="little",
    fields=(
        LayoutField(name="level", type="u16", scale=0.1, missing=(65535,)),
        LayoutField(type="u8", bits=(LayoutBits(name="bat", bit=1, width=7),)),
    ),
    repeat=LayoutRepeat(fields=(LayoutField(name="level", type="u16", scale=0.1),), step_s=-600),
)
GOOD = TypeSpec(
    "lora-level",
    default_encoding="layout",
    metrics=metrics(water_level_m="level cm", battery_pct="bat"),
    decoder=Decoder(layouts=(LAYOUT,), ports=(PortDecoder((2,), "layout"), PortDecoder((), "network-server"))),
)


def changed(**changes: Any) -> TypeSpec:
    """GOOD with another decoder: fields of Decoder, or `layout_*` and `field_*` of its first layout and field."""
    field = {name[6:]: value for name, value in changes.items() if name.startswith("field_")}
    layout = {name[7:]: value for name, value in changes.items() if name.startswith("layout_")}
    rest = {name: value for name, value in changes.items() if not name.startswith(("field_", "layout_"))}
    if field:
        layout["fields"] = (msgspec.structs.replace(LAYOUT.fields[0], **field),)
    if layout:
        rest["layouts"] = (msgspec.structs.replace(LAYOUT, **layout),)
    return msgspec.structs.replace(GOOD, decoder=msgspec.structs.replace(GOOD.decoder, **rest))


def found(spec: TypeSpec) -> list[tuple[str, str]]:
    return [(violation.field, violation.reason) for violation in check_decoder(spec)]


def test_a_complete_decoder_passes():
    assert found(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"json": JsonMapping(time="ts")}, "decoder.json.time_format", "TIME_FORMAT_UNKNOWN"),
        ({"json": JsonMapping(time="ts", time_format="iso")}, "decoder.json.time_format", "TIME_FORMAT_UNKNOWN"),
        ({"json": JsonMapping(time_format="unix_s")}, "decoder.json.time", "TIME_PATH_MISSING"),
        ({"json": JsonMapping(records="a..b")}, "decoder.json.records", "PATH_INVALID"),
        ({"json": JsonMapping(device="a[x]")}, "decoder.json.device", "PATH_INVALID"),
        ({"json": JsonMapping(records="a." * 31 + "b")}, "decoder.json.records", "PATH_TOO_LONG"),
        ({"ports": (PortDecoder((2,), "base64"),)}, "decoder.ports[0].format", "FORMAT_UNKNOWN"),
        ({"ports": (PortDecoder((256,), "lpp"),)}, "decoder.ports[0].f_ports", "PORT_INVALID"),
        ({"ignored": ("level",)}, "decoder.ignored[0]", "SOURCE_TWICE"),
        ({"ignored": ("",)}, "decoder.ignored[0]", "SOURCE_INVALID"),
        ({"layout_f_ports": (0,)}, "decoder.layouts[0].f_ports", "PORT_INVALID"),
        ({"layout_tags": (1, 1)}, "decoder.layouts[0].tags", "TAG_INVALID"),
        ({"layout_tags": (256,)}, "decoder.layouts[0].tags", "TAG_INVALID"),
        ({"layout_byte_order": "middle"}, "decoder.layouts[0].byte_order", "BYTE_ORDER_UNKNOWN"),
        ({"layout_fields": (), "layout_repeat": LayoutRepeat()}, "decoder.layouts[0].fields", "LAYOUT_EMPTY"),
        ({"layout_repeat": LayoutRepeat(count=2)}, "decoder.layouts[0].repeat.fields", "LAYOUT_EMPTY"),
        (
            {"layout_repeat": msgspec.structs.replace(LAYOUT.repeat, anchor="end")},
            "decoder.layouts[0].repeat.anchor",
            "ANCHOR_UNKNOWN",
        ),
        (
            {"layout_repeat": msgspec.structs.replace(LAYOUT.repeat, step_s=1e9)},
            "decoder.layouts[0].repeat.step_s",
            "STEP_TOO_LONG",
        ),
        (
            {"layout_repeat": msgspec.structs.replace(LAYOUT.repeat, count=40_000)},
            "decoder.layouts[0]",
            "LAYOUT_TOO_LONG",
        ),
        ({"field_type": "u12"}, "decoder.layouts[0].fields[0].type", "FIELD_TYPE_UNKNOWN"),
        ({"field_type": "skip"}, "decoder.layouts[0].fields[0]", "FIELD_CONTRADICTS"),
        ({"field_size_bytes": 2}, "decoder.layouts[0].fields[0].size_bytes", "FIELD_CONTRADICTS"),
        ({"field_time": "unix_s"}, "decoder.layouts[0].fields[0]", "FIELD_CONTRADICTS"),
        ({"field_name": "", "field_time": "rfc3339"}, "decoder.layouts[0].fields[0].time", "TIME_FORMAT_UNKNOWN"),
        ({"field_missing_nan": True}, "decoder.layouts[0].fields[0].missing_nan", "FIELD_CONTRADICTS"),
        ({"field_name": "depth"}, "decoder.layouts[0].fields[0].name", "SOURCE_UNKNOWN"),
        ({"field_scale": float("nan")}, "decoder.layouts[0].fields[0]", "NUMBER_NOT_FINITE"),
        ({"field_scale": 5e-324}, "decoder.layouts[0].fields[0].scale", "NUMBER_NOT_FINITE"),
        ({"field_missing": (1, 2, 3, 4, 5)}, "decoder.layouts[0].fields[0].missing", "TOO_MANY_MISSING"),
        ({"field_valid": (5, 4)}, "decoder.layouts[0].fields[0].valid", "RANGE_EMPTY"),
        (
            {"field_name": "", "field_bits": (LayoutBits("bat", 10, 7),)},
            "decoder.layouts[0].fields[0].bits[0]",
            "BITS_OUTSIDE",
        ),
        (
            {"field_name": "", "field_type": "i16", "field_bits": (LayoutBits("bat", 1, 7),)},
            "decoder.layouts[0].fields[0].bits",
            "FIELD_CONTRADICTS",
        ),
    ],
)
def test_what_cannot_be_decoded_is_refused(changes, field, reason):
    assert (field, reason) in found(changed(**changes))


def test_a_layout_type_has_a_layout():
    assert found(msgspec.structs.replace(GOOD, decoder=Decoder())) == [("decoder.layouts", "LAYOUT_MISSING")]


def test_encodings_of_network_servers_are_for_gateways():
    spec = TypeSpec("ns", default_encoding="chirpstack")
    assert found(spec) == [("default_encoding", "ENCODING_OF_GATEWAYS")]
    assert found(msgspec.structs.replace(spec, is_gateway=True)) == []


def test_sources_are_told_apart():
    twice = metrics(water_level_m="level", battery_pct="level")
    assert found(TypeSpec("t", metrics=twice)) == [("metrics[1].source", "SOURCE_TWICE")]
    other = metrics(water_level_m="battery_pct", battery_pct="b")
    assert found(TypeSpec("t", metrics=other)) == [("metrics[0].source", "SOURCE_IS_METRIC")]


def test_a_source_of_json_is_a_path():
    spec = TypeSpec("t", default_encoding="json", metrics=metrics(water_level_m="a["))
    assert found(spec) == [("metrics[0].source", "PATH_INVALID")]
    assert found(msgspec.structs.replace(spec, default_encoding="senml-json")) == []


def test_a_source_unit_must_convert():
    (violation,) = check_source_units(TypeSpec("t", metrics=metrics(water_level_m="level Cel")), UNITS)
    assert (violation.field, violation.reason) == ("metrics[0].source_unit", "UNIT_NOT_CONVERTIBLE")
    assert check_source_units(GOOD, UNITS) == []


def failures(vector: TestVector, spec: TypeSpec = GOOD) -> list[str]:
    return [v.description for v in check_vectors(msgspec.structs.replace(spec, vectors=(vector,)), UNITS)]


PAYLOAD = bytes.fromhex("e803c8d007")  # level 1000 (100.0 cm), battery 100, one sample of 2000 (200.0 cm)
LEVEL = ExpectedReading("level", (100.0, 200.0))
BATTERY = ExpectedReading("bat", (100.0,))


def test_a_right_vector_passes_by_source_and_by_metric():
    assert failures(TestVector("", PAYLOAD, None, 2, (LEVEL, BATTERY))) == []
    in_metres = ExpectedReading("water_level_m", (1.0, 2.0))
    assert failures(TestVector("", PAYLOAD, None, 2, (in_metres, BATTERY))) == []
    assert failures(TestVector("", PAYLOAD, None, None, (LEVEL, BATTERY))) == []


@pytest.mark.parametrize(
    ("vector", "text"),
    [
        (
            TestVector("full", PAYLOAD, None, 2, (ExpectedReading("level", (100.0, 200.5)), BATTERY)),
            "`full`: level: expected 100, 200.5, got 100, 200",
        ),
        (TestVector("", PAYLOAD, None, 2, (LEVEL,)), "bat: expected no reading, got 100"),
        (
            TestVector("", PAYLOAD, None, 2, (LEVEL, BATTERY, ExpectedReading("temp", (1.0,)))),
            "temp: expected 1, got no reading",
        ),
        (
            TestVector("", PAYLOAD[:2], None, 2, (LEVEL,)),
            "expected readings, got the error: 2 bytes are shorter than the layout, which has 3",
        ),
        (
            TestVector("", PAYLOAD, None, 2, (), "shorter"),
            "expected the error 'shorter', got readings of level, bat",
        ),
        (
            TestVector("", PAYLOAD[:2], None, 2, (), "longer"),
            "expected the error 'longer', got the error: 2 bytes are shorter than the layout, which has 3",
        ),
        (
            TestVector("", PAYLOAD, None, 3, (LEVEL,)),
            "expected readings, got the error: port 3: what the network server has decoded is missing",
        ),
        (TestVector("", None, '{"level": 1}', 2, (LEVEL,)), "port 2 is decoded as layout, not by the network server"),
        (TestVector("", PAYLOAD, "{}", 2, (LEVEL,)), "give a payload or a json document, one of the two"),
        (TestVector("", PAYLOAD, None, 0, (LEVEL,)), "f_port 0 is not a LoRaWAN port, 1 to 255"),
        (TestVector("", PAYLOAD, None, 2), "says neither what it decodes to (expect) nor why it is refused (error)"),
        (TestVector("", PAYLOAD, None, 2, (LEVEL, BATTERY), "", ("today",)), "times are RFC 3339"),
    ],
)
def test_a_failing_vector_says_what_was_expected_and_what_came(vector, text):
    (said,) = failures(vector)
    assert text in said


def test_an_error_that_is_expected_passes():
    assert failures(TestVector("", PAYLOAD[:2], None, 2, (), "shorter than the layout")) == []


def test_what_the_network_server_decoded_is_tested_by_its_json():
    vector = TestVector("", None, '{"level": 12, "bat": 5}', 9, (ExpectedReading("water_level_m", (0.12,)),))
    assert failures(vector) == ["bat: expected no reading, got 5"]


def test_times_of_samples_are_tested():
    layout = Layout(
        fields=(LayoutField(type="u32", time="unix_s"),),
        repeat=LayoutRepeat((LayoutField("level", "u8"),), step_s=60, anchor="last"),
    )
    spec = changed(layouts=(layout,))
    payload = bytes.fromhex("6957a0000102")
    levels = (ExpectedReading("level", (1.0, 2.0)),)
    good = TestVector("", payload, None, 2, levels, "", ("2026-01-02T10:36:52Z", "2026-01-02T10:37:52Z"))
    assert failures(good, spec) == []
    bad = msgspec.structs.replace(good, times=("2026-01-02T10:36:52Z",))
    assert "times: expected" in failures(bad, spec)[0]


def test_decoders_and_vectors_survive_protobuf():
    spec = changed(json=JsonMapping("r", "t", "unix_ms", "d"), ignored=("x",))
    assert decoder_of(decoder_message(spec.decoder)) == spec.decoder
    assert decoder_message(Decoder()) is None
    for vector in (
        TestVector("a", b"", None, 2, (LEVEL,), "", ("2026-01-02T10:38:24Z",)),
        TestVector("b", None, "{}", None, (ExpectedReading("s", (), ("on",)),), "e"),
    ):
        assert vector_of(vector_message(vector)) == vector


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("", ()),
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("values[0].v", ("values", 0, "v")),
        ("[1][2]", (1, 2)),
        (r"a\.b.c\[0\]\\", ("a.b", "c[0]\\")),
        ("độ ẩm", ("độ ẩm",)),
    ],
)
def test_paths(path, steps):
    assert steps_of(path) == steps


@pytest.mark.parametrize("path", [".", "a.", ".a.", "a..b", "a[", "a[]", "a[x]", "a[-1]", "a[12345]", "a\\", r"a\b"])
def test_bad_paths(path):
    with pytest.raises(ValueError):
        steps_of(path)


def test_times_have_a_zone():
    assert rfc3339_ms("1970-01-01T00:00:00.0019Z") == 1
    assert rfc3339_ms("1970-01-01T07:00:00+07:00") == 0
    assert rfc3339_ms("1970-01-01T00:00:00") is None
