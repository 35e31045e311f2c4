"""Declared layouts: the Cython decoder, the registry's twin and Python's struct say the same of every payload."""

import math
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.devices.decoder import (
    FIELD_SIZES,
    Decoder,
    Layout,
    LayoutBits,
    LayoutField,
    LayoutRepeat,
    PortDecoder,
    size_of,
)
from registry.devices.decoder_rules import check_decoder
from registry.devices.model import TypeSpec
from registry.devices.payload import PayloadError, decode_layout
from tests.support.declared import UNITS, Answer, comparable_twin, make_index, metrics

NAMES = list(UNITS)[:5]
METRICS = metrics(**{name: f"f_{name}" for name in NAMES})
SOURCES = [f"f_{name}" for name in NAMES]

scales = st.sampled_from([0.0, 1.0, 0.1, 0.01, 0.5, 10.0, 1 / 3, -2.5, 1e-9, 2.0**-60])
offsets = st.sampled_from([0.0, -40.0, 1e6, 0.1])
marks = st.lists(st.sampled_from([0.0, 1.0, 255.0, 65535.0, -1.0, -32768.0, 2.0**64]), max_size=4).map(tuple)
ranges = st.sampled_from([(), (), (0.0, 100.0), (-5.0, 5.0), (1.0, 1.0)])


@st.composite
def fields(draw):
    kind = draw(st.sampled_from([*FIELD_SIZES, "skip"]))
    if kind == "skip":
        return LayoutField(type="skip", size_bytes=draw(st.integers(0, 9)))
    if kind.startswith("u") and draw(st.booleans()):
        parts = []
        for _ in range(draw(st.integers(1, 3))):
            bit = draw(st.integers(0, 8 * FIELD_SIZES[kind] - 1))
            width = draw(st.integers(1, 8 * FIELD_SIZES[kind] - bit))
            name = draw(st.sampled_from([*SOURCES, ""]))
            parts.append(
                LayoutBits(
                    name, bit, width, draw(st.booleans()), draw(scales), draw(offsets), draw(marks), draw(ranges)
                )
            )
        return LayoutField(type=kind, bits=tuple(parts))
    is_float = kind.startswith("f")
    missing_nan = is_float and draw(st.booleans())
    if draw(st.integers(0, 5)) == 0:
        when = draw(st.sampled_from(["unix_s", "unix_ms"]))
        return LayoutField(type=kind, time=when, missing=draw(marks), missing_nan=missing_nan, valid=draw(ranges))
    return LayoutField(
        name=draw(st.sampled_from([*SOURCES, ""])),
        type=kind,
        scale=draw(scales),
        offset=draw(offsets),
        missing=draw(marks),
        missing_nan=missing_nan,
        valid=draw(ranges),
    )


@st.composite
def layouts(draw):
    group = tuple(draw(st.lists(fields(), max_size=3)))
    repeat = LayoutRepeat(
        group,
        draw(st.sampled_from([0, 0, 1, 3])) if group else 0,
        draw(st.sampled_from([0.0, 60.0, -600.0, 0.0005, 31_622_400.0])) if group else 0.0,
        draw(st.sampled_from(["", "first", "last"])) if group else "",
    )
    return Layout(
        f_ports=tuple(draw(st.lists(st.sampled_from([1, 2, 255]), max_size=2))),
        tags=tuple(set(draw(st.lists(st.sampled_from([0, 1, 0xFF]), max_size=2)))),
        byte_order=draw(st.sampled_from(["", "big", "little"])),
        fields=tuple(draw(st.lists(fields(), min_size=0 if group else 1, max_size=5))),
        repeat=repeat,
        may_be_longer=draw(st.booleans()),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(layouts(), min_size=1, max_size=2), st.data())
def test_random_layouts_on_random_payloads(drawn, data):
    spec = TypeSpec("t", default_encoding="layout", metrics=METRICS, decoder=Decoder(layouts=tuple(drawn)))
    assert list(check_decoder(spec)) == []
    index = make_index(spec)
    for layout in drawn:
        fixed = bool(layout.tags) + sum(map(size_of, layout.fields))
        group = sum(map(size_of, layout.repeat.fields))
        right = fixed + group * (layout.repeat.count or data.draw(st.integers(0, 4)))
        size = max(1, right + data.draw(st.sampled_from([0, 0, 0, 0, 1, -1])))
        payload = data.draw(st.binary(min_size=size, max_size=size) | st.sampled_from([b"\0" * size, b"\xff" * size]))
        if layout.tags:
            payload = bytes([data.draw(st.sampled_from([*layout.tags, 7]))]) + payload[1:]
        answer = Answer(index, payload, "layout")
        try:
            wanted = comparable_twin(spec, decode_layout(spec.decoder, payload, None))
        except PayloadError:
            assert answer.reason == "malformed_payload"
            assert not answer.rows
        else:
            assert answer.refusals == []
            assert answer.comparable() == wanted


FORMATS = {
    "u8": "B",
    "u16": "H",
    "u32": "I",
    "u64": "Q",
    "i8": "b",
    "i16": "h",
    "i32": "i",
    "i64": "q",
    "f32": "f",
    "f64": "d",
}


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.sampled_from(["big", "little"]), st.data())
def test_numbers_are_those_of_struct(kind, order, data):
    layout = Layout(byte_order=order, fields=(LayoutField("water_level_m", kind),))
    spec = TypeSpec(
        "t", default_encoding="layout", metrics=metrics(water_level_m=""), decoder=Decoder(layouts=(layout,))
    )
    payload = data.draw(st.binary(min_size=FIELD_SIZES[kind], max_size=FIELD_SIZES[kind]))
    (number,) = struct.unpack((">" if order == "big" else "<") + FORMATS[kind], payload)
    answer = Answer(make_index(spec), payload, "layout")
    if math.isfinite(number):
        assert answer.values == [("water_level_m", float(number))]
    else:
        assert [row[-1] for row in answer.rows] == ["value_not_finite"]


def test_bits_are_counted_from_the_least_significant():
    layout = Layout(
        fields=(
            LayoutField(
                type="u16",
                bits=(
                    LayoutBits("f_water_level_m", 4, 12),
                    LayoutBits("f_temperature_cel", 0, 4, is_signed=True),
                ),
            ),
            LayoutField("f_rain_mm", "u8"),
        )
    )
    spec = TypeSpec(
        "t",
        default_encoding="layout",
        metrics=METRICS,
        decoder=Decoder(layouts=(layout,), ports=(PortDecoder((), "layout"),)),
    )
    answer = Answer(make_index(spec), b"\xab\xcd\x07", "layout")
    assert answer.values == [("water_level_m", 0xABC), ("temperature_cel", -3.0), ("rain_mm", 7.0)]
