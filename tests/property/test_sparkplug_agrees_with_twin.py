"""Sparkplug: the decoder and its twin (the protobuf runtime and dicts) agree on any sequence of payloads."""

import hypothesis.strategies as st
from hypothesis import given, settings

from tests.support.sparkplug_host import NOW_MS, DecodingHost
from tests.support.sparkplug_twin import Host, Metric, Payload, PropertySet, PropertyValue

NAMES = st.sampled_from(["a", "b", "ab", "bdSeq", "Node Control/Rebirth", "Device Control/x", "", "mực nước"])
ALIASES = st.one_of(st.integers(0, 5), st.sampled_from([200, 1 << 40, (1 << 64) - 1]))
INTEGERS = st.sampled_from(
    [0, 1, 127, 128, 255, 256, 32767, 32768, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 128, (1 << 32) - 1]
)
LONGS = INTEGERS | st.sampled_from([1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 128, (1 << 64) - 1])
TEXTS = st.sampled_from([b"", b"text", "chữ".encode(), b"\xff", b"\xed\xa0\x80"])
VALUES = st.one_of(
    st.tuples(st.just("int_value"), INTEGERS),
    st.tuples(st.just("long_value"), LONGS),
    st.tuples(st.just("float_value"), st.floats(width=32)),
    st.tuples(st.just("double_value"), st.floats()),
    st.tuples(st.just("boolean_value"), st.booleans()),
    st.tuples(st.sampled_from(["string_value", "bytes_value", "dataset_value", "template_value"]), TEXTS),
)


@st.composite
def properties(draw):
    keys = draw(st.lists(st.sampled_from([b"engUnit", b"engLow", b""]), max_size=4))
    values = [
        PropertyValue(string_value=draw(TEXTS), is_null=draw(st.sampled_from([None, False, True])))
        if draw(st.booleans())
        else PropertyValue(int_value=1)
        for _ in range(draw(st.integers(0, 4)))
    ]
    return PropertySet(keys=keys, values=values)


@st.composite
def metrics(draw):
    one = Metric()
    if draw(st.booleans()):
        one.name = draw(NAMES).encode()
    if draw(st.booleans()):
        one.alias = draw(ALIASES)
    if draw(st.booleans()):
        one.timestamp = draw(st.sampled_from([0, NOW_MS, 1 << 63, (1 << 64) - 1]))
    if draw(st.booleans()):
        one.datatype = draw(st.integers(0, 20) | st.sampled_from([34, 255, 256, 266, (1 << 32) - 1]))
    for flag in ("is_historical", "is_transient", "is_null"):
        if draw(st.integers(0, 5)) == 0:
            setattr(one, flag, draw(st.booleans()))
    if draw(st.integers(0, 3)) == 0:
        one.properties.CopyFrom(draw(properties()))
    if draw(st.integers(0, 7)):
        field, value = draw(VALUES)
        setattr(one, field, value)
    return one


@st.composite
def payloads(draw) -> bytes:
    one = Payload(metrics=draw(st.lists(metrics(), max_size=8)))
    if draw(st.booleans()):
        one.timestamp = draw(st.sampled_from([0, NOW_MS, (1 << 64) - 1]))
    if draw(st.booleans()):
        one.seq = draw(st.integers(0, 300))
    return one.SerializeToString()


@st.composite
def damaged(draw) -> bytes:
    """Cut, flipped, with something of another place in between, or twice: the last of a field counts."""
    data = bytearray(draw(payloads()) + (draw(payloads()) if draw(st.booleans()) else b""))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.integers(0, 2))
        if how == 0:
            del data[at:]
        elif how == 1 and at < len(data):
            data[at] = draw(st.integers(0, 255))
        else:
            data[at:at] = draw(st.binary(max_size=6) | payloads())
    return bytes(data)


TOPICS = st.sampled_from(
    [b"spBv1.0/G/%s/E" % verb for verb in (b"NBIRTH", b"NDATA", b"NDEATH")]
    + [b"spBv1.0/G/%s/E/D" % verb for verb in (b"DBIRTH", b"DDATA", b"DDEATH")]
)


def agree(messages: list[tuple[bytes, bytes]], one_chunk: bool) -> None:
    host, twin = DecodingHost(), Host()
    expected = [twin.take(topic, data, NOW_MS) for topic, data in messages]
    found = host.take_all(*messages) if one_chunk else [host.take(topic, data) for topic, data in messages]
    assert found == expected
    refused = sum(1 for one in expected if not hasattr(one, "numbers"))
    if not refused:
        counters = host.decoder.counters()
        assert (counters["readings.null"], host.decoder.transient) == (twin.nulls, twin.transient)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(TOPICS, payloads()), min_size=1, max_size=6), st.booleans())
def test_both_read_the_same(messages, one_chunk):
    agree(messages, one_chunk)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(TOPICS, damaged()), min_size=1, max_size=4))
def test_both_refuse_the_same(messages):
    agree(messages, one_chunk=False)


@settings(max_examples=150, deadline=None)
@given(TOPICS, st.binary(min_size=1, max_size=60))
def test_any_bytes_do_no_harm(topic, data):
    agree([(topic, data)], one_chunk=True)
