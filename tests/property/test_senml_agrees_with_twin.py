"""SenML JSON: whatever the bytes, the Cython pipeline says what the json module and a plain resolver say."""

import json
import random
import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ext.telemetry.number import parse_number
from tests.support.pipeline import Message, Pipeline, expected
from tests.support.resolve_twin import DEVICES, NOW_MS, make_index

PIPELINE = Pipeline(make_index())

# fmt: off
names = st.sampled_from([
    "water_level_m", "temperature_cel", "rain_mm", "vehicle_count", "nothing", "level", "_m", "1", "",
    "wl-1", "wl-1:", "wl-1/", "wl-2:", "tc-1/", "none-such:rain_mm", "wl-1:rain_mm", "wl-old:rain_mm",
    "urn:dev:cf:wl-1:", "urn:dev:cf:tc-1:vehicle_count", "gw-1:temperature_cel", "water_level_m:",
    ":", "a:", "a::", "::b", "-x", "_y", "ü", "a b",
])
# fmt: on
units = st.sampled_from(["", "m", "cm", "mm", "km", "Cel", "K", "[degF]", "count", "%", "µm", "furlong", "m" * 20])
times = st.one_of(
    st.sampled_from([0, -5, 60, 2**28, 2**28 - 1, 1.7e9, 1_699_999_999.1234, 4.2e9, 1e308, -1e308, 1e400, 946_684_800]),
    st.integers(-(10**6), 10**6),
    st.floats(1.6e9, 1.71e9),
)
doubles = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**30), 10**30), st.floats(-50, 150), st.just(-0.0)
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), doubles, st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)
good_values = st.one_of(
    st.tuples(st.just("v"), doubles),
    st.tuples(st.just("vs"), st.text()),
    st.tuples(st.just("vb"), st.booleans()),
    st.tuples(st.just("vd"), st.one_of(st.just("aGkgCg"), st.text("Aaz09-_", max_size=9))),
    st.tuples(st.just("s"), doubles),
)
members = st.one_of(
    st.tuples(st.just("n"), names),
    st.tuples(st.just("bn"), names),
    st.tuples(st.just("u"), units),
    st.tuples(st.just("bu"), units),
    st.tuples(st.just("t"), times),
    st.tuples(st.just("bt"), times),
    st.tuples(st.just("bv"), doubles),
    st.tuples(st.sampled_from(["bs", "s", "ut"]), doubles),
    st.tuples(st.just("bver"), st.sampled_from([1, 5, 10, 26, 10.0, 1e1])),
    st.tuples(st.text(max_size=3).filter(lambda label: not label.endswith("_")), anything),
)
rare_members = st.one_of(
    st.tuples(st.just("bver"), st.sampled_from([0, 11, 27, -1, 10.5, 1e300])),
    st.tuples(st.sampled_from(["x_", "_", "bn_", "v_"]), anything),
    st.tuples(st.sampled_from(["n", "u", "v", "vs", "vb", "vd", "t", "bt", "bn", "bu", "bv", "bver", "ut"]), anything),
    good_values,
)


def record_text(pairs: list[tuple[str, Any]], ascii_only: bool, space: str) -> str:
    """An object that may hold a label twice, as json.dumps cannot write it."""
    parts = [
        json.dumps(label, ensure_ascii=ascii_only) + space + ":" + space + json.dumps(value, ensure_ascii=ascii_only)
        for label, value in pairs
    ]
    return space + "{" + space + ("," + space).join(parts) + space + "}"


@st.composite
def packs(draw: st.DrawFn) -> bytes:
    ascii_only = draw(st.booleans())
    space = draw(st.sampled_from(["", "", " ", "\n\t", "\r\n "]))
    texts = []
    for _ in range(draw(st.integers(1, 4))):
        pairs = draw(st.lists(members, max_size=4, unique_by=lambda pair: pair[0]))
        if draw(st.integers(0, 9)):
            pairs.append(draw(good_values))
        if not draw(st.integers(0, 7)):
            pairs.append(draw(rare_members))
        texts.append(record_text(draw(st.permutations(pairs)), ascii_only, space))
    return (space + "[" + ",".join(texts) + space + "]" + space).encode(errors="surrogatepass")


senders = st.sampled_from([*DEVICES, None])
scopes = st.sampled_from(["device", "gateway"])


def messages_of(payloads: st.SearchStrategy[bytes]) -> st.SearchStrategy[Message]:
    return st.tuples(payloads, senders, scopes).map(lambda parts: Message(*parts))


def compare(messages: list[Message]) -> None:
    found, wanted = PIPELINE.outcome(messages), expected(messages)
    assert found.quarantine == wanted.quarantine
    assert found.texts == wanted.texts
    assert [{**row, "value": struct.pack("d", row["value"])} for row in found.rows] == [
        {**row, "value": struct.pack("d", row["value"])} for row in wanted.rows
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(messages_of(packs()), min_size=1, max_size=3))
@example([Message(b'[{"n":"rain_mm","v":-0.0},{"bv":0,"n":"rain_mm","v":-0.0}]')])
@example([Message(b'[{"bn":"wl-1","n":":rain_mm","v":1},{"bn":"wl-","n":"1:rain_mm","v":1}]')])
@example([Message(b'[{"\\u006e":"rain\\u005fmm","\\u0076":1}]')])
@example([Message(b'[{"n":"rain_mm","v":1,"x":"\\ud83d\\ude00","u":"\\u006dm"}]')])
@example([Message(b'[{"n":"rain_mm","v":1,"x":"\\ud83d"}]')])
@example([Message(b'[{"n":"rain_mm","v":1,"x":"\\ude00\\ud83d"}]')])
@example([Message(b'[{"n":"rain_mm","v":1,"x":' + b"[" * 32 + b"]" * 32 + b"}]")])
@example([Message(b'[{"n":"rain_mm","v":1,"x":' + b"[" * 33 + b"]" * 33 + b"}]")])
@example([Message(b'[{"n":"rain_mm","v":' + b"1" * 1000 + b"}]")])
@example([Message(b'[{"n":"rain_mm","v":' + b"1" * 1001 + b"}]")])
@example([Message(b'[{"n":"rain_mm","bv":1e308,"v":1e308}]')])
@example([Message(b'[{"n":"rain_mm","u":"km","v":1e308}]')])
@example([Message(b'[{"n":"rain_mm","bt":1e400,"t":-1e400,"v":1}]')])
@example([Message(b"\xef\xbb\xbf[]"), Message(b"[]"), Message(b""), Message(b"\0"), Message(b"[{}]"), Message(b"{}")])
@example([Message(b"[" * 100_000), Message(b'[{"x":' + b'{"a":' * 50_000)])
def test_packs_become_the_twins_rows_bit_by_bit(messages: list[Message]) -> None:
    compare(messages)


@settings(max_examples=150, deadline=None)
@given(packs(), st.data())
def test_broken_packs_are_refused_as_the_twin_refuses_them(payload: bytes, data: st.DataObject) -> None:
    broken = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(broken) - 1, 0)))
        what = data.draw(st.sampled_from(["cut", "flip", "drop", "double", "byte"]))
        if what == "cut":
            del broken[at:]
        elif what == "flip" and broken:
            broken[at] ^= 1 << data.draw(st.integers(0, 7))
        elif what == "drop":
            del broken[at : at + data.draw(st.integers(1, 4))]
        elif what == "double":
            broken[at:at] = broken[at : at + 5]
        else:
            broken[at : at + 1] = data.draw(
                st.sampled_from([b'"', b"\\", b"\xc3", b"\xff", b",", b"}", b"0", b"-", b"\0"])
            )
    compare([Message(bytes(broken))])


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text('[]{}",:\\-+.eE0123456789nvtubsd_ ', max_size=40).map(str.encode)))
def test_noise_is_refused_as_the_twin_refuses_it(payload: bytes) -> None:
    compare([Message(payload)])


@settings(max_examples=150, deadline=None)
@given(st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?", fullmatch=True))
def test_numbers_are_the_nearest_doubles(text: str) -> None:
    assert struct.pack("d", parse_number(text.encode())) == struct.pack("d", float(text))


def test_numbers_at_and_beside_the_middle_of_two_doubles_are_rounded_to_even() -> None:
    numbers = random.Random(8)
    for _ in range(20_000):
        middle = 2 * (numbers.getrandbits(53) | 1 << 52) + 1  # 54 bits: half way between two doubles
        power = numbers.randrange(5)
        for text in (
            str(middle << numbers.randrange(10)),
            f"{middle * 5**power}e-{power}",
            f"{middle - 1}.{'9' * numbers.randrange(1, 20)}",
            f"{middle}.{'0' * numbers.randrange(1, 20)}1",
            repr(struct.unpack("d", struct.pack("Q", numbers.getrandbits(62)))[0]),
            f"{numbers.getrandbits(64)}e{numbers.randrange(-330, 300)}",
        ):
            assert struct.pack("d", parse_number(text.encode())) == struct.pack("d", float(text)), text


@pytest.mark.parametrize(
    "text", ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x1", "NaN", "Infinity", " 1", "1 ", "1_0", "1" * 1001]
)
def test_what_json_does_not_call_a_number_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse_number(text.encode())


def test_relative_time_counts_from_when_the_frame_came_in() -> None:
    rows, _ = PIPELINE.run([Message(b'[{"n":"rain_mm","v":1},{"n":"rain_mm","v":1,"t":-2.5}]')])
    assert [row["ts"] for row in rows] == [NOW_MS, NOW_MS - 2500]
