"""Fuzzing what a broker sends: no bytes, however cut, disturb the connection, and none become more than they were."""

from tests.support import mqtt_packets as mq
from tests.support.broker_link import Link
from tests.support.fake_broker import PUBREL, ack

_TOPIC = b"cf/v1/d/wl-1/telemetry"
CORPUS = [
    mq.publish(_TOPIC, b"payload", 1) + mq.publish(_TOPIC, b"", 2, qos=2) + ack(PUBREL, 2) + b"\xd0\x00",
    mq.publish(_TOPIC, b"1", props=[(35, 1)]) + mq.publish(b"", b"2", props=[(35, 1)]),
    mq.publish(b"spBv1.0/g/NDATA/e", b"x" * 5000, 3, props=[(3, b"text/plain"), (11, 7), (38, (b"k", b"v"))]),
    mq.packet(mq.DISCONNECT, b"\x9d" + mq.properties([(28, b"elsewhere"), (31, b"moved")])),
    mq.packet(mq.SUBACK, b"\xff\xff\0\1") + ack(mq.PUBACK, 1) + mq.packet(mq.UNSUBACK, b"\xff\xfe\0\0"),
]


def fuzz_one(data: bytes) -> None:
    """The first byte says where the rest is cut. Raises: AssertionError."""
    if not data:
        return
    step, stream = data[0] or 256, data[1:]
    whole, cut = Link(), Link()
    whole.feed(stream)
    for at in range(0, len(stream), step):
        cut.feed(stream[at : at + step])
    frames, acks = whole.finish()
    frames_cut, acks_cut = cut.finish()
    assert frames == frames_cut
    assert acks == acks_cut[: len(acks)]  # a broker that says good-bye in the same read hears no more
    assert sum(len(frame[1]) for frame in frames) <= len(stream)
