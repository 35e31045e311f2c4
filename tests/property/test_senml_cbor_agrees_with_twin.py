"""SenML CBOR: whatever the bytes, the Cython pipeline says what a plain parser and cbor2 say."""

import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support import senml_cbor_twin
from tests.support.pipeline import Message, Outcome, Pipeline, expected
from tests.support.resolve_twin import DEVICES, NOW_MS, make_index
from tests.support.senml_twin import MalformedError

PIPELINE = Pipeline(make_index())
LABELS = {label: number for number, label in senml_cbor_twin.LABELS.items()}


def head(major: int, value: int, width: int = 0) -> bytes:
    """`width`: bytes of the value, 0 for the fewest."""
    if not width and value < 24:
        return bytes([major << 5 | value])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if size >= width and value < 1 << 8 * size:
            return bytes([major << 5 | info]) + value.to_bytes(size)
    raise AssertionError(value)


def encoded(draw: st.DrawFn, item: Any) -> bytes:
    """Any well-formed way to write an item: long heads, pieces, indefinite lengths, all widths of floats."""
    width = draw(st.sampled_from([0, 0, 0, 1, 2, 4, 8]))
    if isinstance(item, Raw):
        return item
    if isinstance(item, bool) or item is None:
        return cbor2.dumps(item)
    if isinstance(item, int):
        return head(0, item, width) if item >= 0 else head(1, -1 - item, width)
    if isinstance(item, float):
        for code, mark in ((">e", 25), (">f", 26)):
            try:
                packed = struct.pack(code, item)
            except OverflowError:
                continue
            if struct.unpack(code, packed)[0] == item and draw(st.booleans()):
                return bytes([7 << 5 | mark]) + packed
        return b"\xfb" + struct.pack(">d", item)
    if isinstance(item, str | bytes):
        major = 3 if isinstance(item, str) else 2
        if draw(st.integers(0, 5)):
            data = item.encode() if isinstance(item, str) else item
            return head(major, len(data), width) + data
        middle = draw(st.integers(0, len(item)))
        pieces = [part.encode() if isinstance(part, str) else part for part in (item[:middle], item[middle:])]
        return bytes([major << 5 | 31]) + b"".join(head(major, len(part)) + part for part in pieces) + b"\xff"
    if not isinstance(item, Map):
        inner = b"".join(encoded(draw, one) for one in item)
        return head(4, len(item), width) + inner if draw(st.booleans()) else b"\x9f" + inner + b"\xff"
    inner = b"".join(encoded(draw, key) + encoded(draw, value) for key, value in item)
    return head(5, len(item), width) + inner if draw(st.integers(0, 3)) else b"\xbf" + inner + b"\xff"


class Raw(bytes):
    """Bytes that are CBOR already."""


class Map(list[tuple[Any, Any]]):
    """Pairs, a key may be there twice."""


names = st.one_of(
    st.sampled_from(
        ["rain_mm", "water_level_m", "wl-1:rain_mm", "wl-1:", "wl-2/", "gw-1:temperature_cel", "nobody:x", ""]
    ),
    st.text("abz019-:./_ é", max_size=12),
)
units = st.sampled_from(["", "m", "cm", "mm", "Cel", "K", "furlong", "é"])
integers = st.one_of(st.integers(-100, 100), st.integers(-(2**64), 2**64 - 1))
doubles = st.floats()
bignums = st.integers(-(2**80), 2**80).map(lambda value: Raw(cbor2.dumps(value)))
fractions = st.builds(
    lambda tag, exponent, mantissa: Raw(head(6, tag) + b"\x82" + cbor2.dumps(exponent) + cbor2.dumps(mantissa)),
    st.sampled_from([4, 4, 4, 5]),
    st.one_of(st.integers(-400, 400), st.integers(-5, 5), st.integers(-(2**64), 2**64 - 1)),
    st.one_of(integers, st.integers(-(2**70), 2**70)),
)
numbers = st.one_of(integers, doubles, bignums, fractions)
times = st.one_of(
    st.sampled_from([0, -5, 1.7e9, NOW_MS / 1000, 2**28, 2**28 - 1, 1e300]), st.integers(-1000, 1000), numbers
)
anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), numbers, st.text(), st.binary(), st.just(Raw(b"\xf8\x20")), st.just(Raw(b"\xe0"))
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(st.tuples(inner, inner), max_size=3).map(Map),
    ),
    max_leaves=8,
)
values = st.one_of(
    st.tuples(st.just("v"), numbers),
    st.tuples(st.just("v"), st.floats(-50, 150)),
    st.tuples(st.just("vs"), st.text()),
    st.tuples(st.just("vb"), st.booleans()),
    st.tuples(st.just("vd"), st.binary()),
    st.tuples(st.just("s"), numbers),
)
members = st.one_of(
    st.tuples(st.sampled_from(["n", "bn"]), names),
    st.tuples(st.sampled_from(["u", "bu"]), units),
    st.tuples(st.sampled_from(["t", "bt"]), times),
    st.tuples(st.sampled_from(["bv", "bs", "s", "ut"]), numbers),
    st.tuples(st.just("bver"), st.sampled_from([1, 5, 10, 26])),
    st.tuples(
        st.one_of(st.text(max_size=3).filter(lambda label: not label.endswith("_")), st.integers(9, 2**64 - 1)),
        anything,
    ),
)
rare = st.one_of(
    st.tuples(st.just("bver"), st.sampled_from([0, 11, 27, -1, 10.0])),
    st.tuples(st.sampled_from(["x_", "_", "bn_", "v_"]), anything),
    st.tuples(st.sampled_from(sorted(LABELS)), anything),
    st.tuples(st.sampled_from([b"n", 1.5, None, True]), anything),
    values,
)


@st.composite
def packs(draw: st.DrawFn) -> bytes:
    pack = []
    for _ in range(draw(st.integers(1, 4))):
        pairs = draw(st.lists(members, max_size=4, unique_by=lambda pair: pair[0]))
        if draw(st.integers(0, 9)):
            pairs.append(draw(values))
        if not draw(st.integers(0, 7)):
            pairs.append(draw(rare))
        numbered = draw(st.integers(0, 4))
        record = Map(
            (LABELS[label] if numbered and isinstance(label, str) and label in LABELS else label, value)
            for label, value in draw(st.permutations(pairs))
        )
        pack.append(record)
    return (b"\xd9\xd9\xf7" if not draw(st.integers(0, 9)) else b"") + encoded(draw, pack)


def message(payload: bytes) -> Message:
    return Message(payload, "gw-1", "gateway", "senml-cbor")


def bits(outcome: Outcome) -> Any:
    rows = [{**row, "value": struct.pack("d", row["value"])} for row in outcome.rows]
    return rows, outcome.texts, outcome.quarantine


def compare(messages: list[Message]) -> None:
    assert bits(PIPELINE.outcome(messages)) == bits(expected(messages))


def value_of(item: bytes) -> bytes:
    """The bits of the value stored for a record with this item as `v`."""
    payload = b"\x81\xa3\x00\x67rain_mm\x21\x65wl-1:\x02" + item
    outcome = PIPELINE.outcome([message(payload)])
    if not outcome.rows:
        assert [row[2] for row in outcome.quarantine] == ["value_not_finite"]
        return b""
    return struct.pack("d", outcome.rows[0]["value"])


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(packs(), st.sampled_from([*DEVICES, None]), st.sampled_from(["device", "gateway"])), max_size=3)
)
def test_packs_become_the_twins_rows_bit_by_bit(sent: list[tuple[bytes, str | None, str]]) -> None:
    compare([Message(payload, sender, scope, "senml-cbor") for payload, sender, scope in sent])


@settings(max_examples=120, deadline=None)
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
            broken[at : at + 1] = data.draw(st.binary(min_size=1, max_size=9))
    compare([message(bytes(broken))])


@settings(max_examples=120, deadline=None)
@given(
    st.one_of(st.binary(max_size=60), st.binary(max_size=30).map(lambda tail: b"\x81\xa3\x00\x67rain_mm\x02" + tail))
)
@example(b"\x9b" + b"\xff" * 8)
@example(b"\x81\xbb" + b"\xff" * 8 + b"\x00")
@example(b"\x81\xa1\x00\x7b" + b"\xff" * 8)
@example(b"\x81\xa1\x61x\xbb\x80" + b"\x00" * 7)
@example(b"\x81" * 100_000)
@example(b"\x81\xa2\x61x" + b"\x81" * 32 + b"\x00\x02\x01")
@example(b"\x81\xa4\x00\x61a\x02\x01\x61x" + b"\x81" * 32 + b"\x00")
@example(b"\x81\xa3\x00\x61a\x02\x01\x61x" + b"\x81" * 32 + b"\x00")
@example(b"\x81\xa3\x00\x61a\x02\x01\x61x" + b"\xc1" * 32 + b"\x00")
@example(b"\x81\xa3\x00\x61a\x02\x01\x61x" + b"\xc1" * 33 + b"\x00")
@example(b"\x81\xa3\x00\x61a\x02\x01\x61x" + b"\x9f" * 33 + b"\xff" * 33)
@example(b"\x81\xa2\x00\x61a\x02\xc2\x58\x41" + b"\x01" * 65)
@example(b"\x81\xa2\x00\x61a\x02\xc2\x58\x41\x00" + b"\xff" * 64)
@example(b"\x81\xa2\x00\x61a\x02\xc3\x58\x40" + b"\xff" * 64)
@example(b"\x81\xa2\x00\x61a\x02\xc2\x5f\x41\x01\x40\x41\x00\xff")
@example(b"\x81\xa2\x00\x7f\x61a\x7f\xff\xff\x02\x01")
@example(b"\x81\xa2\x00\x7f\x61\xc3\x61\xa9\xff\x02\x01")
@example(b"\x81\xa2\x18\x00\x61a\x1b\x00\x00\x00\x00\x00\x00\x00\x02\x01")
def test_noise_is_refused_as_the_twin_refuses_it(payload: bytes) -> None:
    compare([message(payload)])


@settings(max_examples=120, deadline=None)
@given(st.one_of(packs(), st.binary(max_size=40)))
def test_the_twin_reads_what_cbor2_reads(payload: bytes) -> None:
    try:
        found = senml_cbor_twin.parse(payload)
    except MalformedError:
        return
    item = payload.removeprefix(b"\xd9\xd9\xf7")

    def plain(one: Any) -> Any:
        if isinstance(one, senml_cbor_twin.Pairs):
            return ["map", *([plain(key), plain(value)] for key, value in one)]
        if isinstance(one, senml_cbor_twin.Tag):
            return ["tag", one.number, plain(one.item)]
        if isinstance(one, senml_cbor_twin.Simple):
            return "undefined" if one.number == 23 else f"simple {one.number}"
        if isinstance(one, list):
            return ["array", *map(plain, one)]
        return repr(one)

    def of_cbor2(data: bytes) -> Any:
        one = cbor2.loads(data)
        return repr(one) if not isinstance(one, dict | list | tuple) else None

    # cbor2 turns known tags and keys into Python's own, so only flat items can be compared as they are
    if not isinstance(found, list | senml_cbor_twin.Tag | senml_cbor_twin.Simple):
        assert of_cbor2(item) == plain(found)


@settings(max_examples=150, deadline=None)
@given(st.floats())
def test_floats_of_every_width_are_exact(value: float) -> None:
    for code, mark in ((">e", b"\xf9"), (">f", b"\xfa"), (">d", b"\xfb")):
        try:
            packed = struct.pack(code, value)
        except OverflowError:
            continue
        wanted = cbor2.loads(mark + packed)
        finite = wanted == wanted and abs(wanted) != float("inf")
        assert value_of(mark + packed) == (struct.pack("d", wanted) if finite else b"")


def test_every_half_float_is_what_struct_says() -> None:
    for number in range(0, 1 << 16, 7):
        packed = number.to_bytes(2)
        wanted = struct.unpack(">e", packed)[0]
        finite = wanted - wanted == 0
        assert value_of(b"\xf9" + packed) == (struct.pack("d", wanted) if finite else b"")


@settings(max_examples=150, deadline=None)
@given(st.integers(-(2**511), 2**511), st.one_of(st.integers(-400, 400), st.integers(-20, 20)))
@example(0, 400)
@example(2**64, -1)
@example(-(2**64), 0)
@example(9007199254740993, 0)
@example(1, 309)
@example(5, -324)
def test_decimal_fractions_are_the_nearest_double_as_decimal_says(mantissa: int, exponent: int) -> None:
    item = cbor2.dumps(cbor2.CBORTag(4, [exponent, mantissa]))
    wanted = float(Decimal((mantissa < 0, tuple(map(int, str(abs(mantissa)))), exponent)))
    assert value_of(item) == (b"" if abs(wanted) == float("inf") else struct.pack("d", wanted))


@settings(max_examples=150, deadline=None)
@given(st.integers(-(2**64) + 1, 2**64 - 1), st.one_of(st.integers(-1200, 1100), st.integers(-1140, -1000)))
def test_bigfloats_are_rounded_once(mantissa: int, exponent: int) -> None:
    item = cbor2.dumps(cbor2.CBORTag(5, [exponent, mantissa]))
    try:
        wanted = struct.pack("d", float(mantissa * Fraction(2) ** exponent))
    except OverflowError:
        wanted = b""
    if wanted == struct.pack("d", 0.0) and mantissa < 0:
        wanted = struct.pack("d", -0.0)
    assert value_of(item) == wanted


@pytest.mark.parametrize("value", [0, 23, 24, 255, 256, 2**53 + 1, 2**63, 2**64 - 1, 2**64, 2**200])
@pytest.mark.parametrize("sign", [1, -1])
def test_integers_are_the_nearest_double(value: int, sign: int) -> None:
    assert value_of(cbor2.dumps(sign * value)) == struct.pack("d", float(sign * value))
