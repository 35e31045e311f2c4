"""The packet codec agrees with a plain Python twin and with the packets of paho's own codec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ext.mqtt.packet import decode
from tests.support import mqtt_packets as mq

MALFORMED, PROTOCOL_ERROR, UNSUPPORTED_VERSION, TOPIC_NAME_INVALID, ALIAS_INVALID = 0x81, 0x82, 0x84, 0x90, 0x94

names = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=30)
packet_ids = st.integers(1, 65535)


@given(
    version=st.sampled_from([4, 5]),
    client_id=names,
    username=names | st.none(),
    password=st.binary(max_size=40) | st.none(),
    keep_alive_s=st.integers(0, 65535),
    clean=st.booleans(),
    will=st.none() | st.tuples(names, st.binary(max_size=20), st.integers(0, 2), st.booleans()),
)
def test_connect_is_read_as_it_was_written(version, client_id, username, password, keep_alive_s, clean, will):
    if username is None and version == 4:
        password = None
    will = will and (will[0].encode(), *will[1:])
    name = username.encode() if username is not None else None
    data = mq.connect(version, client_id.encode(), name, password, clean=clean, keep_alive_s=keep_alive_s, will=will)
    code, facts = decode(data, 0)
    assert code == 0
    assert facts == {
        "type": mq.CONNECT,
        "version": version,
        "is_clean": clean,
        "keep_alive_s": keep_alive_s,
        "client_id": client_id.encode(),
        "username": name,
        "password": password,
        "will_topic": will and will[0],
        "will_payload": will and will[1],
        "will_qos": will[2] if will else 0,
        "will_retain": bool(will and will[3]),
        "properties": {},
    }


@given(
    version=st.sampled_from([4, 5]),
    topic=names,
    payload=st.binary(max_size=300),
    packet_id=st.just(0) | packet_ids,
    retain=st.booleans(),
    content_type=names,
    alias=st.integers(1, 65535),
)
def test_publish_is_read_as_it_was_written(version, topic, payload, packet_id, retain, content_type, alias):
    props = [(1, 1), (2, 77), (3, content_type.encode()), (9, b"\0\xff"), (35, alias), (38, (b"k", b"v"))]
    data = mq.publish(topic.encode(), payload, packet_id, version=version, retain=retain, props=props)
    code, facts = decode(data, version)
    assert code == 0
    assert facts == {
        "type": mq.PUBLISH,
        "topic": topic.encode(),
        "payload": payload,
        "content_type": content_type.encode() if version == 5 else b"",
        "packet_id": packet_id,
        "topic_alias": alias if version == 5 else 0,
        "qos": 1 if packet_id else 0,
        "is_retained": retain,
        "is_utf8": version == 5,
        "expiry_s": 77 if version == 5 else None,
        "forwarded": mq.properties([props[0], *props[2:4], props[5]])[1:] if version == 5 else b"",
    }


@given(
    version=st.sampled_from([4, 5]),
    packet_id=packet_ids,
    filters=st.lists(st.tuples(names.map(str.encode), st.integers(0, 2)), min_size=1, max_size=5),
)
def test_subscribe_and_unsubscribe_are_read_as_they_were_written(version, packet_id, filters):
    code, facts = decode(mq.subscribe(packet_id, filters, version=version), version)
    assert (code, facts["packet_id"], facts["filters"]) == (0, packet_id, filters)
    names_only = [text for text, _ in filters]
    code, facts = decode(mq.unsubscribe(packet_id, names_only, version=version), version)
    assert (code, facts["filters"]) == (0, [(text, 0) for text in names_only])


def test_properties_written_by_paho_are_read():
    written = Properties(PacketTypes.CONNECT)
    written.SessionExpiryInterval = 3600
    written.ReceiveMaximum = 17
    written.MaximumPacketSize = 100_000
    written.TopicAliasMaximum = 9
    written.RequestProblemInformation = 1
    written.RequestResponseInformation = 1
    written.UserProperty = [("a", "1"), ("a", "2")]
    body = mq.prefixed(b"MQTT") + b"\x05\x02\x00\x3c" + written.pack() + mq.prefixed(b"c")
    code, facts = decode(mq.packet(mq.CONNECT, body), 5)
    assert code == 0
    assert facts["properties"] == {17: 3600, 33: 17, 39: 100_000, 34: 9, 23: 1, 25: 1}


GOOD = {id_: {"B": 1, "H": 1, "I": 1, "v": 1, "p": (b"k", b"v")}.get(kind, b"x") for id_, kind in mq.KINDS.items()}
ALLOWED = {
    "CONNECT": {17, 23, 25, 33, 34, 38, 39, 21},
    "WILL": {1, 2, 3, 8, 9, 24, 38},
    "PUBLISH": {1, 2, 3, 8, 9, 35, 38},
    "PUBACK": {31, 38},
    "SUBSCRIBE": {11, 38},
    "DISCONNECT": {17, 31, 38},
}
# A property that may never come from a client in this packet, and has a code of its own.
SPECIAL = {("PUBLISH", 11): PROTOCOL_ERROR, ("DISCONNECT", 28): PROTOCOL_ERROR, ("CONNECT", 22): PROTOCOL_ERROR}


def with_properties(place: str, props: mq.Properties) -> bytes:
    if place == "CONNECT":
        return mq.connect(props=props)
    if place == "WILL":
        return mq.connect(will=(b"t", b"", 0, False), will_props=props)
    if place == "PUBLISH":
        return mq.publish(b"t", b"p", props=props)
    if place == "PUBACK":
        return mq.packet(mq.PUBACK, b"\0\1\0" + mq.properties(props))
    if place == "SUBSCRIBE":
        return mq.subscribe(1, [(b"t", 0)], props=props)
    return mq.disconnect(0, props)


@pytest.mark.parametrize("place", ALLOWED)
@pytest.mark.parametrize("id_", [*range(43), 127])
def test_a_property_is_taken_only_where_it_may_stand(place, id_):
    expected = 0 if id_ in ALLOWED[place] else SPECIAL.get((place, id_), MALFORMED)
    assert decode(with_properties(place, [(id_, GOOD.get(id_, 0))]), 5)[0] == expected


@pytest.mark.parametrize(("place", "id_"), [(place, id_) for place, ids in ALLOWED.items() for id_ in sorted(ids)])
def test_a_property_may_stand_once_but_user_properties(place, id_):
    code, _ = decode(with_properties(place, [(id_, GOOD[id_])] * 2), 5)
    assert code == (0 if id_ == 38 else PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("place", "props", "code"),
    [
        ("CONNECT", [(23, 2)], PROTOCOL_ERROR),
        ("CONNECT", [(25, 2)], PROTOCOL_ERROR),
        ("CONNECT", [(33, 0)], PROTOCOL_ERROR),
        ("CONNECT", [(39, 0)], PROTOCOL_ERROR),
        ("CONNECT", [(34, 0)], 0),
        ("PUBLISH", [(1, 2)], PROTOCOL_ERROR),
        ("PUBLISH", [(35, 0)], ALIAS_INVALID),
        ("PUBLISH", [(8, b"a/#")], PROTOCOL_ERROR),
        ("PUBLISH", [(3, b"\xff")], MALFORMED),
        ("PUBLISH", [(38, (b"k", b"\0"))], MALFORMED),
        ("SUBSCRIBE", [(11, 0)], PROTOCOL_ERROR),
    ],
)
def test_a_property_outside_its_range_is_refused(place, props, code):
    assert decode(with_properties(place, props), 5)[0] == code


@pytest.mark.parametrize("place", ALLOWED)
def test_a_cut_packet_is_malformed_wherever_it_is_cut(place):
    whole = with_properties(place, [(id_, GOOD[id_]) for id_ in sorted(ALLOWED[place])])
    ((first, body),) = mq.split(whole)[0]
    start = {"PUBACK": 4, "DISCONNECT": 2, "PUBLISH": 0}.get(place, 0)
    end = len(body) - 1 if place == "PUBLISH" else len(body)  # a PUBLISH may have an empty payload
    for size in range(start, end):
        assert decode(bytes((first,)) + mq.varint(size) + body[:size], 5)[0] in (MALFORMED, PROTOCOL_ERROR), size


@pytest.mark.parametrize(
    ("data", "version", "code"),
    [
        (mq.packet(0, b""), 5, MALFORMED),
        (mq.packet(mq.AUTH, b""), 5, PROTOCOL_ERROR),
        (mq.packet(mq.CONNACK, b"\0\0\0"), 5, PROTOCOL_ERROR),
        (mq.packet(mq.PINGREQ, b"x"), 5, MALFORMED),
        (mq.packet(mq.PINGREQ, b"", 1), 5, MALFORMED),
        (mq.packet(mq.SUBSCRIBE, b"\0\1\0\0\1a\0", 0), 5, MALFORMED),
        (mq.packet(mq.PUBLISH, b"\0\1a\0\1\0", 6), 5, MALFORMED),
        (mq.packet(mq.PUBLISH, b"\0\1a\0", 8), 5, MALFORMED),
        (mq.publish(b"a", b"", 0, qos=1), 5, PROTOCOL_ERROR),
        (mq.publish(b"a/+/b", b""), 5, TOPIC_NAME_INVALID),
        (mq.publish(b"a\0b", b""), 5, MALFORMED),
        (mq.publish(b"", b""), 5, PROTOCOL_ERROR),
        (mq.publish(b"", b"", version=4), 4, MALFORMED),
        (mq.subscribe(0, [(b"a", 0)]), 5, PROTOCOL_ERROR),
        (mq.subscribe(1, []), 5, PROTOCOL_ERROR),
        (mq.subscribe(1, [(b"", 0)]), 5, MALFORMED),
        (mq.subscribe(1, [(b"a", 3)]), 5, PROTOCOL_ERROR),
        (mq.subscribe(1, [(b"a", 3)], version=4), 4, MALFORMED),
        (mq.subscribe(1, [(b"a", 4)], version=4), 4, MALFORMED),
        (mq.subscribe(1, [(b"a", 0x40)]), 5, MALFORMED),
        (mq.subscribe(1, [(b"a", 0x30)]), 5, PROTOCOL_ERROR),
        (mq.disconnect(0), 4, MALFORMED),
        (mq.puback(0), 5, PROTOCOL_ERROR),
        (mq.connect(3), 0, UNSUPPORTED_VERSION),
        (mq.connect(6), 0, UNSUPPORTED_VERSION),
        (mq.packet(mq.CONNECT, mq.prefixed(b"MQIsdp") + b"\3\2\0\0\0\1c"), 0, UNSUPPORTED_VERSION),
        (mq.packet(mq.CONNECT, mq.prefixed(b"HTTP") + b"\4\2\0\0\0\1c"), 0, PROTOCOL_ERROR),
        (mq.packet(mq.CONNECT, mq.prefixed(b"MQTT") + b"\4\3\0\0\0\1c"), 0, MALFORMED),
        (mq.connect(4, username=None, password=b"x"), 0, MALFORMED),
        (mq.connect(will=(b"a/#", b"", 0, False)), 0, TOPIC_NAME_INVALID),
        (mq.connect(will=(b"a", b"", 3, False)), 0, MALFORMED),
        (mq.packet(mq.CONNECT, mq.connect()[2:] + b"x"), 0, MALFORMED),
    ],
)
def test_a_bad_packet_has_its_reason_code(data, version, code):
    assert decode(data, version)[0] == code


@given(data=st.binary(max_size=60), type_=st.integers(0, 15), flags=st.integers(0, 15), version=st.sampled_from([4, 5]))
def test_any_bytes_have_an_answer(data, type_, flags, version):
    code, facts = decode(mq.packet(type_, data, flags), version)
    assert (code == 0) == bool(facts)
