# cython: language_level=3
"""MQTT control packets as we send them: CONNACK, DISCONNECT, SUBACK, UNSUBACK and the acknowledgements of PUBLISH."""

from ext.mqtt.packet cimport CONNACK, DISCONNECT, PUBREL, SUBACK, UNSUBACK, VERSION_5
from ext.mqtt.properties cimport P_REASON_STRING
from ext.wire.varint cimport write_varint

# Reason codes of MQTT 5 as return codes of a 3.1.1 CONNACK; others have none and the connection is just closed.
cdef dict RETURN_CODES = {0x00: 0, 0x84: 1, 0x85: 2, 0x88: 3, 0x89: 3, 0x97: 3, 0x8B: 3, 0x86: 4, 0x87: 5}

cdef dict TEXTS = {
    0x81: b"malformed packet",
    0x82: b"protocol error",
    0x84: b"this server speaks MQTT 3.1.1 and 5.0",
    0x85: b"an empty client identifier needs a clean session",
    0x86: b"unknown user name, or not its token",
    0x88: b"devices not loaded yet, come back",
    0x87: b"not yours, or decommissioned",
    0x89: b"the disk or the store is behind, come back later",
    0x8B: b"server shutting down",
    0x8C: b"only user name and password",
    0x8D: b"keep alive timeout",
    0x8E: b"connected again with the same client identifier",
    0x90: b"a topic name cannot have wildcards",
    0x93: b"more unacknowledged messages than Receive Maximum",
    0x94: b"topic alias 0, unknown, or above Topic Alias Maximum",
    0x95: b"larger than Maximum Packet Size",
    0x97: b"too many connections, or too much begun and not ended",
    0x98: b"closed by an operator",
}


cdef bytes varint(unsigned int value):
    cdef unsigned char room[4]
    return room[: write_varint(room, value) - room]


cdef bytes packet(int first_byte, bytes body):
    return bytes((first_byte,)) + varint(<unsigned int>len(body)) + body


cdef bytes number_property(int id, int size, unsigned int value):
    return bytes((id,)) + (<object>value).to_bytes(size, "big")


cdef bytes string_property(int id, bytes text):
    return bytes((id,)) + len(text).to_bytes(2, "big") + text


cdef bytes reason_text(unsigned char reason):
    return TEXTS.get(reason, b"")


cdef bytes connack(unsigned char version, unsigned char reason, bint session_present, bytes properties):
    """Empty where 3.1.1 has no return code for the reason."""
    if version == VERSION_5:
        return packet(
            CONNACK << 4, bytes((session_present, reason)) + varint(<unsigned int>len(properties)) + properties
        )
    return packet(CONNACK << 4, bytes((session_present, RETURN_CODES[reason]))) if reason in RETURN_CODES else b""


cdef bytes disconnect(unsigned char reason, unsigned int max_packet_bytes):
    """MQTT 5 only, with a reason string if the client's Maximum Packet Size has room for it."""
    cdef bytes text = reason_text(reason)
    cdef bytes full
    if text:
        text = string_property(P_REASON_STRING, text)
        full = packet(DISCONNECT << 4, bytes((reason,)) + varint(<unsigned int>len(text)) + text)
        if <size_t>len(full) <= max_packet_bytes:
            return full
    return packet(DISCONNECT << 4, bytes((reason,)))


cdef bytes ack(unsigned char version, unsigned char type, unsigned short packet_id, unsigned char reason):
    cdef int first = type << 4 | (2 if type == PUBREL else 0)
    if reason and version == VERSION_5:
        return bytes((first, 3, packet_id >> 8, packet_id & 255, reason))
    return bytes((first, 2, packet_id >> 8, packet_id & 255))


cdef bytes suback(unsigned char version, unsigned short packet_id, bytes reasons, bytes why,
                  unsigned int max_packet_bytes):
    cdef bytes head = (<object>packet_id).to_bytes(2, "big")
    cdef bytes full
    if version != VERSION_5:
        return packet(SUBACK << 4, head + bytes([min(code, 0x80) for code in reasons]))
    if why:
        why = string_property(P_REASON_STRING, why)
        full = packet(SUBACK << 4, head + varint(<unsigned int>len(why)) + why + reasons)
        if <size_t>len(full) <= max_packet_bytes:
            return full
    return packet(SUBACK << 4, head + b"\0" + reasons)


cdef bytes unsuback(unsigned char version, unsigned short packet_id, bytes reasons):
    cdef bytes head = (<object>packet_id).to_bytes(2, "big")
    return packet(UNSUBACK << 4, head + b"\0" + reasons if version == VERSION_5 else head)
