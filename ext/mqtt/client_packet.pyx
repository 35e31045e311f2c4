# cython: language_level=3
"""MQTT control packets as a server sends them, 3.1.1 and 5.0. Section numbers are those of MQTT 5.0."""

from ext.mqtt.packet cimport (
    CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREL, SUBACK, UNSUBACK, VERSION_5, Header,
    read_header,
)
from ext.mqtt.properties cimport (
    IN_CONNACK, IN_PUBACK, IN_SERVER_DISCONNECT, IN_SERVER_PUBLISH, IN_SUBACK, P_PAYLOAD_FORMAT, P_REASON_STRING,
    P_SERVER_REFERENCE, P_TOPIC_ALIAS, P_USER_PROPERTY, Place, has, read_properties,
)
from ext.mqtt.reason cimport (
    RC_BAD_USER_NAME_OR_PASSWORD, RC_CLIENT_ID_NOT_VALID, RC_MALFORMED_PACKET, RC_NOT_AUTHORIZED, RC_PROTOCOL_ERROR,
    RC_SERVER_UNAVAILABLE, RC_SUCCESS, RC_UNSPECIFIED_ERROR, RC_UNSUPPORTED_VERSION,
)
from ext.wire.cursor cimport STEP_OK, Cursor, read_bytes, read_prefixed, read_u8, read_u16
from ext.wire.varint cimport read_varint

# Return codes 1 to 5 of a CONNACK of 3.1.1 as reason codes: its table 3.1.
cdef unsigned char RETURN_CODES[6]
RETURN_CODES[:] = [
    RC_SUCCESS, RC_UNSUPPORTED_VERSION, RC_CLIENT_ID_NOT_VALID, RC_SERVER_UNAVAILABLE, RC_BAD_USER_NAME_OR_PASSWORD,
    RC_NOT_AUTHORIZED,
]


cdef ReasonCode check_server_flags(unsigned char type, unsigned char flags) noexcept nogil:
    if type == PUBLISH:
        return RC_MALFORMED_PACKET if flags & 6 == 6 else RC_SUCCESS
    if flags != (2 if type == PUBREL else 0):
        return RC_MALFORMED_PACKET
    if type == CONNACK or type == SUBACK or type == UNSUBACK or type == PINGRESP or type == DISCONNECT \
            or PUBACK <= type <= PUBCOMP:
        return RC_SUCCESS
    return RC_PROTOCOL_ERROR


cdef void find_strings(const unsigned char* at, const unsigned char* end, Span* reason_string,
                       Span* server_reference) noexcept nogil:
    """The two strings that are worth telling, from properties that have been read without fault."""
    cdef Cursor c
    cdef Span value
    cdef unsigned int size, id
    c.at = at
    c.end = end
    read_varint(&c, &size)
    c.end = c.at + size
    while c.at < c.end and read_varint(&c, &id) == STEP_OK:
        if id == P_REASON_STRING or id == P_SERVER_REFERENCE:
            read_prefixed(&c, reason_string if id == P_REASON_STRING else server_reference)
        elif id == 17 or id == 39:
            c.at += 4
        elif id == 19 or id == 33 or id == 34:
            c.at += 2
        elif id == 36 or id == 37 or 40 <= id <= 42:
            c.at += 1
        else:
            read_prefixed(&c, &value)
            if id == P_USER_PROPERTY:
                read_prefixed(&c, &value)


cdef ReasonCode read_told(Cursor* c, Place place, Properties* properties, Span* reason_string,
                          Span* server_reference) noexcept nogil:
    cdef const unsigned char* start = c.at
    cdef ReasonCode code = read_properties(c, place, properties)
    if code == RC_SUCCESS and properties.seen & (
        <unsigned long long>1 << P_REASON_STRING | <unsigned long long>1 << P_SERVER_REFERENCE
    ):
        find_strings(start, c.at, reason_string, server_reference)
    return code


cdef ReasonCode read_connack(const unsigned char* body, size_t size, unsigned char version,
                             Connack* out) noexcept nogil:
    """Section 3.2. A server that does not know MQTT 5 answers as 3.1.1 has it, in two bytes."""
    cdef Cursor c
    cdef ReasonCode code
    cdef unsigned char flags
    c.at = body
    c.end = body + size
    out.properties.seen = 0
    out.reason_string.size = out.server_reference.size = 0
    if read_u8(&c, &flags) != STEP_OK or read_u8(&c, &out.reason) != STEP_OK or flags > 1:
        return RC_MALFORMED_PACKET
    out.is_session_present = flags
    if version == VERSION_5 and c.at < c.end:
        code = read_told(&c, IN_CONNACK, &out.properties, &out.reason_string, &out.server_reference)
        if code != RC_SUCCESS:
            return code
    elif version == VERSION_5 and out.reason == 0:
        return RC_MALFORMED_PACKET                      # accepted, but not as MQTT 5
    elif out.reason < 6:
        out.reason = RETURN_CODES[out.reason]
    elif out.reason < 0x80:
        out.reason = RC_UNSPECIFIED_ERROR
    if out.reason and out.is_session_present:           # [MQTT-3.2.2-6]
        return RC_PROTOCOL_ERROR
    return RC_SUCCESS if c.at == c.end else RC_MALFORMED_PACKET


cdef ReasonCode read_delivery(const unsigned char* body, size_t size, unsigned char flags, unsigned char version,
                              Publish* out) noexcept nogil:
    """Section 3.3."""
    cdef Cursor c
    cdef Properties properties
    cdef ReasonCode code
    c.at = body
    c.end = body + size
    out.qos = (flags >> 1) & 3
    out.is_retained = flags & 1
    out.packet_id = 0
    out.topic_alias = 0
    out.is_utf8 = 0
    out.content_type.size = 0
    if read_prefixed(&c, &out.topic) != STEP_OK:
        return RC_MALFORMED_PACKET
    if out.qos:
        if read_u16(&c, &out.packet_id) != STEP_OK:
            return RC_MALFORMED_PACKET
        if out.packet_id == 0:
            return RC_PROTOCOL_ERROR
    if version == VERSION_5:
        if c.at < c.end and c.at[0] == 0:
            c.at += 1
        else:
            code = read_properties(&c, IN_SERVER_PUBLISH, &properties)
            if code != RC_SUCCESS:
                return code
            if has(&properties, P_TOPIC_ALIAS):
                out.topic_alias = <unsigned short>properties.numbers[P_TOPIC_ALIAS]
            out.is_utf8 = has(&properties, P_PAYLOAD_FORMAT) and properties.numbers[P_PAYLOAD_FORMAT] == 1
            out.content_type = properties.content_type
    if out.topic.size == 0 and out.topic_alias == 0:
        return RC_PROTOCOL_ERROR
    out.payload.at = c.at
    out.payload.size = <size_t>(c.end - c.at)
    return RC_SUCCESS


cdef ReasonCode read_ack(const unsigned char* body, size_t size, unsigned char version, Ack* out) noexcept nogil:
    """Sections 3.4 to 3.7: packet id; in MQTT 5 a reason code and properties may follow."""
    cdef Cursor c
    cdef ReasonCode code
    c.at = body
    c.end = body + size
    out.reason = 0
    out.properties.seen = 0
    if read_u16(&c, &out.packet_id) != STEP_OK:
        return RC_MALFORMED_PACKET
    if out.packet_id == 0:
        return RC_PROTOCOL_ERROR
    if version == VERSION_5 and c.at < c.end:
        read_u8(&c, &out.reason)
        if c.at < c.end:
            code = read_properties(&c, IN_PUBACK, &out.properties)
            if code != RC_SUCCESS:
                return code
    return RC_SUCCESS if c.at == c.end else RC_MALFORMED_PACKET


cdef ReasonCode read_suback(const unsigned char* body, size_t size, unsigned char type, unsigned char version,
                            Suback* out) noexcept nogil:
    """Sections 3.9 and 3.11."""
    cdef Cursor c
    cdef Properties properties
    cdef Span unused
    cdef ReasonCode code
    c.at = body
    c.end = body + size
    out.reason_string.size = 0
    if read_u16(&c, &out.packet_id) != STEP_OK:
        return RC_MALFORMED_PACKET
    if version == VERSION_5:
        code = read_told(&c, IN_SUBACK, &properties, &out.reason_string, &unused)
        if code != RC_SUCCESS:
            return code
    elif type == UNSUBACK and c.at < c.end:
        return RC_MALFORMED_PACKET
    read_bytes(&c, <size_t>(c.end - c.at), &out.reasons)
    return RC_SUCCESS


cdef ReasonCode read_farewell(const unsigned char* body, size_t size, unsigned char version,
                              Farewell* out) noexcept nogil:
    """Section 3.14. A server of 3.1.1 does not send it."""
    cdef Cursor c
    cdef Properties properties
    cdef ReasonCode code
    c.at = body
    c.end = body + size
    out.reason = 0
    out.reason_string.size = out.server_reference.size = 0
    if version != VERSION_5:
        return RC_PROTOCOL_ERROR
    if c.at == c.end:
        return RC_SUCCESS
    read_u8(&c, &out.reason)
    if c.at < c.end:
        code = read_told(&c, IN_SERVER_DISCONNECT, &properties, &out.reason_string, &out.server_reference)
        if code != RC_SUCCESS:
            return code
    return RC_SUCCESS if c.at == c.end else RC_MALFORMED_PACKET


# The rest is for tests: the same functions from Python.

def decode(bytes packet not None, int version) -> tuple:
    """Read one whole control packet that a server would send.

    Args:
        packet: fixed header and body, nothing behind it.
        version: 4 (MQTT 3.1.1) or 5.
    Returns: (reason code, facts); the facts are empty unless the reason code is 0.
    Raises: ValueError if `packet` is not exactly one packet by its remaining length.
    """
    cdef Cursor c
    cdef Header header
    cdef Publish publish
    cdef Connack connack
    cdef Suback suback
    cdef Farewell farewell
    cdef Ack ack
    cdef ReasonCode code
    cdef unsigned char spoken = <unsigned char>version
    c.at = packet
    c.end = c.at + len(packet)
    if read_header(&c, &header) != STEP_OK or <size_t>(c.end - c.at) != header.size:
        raise ValueError("not exactly one packet")
    code = check_server_flags(header.type, header.flags)
    facts = {"type": header.type}
    if code != RC_SUCCESS:
        return code, {}
    if header.type == PUBLISH:
        code = read_delivery(c.at, header.size, header.flags, spoken, &publish)
        if code == RC_SUCCESS:
            facts |= {
                "topic": text(&publish.topic), "payload": text(&publish.payload), "packet_id": publish.packet_id,
                "content_type": text(&publish.content_type), "topic_alias": publish.topic_alias, "qos": publish.qos,
                "is_retained": bool(publish.is_retained), "is_utf8": bool(publish.is_utf8),
            }
    elif header.type == CONNACK:
        code = read_connack(c.at, header.size, spoken, &connack)
        if code == RC_SUCCESS:
            facts |= {
                "is_session_present": bool(connack.is_session_present), "reason": connack.reason,
                "reason_string": text(&connack.reason_string), "server_reference": text(&connack.server_reference),
                "properties": {
                    i: connack.properties.numbers[i] for i in range(43)
                    if (connack.properties.seen >> i) & 1 and connack.properties.numbers[i]
                },
            }
    elif header.type == SUBACK or header.type == UNSUBACK:
        code = read_suback(c.at, header.size, header.type, spoken, &suback)
        if code == RC_SUCCESS:
            facts |= {"packet_id": suback.packet_id, "reasons": text(&suback.reasons),
                      "reason_string": text(&suback.reason_string)}
    elif header.type == DISCONNECT:
        code = read_farewell(c.at, header.size, spoken, &farewell)
        if code == RC_SUCCESS:
            facts |= {"reason": farewell.reason, "reason_string": text(&farewell.reason_string),
                      "server_reference": text(&farewell.server_reference)}
    elif header.type != PINGRESP:
        code = read_ack(c.at, header.size, spoken, &ack)
        if code == RC_SUCCESS:
            facts |= {"packet_id": ack.packet_id, "reason": ack.reason}
    elif header.size:
        code = RC_MALFORMED_PACKET
    return (code, facts) if code == RC_SUCCESS else (code, {})


cdef bytes text(Span* span):
    return span.at[:span.size] if span.size else b""
