"""MQTT 3.1.1 and 5.0 packets in plain Python: the twin of ext/mqtt/packet.pyx, and the client side of the tests."""

import struct
from typing import Any, NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 8, 9, 10, 11
PINGREQ, PINGRESP, DISCONNECT, AUTH = 12, 13, 14, 15
NAMES = {
    CONNECT: "CONNECT", CONNACK: "CONNACK", PUBLISH: "PUBLISH", PUBACK: "PUBACK", PUBREC: "PUBREC", PUBREL: "PUBREL",
    PUBCOMP: "PUBCOMP", SUBACK: "SUBACK", UNSUBACK: "UNSUBACK", PINGRESP: "PINGRESP", DISCONNECT: "DISCONNECT",
}  # fmt: skip

# Property id -> how its value is written: MQTT 5.0 table 2-4.
KINDS = {
    1: "B", 2: "I", 3: "s", 8: "s", 9: "b", 11: "v", 17: "I", 18: "s", 19: "H", 21: "s", 22: "b", 23: "B", 24: "I",
    25: "B", 26: "s", 28: "s", 31: "s", 33: "H", 34: "H", 35: "H", 36: "B", 37: "B", 38: "p", 39: "I", 40: "B",
    41: "B", 42: "B",
}  # fmt: skip

Properties = list[tuple[int, Any]]


def varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def prefixed(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def properties(items: Properties) -> bytes:
    """Length and properties; nothing is checked, so that bad ones can be written too."""
    body = b""
    for id_, value in items:
        kind = KINDS.get(id_, "B")
        body += varint(id_)
        if kind in "BHI":
            body += struct.pack(f">{kind}", value)
        elif kind == "v":
            body += varint(value)
        elif kind == "p":
            body += prefixed(value[0]) + prefixed(value[1])
        else:
            body += prefixed(value)
    return varint(len(body)) + body


def packet(type_: int, body: bytes, flags: int = 0) -> bytes:
    return bytes((type_ << 4 | flags,)) + varint(len(body)) + body


def connect(
    version: int = 5,
    client_id: bytes = b"c1",
    username: bytes | None = b"wl-1",
    password: bytes | None = b"token-wl-1",
    *,
    clean: bool = True,
    keep_alive_s: int = 60,
    props: Properties = [],  # noqa: B006
    will: tuple[bytes, bytes, int, bool] | None = None,
    will_props: Properties = [],  # noqa: B006
) -> bytes:
    """`will` is (topic, payload, QoS, retain)."""
    flags = clean << 1 | (username is not None) << 7 | (password is not None) << 6
    if will:
        flags |= 4 | will[2] << 3 | will[3] << 5
    body = prefixed(b"MQTT") + bytes((version, flags)) + struct.pack(">H", keep_alive_s)
    if version == 5:
        body += properties(props)
    body += prefixed(client_id)
    if will:
        body += (properties(will_props) if version == 5 else b"") + prefixed(will[0]) + prefixed(will[1])
    for value in (username, password):
        body += prefixed(value) if value is not None else b""
    return packet(CONNECT, body)


def publish(
    topic: bytes,
    payload: bytes,
    packet_id: int = 0,
    *,
    version: int = 5,
    qos: int | None = None,
    retain: bool = False,
    dup: bool = False,
    props: Properties = [],  # noqa: B006
) -> bytes:
    """QoS 1 if there is a packet id, else 0, unless `qos` says otherwise."""
    qos = (1 if packet_id else 0) if qos is None else qos
    body = prefixed(topic) + (struct.pack(">H", packet_id) if qos else b"")
    return packet(
        PUBLISH, body + (properties(props) if version == 5 else b"") + payload, dup << 3 | qos << 1 | int(retain)
    )


def ack(type_: int, packet_id: int, reason: int | None = None, props: Properties | None = None) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""
    body = struct.pack(">H", packet_id) + (b"" if reason is None else bytes((reason,)))
    return packet(type_, body + (properties(props) if props is not None else b""), 2 if type_ == PUBREL else 0)


def puback(packet_id: int) -> bytes:
    return ack(PUBACK, packet_id)


def subscribe(
    packet_id: int,
    filters: list[tuple[bytes, int]],
    *,
    version: int = 5,
    props: Properties = [],  # noqa: B006
) -> bytes:
    """`filters` are (filter, options)."""
    body = struct.pack(">H", packet_id) + (properties(props) if version == 5 else b"")
    return packet(SUBSCRIBE, body + b"".join(prefixed(text) + bytes((options,)) for text, options in filters), 2)


def unsubscribe(packet_id: int, filters: list[bytes], *, version: int = 5) -> bytes:
    body = struct.pack(">H", packet_id) + (b"\0" if version == 5 else b"")
    return packet(UNSUBSCRIBE, body + b"".join(map(prefixed, filters)), 2)


def disconnect(reason: int | None = None, props: Properties | None = None) -> bytes:
    body = b"" if reason is None else bytes((reason,))
    return packet(DISCONNECT, body + (properties(props) if props is not None else b""))


class Reply(NamedTuple):
    """A packet of the server. `reasons`: of CONNACK, acknowledgements, SUBACK, UNSUBACK and DISCONNECT.

    In `properties`, what may stand there several times is a tuple: user properties (38), subscription identifiers (11).
    """

    type: int
    packet_id: int = 0
    reasons: tuple[int, ...] = ()
    properties: dict[int, Any] = {}  # noqa: RUF012
    topic: bytes = b""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    session_present: bool = False


def split(stream: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Whole packets as (first byte, body), and what is left of the stream."""
    packets = []
    while len(stream) >= 2:
        size, shift, at = 0, 0, 1
        while at < len(stream):
            byte = stream[at]
            size |= (byte & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if byte < 0x80:
                break
        else:
            break
        if len(stream) < at + size:
            break
        packets.append((stream[0], stream[at : at + size]))
        stream = stream[at + size :]
    return packets, stream


def read_properties(body: bytes) -> tuple[dict[int, Any], bytes]:
    """Properties at the start of the body, and the rest of it."""
    size, at, shift = 0, 0, 0
    while True:
        size |= (body[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if body[at - 1] < 0x80:
            break
    block, rest, found = body[at : at + size], body[at + size :], {}
    while block:
        id_, block = block[0], block[1:]
        kind = KINDS[id_]
        if kind in "BHI":
            width = struct.calcsize(kind)
            found[id_], block = struct.unpack(f">{kind}", block[:width])[0], block[width:]
        elif kind == "v":
            value, shift = 0, 0
            while True:
                byte, block = block[0], block[1:]
                value, shift = value | (byte & 0x7F) << shift, shift + 7
                if byte < 0x80:
                    break
            found[id_] = (*found.get(id_, ()), value)
        elif kind == "p":
            pair = []
            for _ in range(2):
                width = struct.unpack(">H", block[:2])[0]
                pair.append(block[2 : 2 + width])
                block = block[2 + width :]
            found[id_] = (*found.get(id_, ()), tuple(pair))
        else:
            width = struct.unpack(">H", block[:2])[0]
            found[id_], block = block[2 : 2 + width], block[2 + width :]
    return found, rest


def read_reply(first: int, body: bytes, version: int) -> Reply:
    """One packet of the server. Raises AssertionError if it is not well-formed."""
    type_, flags = first >> 4, first & 15
    assert type_ == PUBLISH or flags == (2 if type_ == PUBREL else 0)
    if type_ == CONNACK:
        assert body[0] in (0, 1)
        assert not (body[0] and body[1]), "no session is present when the client is refused"
        props, rest = read_properties(body[2:]) if version == 5 else ({}, body[2:])
        assert not rest
        return Reply(CONNACK, reasons=(body[1],), properties=props, session_present=bool(body[0]))
    if type_ in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        assert len(body) == 2 or (version == 5 and len(body) == 3)
        return Reply(type_, struct.unpack(">H", body[:2])[0], (body[2] if len(body) > 2 else 0,))
    if type_ in (SUBACK, UNSUBACK):
        packet_id, rest = struct.unpack(">H", body[:2])[0], body[2:]
        props, rest = read_properties(rest) if version == 5 else ({}, rest)
        return Reply(type_, packet_id, tuple(rest), props)
    if type_ == DISCONNECT:
        assert version == 5, "a 3.1.1 server does not send DISCONNECT"
        props, rest = read_properties(body[1:]) if len(body) > 1 else ({}, b"")
        assert not rest
        return Reply(DISCONNECT, reasons=(body[0],), properties=props)
    if type_ == PUBLISH:
        return _read_publish(flags, body, version)
    assert type_ == PINGRESP
    assert body == b""
    return Reply(PINGRESP)


def _read_publish(flags: int, body: bytes, version: int) -> Reply:
    width = struct.unpack(">H", body[:2])[0]
    topic, rest, packet_id = body[2 : 2 + width], body[2 + width :], 0
    if flags & 6:
        packet_id, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
    props, rest = read_properties(rest) if version == 5 else ({}, rest)
    return Reply(PUBLISH, packet_id, (), props, topic, rest, flags >> 1 & 3, bool(flags & 1), bool(flags & 8))
