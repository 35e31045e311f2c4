# cython: language_level=3
"""MQTT control packets as a client sends them: CONNECT, SUBSCRIBE, UNSUBSCRIBE, PUBLISH, DISCONNECT."""

from ext.mqtt.packet cimport CONNECT, DISCONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, VERSION_5
from ext.wire.varint cimport write_varint


cdef bytes packet(int first_byte, bytes body):
    cdef unsigned char room[4]
    return bytes((first_byte,)) + room[: write_varint(room, <unsigned int>len(body)) - room] + body


cdef bytes prefixed(bytes text):
    return len(text).to_bytes(2, "big") + text


cdef bytes number_property(int id, int size, unsigned int value):
    return bytes((id,)) + (<object>value).to_bytes(size, "big")


cdef bytes connect(int version, bytes client_id, bytes username, bytes password, bint is_clean, int keep_alive_s,
                   bytes properties, tuple will):
    """Section 3.1; at most 127 bytes of properties. No user name, no password: None."""
    cdef int flags = is_clean << 1 | (username is not None) << 7 | (password is not None) << 6
    cdef bytes body
    if will is not None:
        flags |= 4 | <int>will[2] << 3 | <int>bool(will[3]) << 5
    body = b"\0\4MQTT" + bytes((version, flags)) + (<object>keep_alive_s).to_bytes(2, "big")
    if version == VERSION_5:
        body += bytes((len(properties),)) + properties
    body += prefixed(client_id)
    if will is not None:
        body += (b"\0" if version == VERSION_5 else b"") + prefixed(will[0]) + prefixed(will[1])
    if username is not None:
        body += prefixed(username)
    if password is not None:
        body += prefixed(password)
    return packet(CONNECT << 4, body)


cdef bytes subscribe(int version, unsigned short packet_id, list filters):
    cdef bytes body = (<object>packet_id).to_bytes(2, "big") + (b"\0" if version == VERSION_5 else b"")
    for text, options in filters:
        body += prefixed(text) + bytes((options,))
    return packet(SUBSCRIBE << 4 | 2, body)


cdef bytes unsubscribe(int version, unsigned short packet_id, list filters):
    cdef bytes body = (<object>packet_id).to_bytes(2, "big") + (b"\0" if version == VERSION_5 else b"")
    return packet(UNSUBSCRIBE << 4 | 2, body + b"".join([prefixed(text) for text in filters]))


cdef bytes publish(int version, bytes topic, bytes payload, int qos, bint is_retained, bint is_dup,
                   unsigned short packet_id):
    cdef bytes head = prefixed(topic)
    if qos:
        head += (<object>packet_id).to_bytes(2, "big")
    if version == VERSION_5:
        head += b"\0"
    return packet(PUBLISH << 4 | is_dup << 3 | qos << 1 | is_retained, head + payload)


cdef bytes disconnect(int version, int reason):
    """A client of 3.1.1 has no reason to give."""
    return packet(DISCONNECT << 4, bytes((reason,)) if version == VERSION_5 and reason else b"")
