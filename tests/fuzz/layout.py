"""Fuzzing declared layouts: any bytes, under layouts of every kind, give what the registry's twin gives."""

from registry.devices.decoder import Decoder, Layout, LayoutBits, LayoutField, LayoutRepeat
from registry.devices.model import TypeSpec
from registry.devices.payload import PayloadError, decode_layout
from tests.support.declared import Answer, comparable_twin, make_index, metrics

METRICS = metrics(water_level_m="a", temperature_cel="b", rain_mm="c")
LAYOUTS = (
    Layout(
        tags=(1,),
        fields=(
            LayoutField("a", "u16", scale=0.1, missing=(65535,)),
            LayoutField("b", "f32", missing_nan=True, valid=(-50, 50)),
            LayoutField(type="skip", size_bytes=3),
            LayoutField(type="u64", bits=(LayoutBits("c", 3, 61), LayoutBits("a", 60, 4, is_signed=True))),
        ),
    ),
    Layout(
        tags=(2, 3),
        byte_order="little",
        fields=(LayoutField(type="u32", time="unix_s", missing=(0,)),),
        repeat=LayoutRepeat((LayoutField("a", "i24"), LayoutField("b", "f64")), step_s=-31_622_400),
    ),
    Layout(
        tags=(4,),
        repeat=LayoutRepeat((LayoutField(type="f64", time="unix_ms"), LayoutField("c", "i64")), count=2, anchor="last"),
        may_be_longer=True,
    ),
    Layout(repeat=LayoutRepeat((LayoutField("a", "u8"),), step_s=0.001, anchor="last"), may_be_longer=True),
)
SPEC = TypeSpec("fuzzed", default_encoding="layout", metrics=METRICS, decoder=Decoder(layouts=LAYOUTS))
INDEX = make_index(SPEC)
CORPUS = [
    bytes.fromhex("01 ffff 7fc00000 000000 ffffffffffffffff"),
    bytes.fromhex("01 0102 41200000 000000 8000000000000007"),
    bytes.fromhex("02 00a05769 010203 000000000000f03f ffffff 000000000000f87f"),
    bytes.fromhex("04 43f0000000000000 8000000000000000 0000000000000001 7fffffffffffffff 00"),
    bytes.fromhex("05 060708"),
]


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if the extension and the twin do not agree."""
    if not data:
        return
    answer = Answer(INDEX, data, "layout")
    try:
        wanted = comparable_twin(SPEC, decode_layout(SPEC.decoder, data, None))
    except PayloadError:
        assert answer.refusals
        assert not answer.rows
    else:
        assert not answer.refusals
        assert repr(answer.comparable()) == repr(wanted)
