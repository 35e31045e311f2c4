"""Packets as a server sends them: read as they were written, and refused where they break the rules of MQTT."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext.mqtt.client_packet import decode
from tests.support import mqtt_packets as mq

MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
PUBREC, PUBREL, PUBCOMP = 5, 6, 7

names = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=30)


def connack(flags=0, reason=0, props=(), version=5):
    body = bytes((flags, reason)) + (mq.properties(list(props)) if version == 5 else b"")
    return mq.packet(mq.CONNACK, body)


@given(
    version=st.sampled_from([4, 5]),
    topic=names,
    payload=st.binary(max_size=300),
    qos=st.integers(0, 2),
    retain=st.booleans(),
    dup=st.booleans(),
    alias=st.integers(1, 65535) | st.none(),
    content_type=names | st.none(),
    identifiers=st.lists(st.integers(1, 268_435_455), max_size=4),
)
def test_publish_is_read_as_it_was_written(version, topic, payload, qos, retain, dup, alias, content_type, identifiers):
    props = [(11, one) for one in identifiers] + [(38, (b"a", b"b"))]
    props += [(35, alias)] if alias else []
    props += [(3, content_type.encode())] if content_type else []
    data = mq.publish(
        topic.encode(), payload, 7 if qos else 0, version=version, qos=qos, retain=retain, dup=dup, props=props
    )
    assert decode(data, version) == (
        0,
        {
            "type": mq.PUBLISH,
            "topic": topic.encode(),
            "payload": payload,
            "content_type": content_type.encode() if content_type and version == 5 else b"",
            "packet_id": 7 if qos else 0,
            "topic_alias": (alias or 0) if version == 5 else 0,
            "qos": qos,
            "is_retained": retain,
            "is_utf8": False,
        },
    )


def test_connack_tells_all_its_properties():
    props = [
        (17, 60), (33, 20), (36, 1), (37, 0), (39, 4096), (18, b"assigned"), (34, 10), (31, b"because"),
        (38, (b"k", b"v")), (40, 1), (41, 0), (42, 0), (19, 15), (26, b"x/y"), (28, b"other:1883"), (21, b"m"),
    ]  # fmt: skip
    code, facts = decode(connack(1, 0, props), 5)
    assert code == 0
    assert facts["is_session_present"]
    assert (facts["reason_string"], facts["server_reference"]) == (b"because", b"other:1883")
    assert facts["properties"] == {17: 60, 33: 20, 36: 1, 39: 4096, 34: 10, 40: 1, 19: 15}


@pytest.mark.parametrize(
    ("code", "reason"), [(0, 0), (1, 0x84), (2, 0x85), (3, 0x88), (4, 0x86), (5, 0x87), (6, 0x80), (0x90, 0x90)]
)
def test_return_codes_of_3_1_1_are_translated(code, reason):
    assert decode(connack(0, code, version=4), 4)[1]["reason"] == reason


def test_a_broker_without_mqtt_5_is_understood_when_it_refuses():
    assert decode(b"\x20\x02\x00\x01", 5)[1]["reason"] == 0x84


@pytest.mark.parametrize(
    "data",
    [
        connack(2),
        connack(0, 0, version=4),
        connack(0, 0, [(17, 1), (17, 1)]),
        connack(0, 0, [(24, 1)]),
        connack(1, 0x87),
        connack(0, 0, [(36, 2)]),
        connack(0, 0, [(33, 0)]),
        connack() + b"",
        mq.packet(mq.CONNACK, b"\0"),
        mq.packet(mq.CONNACK, b"\0\0\0\0"),
        mq.packet(mq.CONNACK, b"\0\0\5\x11\0"),
        mq.packet(mq.CONNACK, b"\0\0\0", 1),
    ],
)
def test_bad_connack_is_refused(data):
    expected_good = data == connack()
    assert (decode(data, 5)[0] == 0) is expected_good


@pytest.mark.parametrize("type_", [mq.PUBACK, PUBREC, PUBREL, PUBCOMP])
@pytest.mark.parametrize("version", [4, 5])
def test_acknowledgements_are_read(type_, version):
    flags = 2 if type_ == PUBREL else 0
    for body, reason in (
        (b"\x12\x34", 0), (b"\x12\x34\x92", 0x92), (b"\x12\x34\x92" + mq.properties([(31, b"why")]), 0x92),
    ):  # fmt: skip
        code, facts = decode(mq.packet(type_, body, flags), version)
        if version == 4 and len(body) > 2:
            assert code == MALFORMED
        else:
            assert (code, facts) == (0, {"type": type_, "packet_id": 0x1234, "reason": reason})
    assert decode(mq.packet(type_, b"\0\0", flags), version)[0] == PROTOCOL_ERROR
    assert decode(mq.packet(type_, b"\1", flags), version)[0] == MALFORMED
    assert decode(mq.packet(type_, b"\x12\x34", flags ^ 2), version)[0] == MALFORMED


def test_suback_and_unsuback_are_read():
    body = struct.pack(">H", 9) + mq.properties([(31, b"no")]) + b"\1\x87"
    assert decode(mq.packet(mq.SUBACK, body), 5)[1] == {
        "type": mq.SUBACK, "packet_id": 9, "reasons": b"\1\x87", "reason_string": b"no"
    }  # fmt: skip
    assert decode(mq.packet(mq.SUBACK, b"\0\x09\1\x80"), 4)[1]["reasons"] == b"\1\x80"
    assert decode(mq.packet(mq.UNSUBACK, b"\0\x09"), 4)[0] == 0
    assert decode(mq.packet(mq.UNSUBACK, b"\0\x09\0"), 4)[0] == MALFORMED
    assert decode(mq.packet(mq.UNSUBACK, b"\0\x09\0\x11"), 5)[1]["reasons"] == b"\x11"


def test_disconnect_tells_where_to_go():
    body = b"\x9d" + mq.properties([(28, b"elsewhere"), (31, b"moved"), (38, (b"a", b"b"))])
    assert decode(mq.packet(mq.DISCONNECT, body), 5)[1] == {
        "type": mq.DISCONNECT, "reason": 0x9D, "reason_string": b"moved", "server_reference": b"elsewhere"
    }  # fmt: skip
    assert decode(mq.packet(mq.DISCONNECT, b""), 5)[1]["reason"] == 0
    assert decode(mq.packet(mq.DISCONNECT, b""), 4)[0] == PROTOCOL_ERROR


@pytest.mark.parametrize("type_", [0, mq.CONNECT, mq.SUBSCRIBE, mq.UNSUBSCRIBE, mq.PINGREQ, mq.AUTH])
def test_what_no_server_sends_is_refused(type_):
    assert decode(mq.packet(type_, b"\0\1", 2 if type_ in (8, 10) else 0), 5)[0] in (MALFORMED, PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (mq.publish(b"t", b"", 1, qos=3), MALFORMED),
        (mq.publish(b"t", b"", 0, qos=1), PROTOCOL_ERROR),
        (mq.publish(b"", b"x"), PROTOCOL_ERROR),
        (mq.publish(b"t", b"x", props=[(35, 0)]), 0x94),
        (mq.publish(b"t", b"x", props=[(17, 0)]), MALFORMED),
        (mq.packet(mq.PUBLISH, b"\0\5abc"), MALFORMED),
        (mq.packet(mq.PUBLISH, b"\0\1a"), MALFORMED),
    ],
)
def test_bad_publish_is_refused(data, code):
    assert decode(data, 5)[0] == code


@given(st.binary(max_size=60), st.sampled_from([4, 5]))
def test_no_bytes_disturb_the_reader(body, version):
    for first in range(256):
        code, facts = decode(bytes((first, len(body))) + body, version)
        assert (code == 0) == bool(facts)
