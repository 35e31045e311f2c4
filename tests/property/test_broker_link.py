"""Properties of a connection to an external broker: cuts change nothing, no bytes disturb it, acks keep their order."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.support import mqtt_packets as mq
from tests.support.broker_link import Link
from tests.support.fake_broker import PUBREC, PUBREL, ack

TOPICS = [b"cf/v1/d/wl-1/telemetry", b"cf/v1/g/gw-1/telemetry/batch", b"spBv1.0/g/NDATA/e", b"x"]
messages = st.lists(
    st.tuples(st.sampled_from(TOPICS), st.binary(max_size=200), st.integers(0, 2), st.booleans()), max_size=12
)
cuts = st.lists(st.integers(0, 5000), max_size=30)


def encode(sent):
    return [
        mq.publish(topic, payload, number if qos else 0, qos=qos, retain=retain)
        for number, (topic, payload, qos, retain) in enumerate(sent, 1)
    ]


@given(messages, cuts)
def test_how_the_stream_is_cut_changes_nothing(sent, where):
    stream = b"".join(encode(sent))
    link = Link()
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in where)})
    for start, end in itertools.pairwise(edges):
        link.feed(stream[start:end])
    frames, acks = link.finish()
    assert [frame[:2] for frame in frames] == [(topic, payload) for topic, payload, _, retain in sent if not retain]
    assert acks == [(mq.PUBACK if qos == 1 else PUBREC, number) for number, (_, _, qos, _) in enumerate(sent, 1) if qos]


@given(st.binary(max_size=400))
def test_no_bytes_disturb_the_connection(noise):
    link = Link()
    link.feed(noise)
    link.finish()


@given(messages, st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_packets_do_not_disturb_the_connection(sent, damage):
    stream = bytearray(b"".join([*encode(sent), ack(PUBREL, 1), ack(mq.PUBACK, 1), b"\xd0\x00"]))
    for at, value in damage:
        stream[at % len(stream)] = value
    link = Link()
    link.feed(bytes(stream))
    frames, _ = link.finish()
    assert sum(len(frame[0]) + len(frame[1]) for frame in frames) <= len(stream)
