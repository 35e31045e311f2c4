"""Properties of a connection to an external broker: cuts change nothing, no bytes disturb it, acks keep their order."""

import asyncio
import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from ext.mqtt.client import BrokerLink
from ext.mqtt.intake import Intake
from tests.support import mqtt_packets as mq
from tests.support.fake_broker import PUBREC, PUBREL, ack, connack
from tests.support.mqtt_server import fleet

TOPICS = [b"cf/v1/d/wl-1/telemetry", b"cf/v1/g/gw-1/telemetry/batch", b"spBv1.0/g/NDATA/e", b"x"]
GREETING = connack() + mq.packet(mq.SUBACK, b"\xff\xff\0\1")
INDEX = fleet()


class Transport:
    """What a link asks of its transport."""

    def __init__(self):
        self.written, self.is_closed, self.reading = [], False, True

    def write(self, data):
        assert not self.is_closed
        self.written.append(bytes(data))

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        assert not self.is_closed
        self.reading = True

    def write_eof(self):
        raise OSError  # then the link closes

    def close(self):
        self.is_closed = True

    abort = close

    def set_write_buffer_limits(self, high):
        pass

    def get_extra_info(self, name):
        return None


class Link:
    """A link without a socket."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.chunks = []
        self.intake = Intake(INDEX, self.chunks.append, self.loop, 1.0)
        self.link = BrokerLink(
            self.intake, b"node-0", max_packet_bytes=4096, connect_timeout_s=10, stall_s=0, ack_timeout_s=0
        )
        _, self.closed = self.link.begin(
            5, username=None, password=None, filters=[(b"#", 0x22)], stale_filters=[], keep_alive_s=60,
            session_expiry_s=60,
        )  # fmt: skip
        self.transport = Transport()
        self.link.connection_made(self.transport)
        self.feed(GREETING)

    def feed(self, data):
        for at in range(0, len(data), 100_000):
            piece = data[at : at + 100_000]
            self.link.get_buffer(-1)[: len(piece)] = piece
            self.link.buffer_updated(len(piece))

    def finish(self):
        """Let everything be durable; the frames and the acknowledgements, as (type, packet id)."""
        self.intake.hand_on()
        del self.transport.written[:2]
        for chunk in self.chunks:
            self.intake.acknowledge(chunk)
        packets, rest = mq.split(b"".join(self.transport.written))
        assert rest == b""
        self.intake.close()
        self.loop.close()
        frames = [frame for chunk in self.chunks for frame in chunk.as_tuples()]
        return frames, [(first >> 4, struct.unpack(">H", body[:2])[0]) for first, body in packets if len(body) >= 2]


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
