"""Properties of the byte stream that a broker sends us: how it is cut changes nothing; large packets take no memory."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext.mqtt.stream import PacketSplitter
from tests.support import mqtt_packets as mq

LIMIT = 2000
bodies = st.lists(
    st.tuples(st.sampled_from([2, 4, 9, 13]), st.binary(max_size=400))
    | st.tuples(st.just(mq.PUBLISH), st.binary(max_size=5000)),
    max_size=12,
)
cuts = st.lists(st.integers(0, 30_000), max_size=40)


def kept(type_, body):
    """What is given of a packet: all of it, or as much of it as the limit leaves."""
    whole = mq.packet(type_, body)
    if len(whole) <= LIMIT:
        return whole[0], body, False
    return whole[0], body[: LIMIT - (len(whole) - len(body))], True


@given(bodies, cuts)
def test_cutting_changes_nothing(packets, where):
    stream = b"".join(mq.packet(type_, body) for type_, body in packets)
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in where)})
    splitter = PacketSplitter(LIMIT)
    found = [one for start, end in itertools.pairwise(edges) for one in splitter.feed(stream[start:end])]
    assert found == [kept(type_, body) for type_, body in packets]
    assert splitter.kept_bytes <= 2 * LIMIT


@given(bodies)
def test_byte_by_byte_is_the_same(packets):
    stream = b"".join(mq.packet(type_, body) for type_, body in packets)
    splitter = PacketSplitter(LIMIT)
    assert [one for at in range(len(stream)) for one in splitter.feed(stream[at : at + 1])] == [
        kept(type_, body) for type_, body in packets
    ]


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_no_bytes_disturb_the_stream(reads):
    splitter = PacketSplitter(LIMIT)
    try:
        for read in reads:
            splitter.feed(read)
    except ValueError as exc:
        assert str(exc) in ("malformed", "too large")
    assert splitter.kept_bytes <= 2 * LIMIT


def test_announced_size_takes_no_memory():
    splitter = PacketSplitter(1 << 20)
    assert splitter.feed(b"\x30\xff\xff\xff\x7f" + b"x" * 100) == []
    assert splitter.kept_bytes < 1000


def test_a_large_packet_that_is_no_publish_ends_the_stream():
    with pytest.raises(ValueError, match="too large"):
        PacketSplitter(LIMIT).feed(b"\x20\xff\xff\x7f")


def test_a_length_of_five_bytes_ends_the_stream():
    with pytest.raises(ValueError, match="malformed"):
        PacketSplitter(LIMIT).feed(b"\x30\xff\xff\xff\xff")
