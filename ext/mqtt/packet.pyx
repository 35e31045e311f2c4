# cython: language_level=3
"""MQTT control packets as a client sends them, 3.1.1 and 5.0. Section numbers are those of MQTT 5.0."""

from libc.string cimport memchr, memcmp, memset

from ext.mqtt.properties cimport (
    IN_CONNECT, IN_DISCONNECT, IN_PUBACK, IN_PUBLISH, IN_SUBSCRIBE, IN_UNSUBSCRIBE, IN_WILL, P_MESSAGE_EXPIRY,
    P_PAYLOAD_FORMAT, P_TOPIC_ALIAS, forwarded, has, read_properties,
)
from ext.mqtt.reason cimport (
    RC_MALFORMED_PACKET, RC_PROTOCOL_ERROR, RC_SUCCESS, RC_TOPIC_NAME_INVALID, RC_UNSUPPORTED_VERSION,
)
from ext.wire.cursor cimport read_prefixed, read_u8, read_u16
from ext.wire.utf8 cimport is_mqtt_string


cdef ReasonCode check_flags(unsigned char type, unsigned char flags) noexcept nogil:
    """Section 2.1.3, and which packets a client may send at all."""
    if type == PUBLISH:
        if flags & 6 == 6 or (flags & 8 and not flags & 6):     # QoS 3; DUP at QoS 0 [MQTT-3.3.1-2]
            return RC_MALFORMED_PACKET
        return RC_SUCCESS
    if type == 0:
        return RC_MALFORMED_PACKET
    if flags != (2 if type == PUBREL or type == SUBSCRIBE or type == UNSUBSCRIBE else 0):
        return RC_MALFORMED_PACKET
    if type == CONNACK or type == SUBACK or type == UNSUBACK or type == PINGRESP or type == AUTH:
        return RC_PROTOCOL_ERROR        # only servers send these; AUTH needs a method, and none is spoken here
    return RC_SUCCESS


cdef ReasonCode check_topic_name(const unsigned char* at, size_t size) noexcept nogil:
    if size == 0 or not is_mqtt_string(at, size):
        return RC_MALFORMED_PACKET
    if memchr(at, b"+", size) != NULL or memchr(at, b"#", size) != NULL:
        return RC_TOPIC_NAME_INVALID
    return RC_SUCCESS


cdef bint is_filter(const unsigned char* at, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        if at[i] == b"+":
            if (i and at[i - 1] != b"/") or (i + 1 < size and at[i + 1] != b"/"):
                return False
        elif at[i] == b"#" and ((i and at[i - 1] != b"/") or i + 1 != size):
            return False
    return size != 0


cdef ReasonCode read_string(Cursor* c, Span* out) noexcept nogil:
    if read_prefixed(c, out) != STEP_OK or not is_mqtt_string(out.at, out.size):
        return RC_MALFORMED_PACKET
    return RC_SUCCESS


cdef ReasonCode read_connect(const unsigned char* body, size_t size, Connect* out) noexcept nogil:
    """Section 3.1. `out.version` is set as soon as it is known: it says how the refusal is to be told."""
    cdef Cursor c
    cdef Span name
    cdef ReasonCode code
    cdef unsigned char flags
    memset(out, 0, sizeof(Connect))
    c.at = body
    c.end = body + size
    if read_prefixed(&c, &name) != STEP_OK or read_u8(&c, &out.version) != STEP_OK:
        return RC_MALFORMED_PACKET
    if name.size != 4 or memcmp(name.at, b"MQTT", 4) != 0:
        if name.size == 6 and memcmp(name.at, b"MQIsdp", 6) == 0:           # MQTT 3.1
            return RC_UNSUPPORTED_VERSION
        out.version = VERSION_UNKNOWN
        return RC_PROTOCOL_ERROR
    if out.version != VERSION_3_1_1 and out.version != VERSION_5:
        return RC_UNSUPPORTED_VERSION
    if read_u8(&c, &flags) != STEP_OK or read_u16(&c, &out.keep_alive_s) != STEP_OK:
        return RC_MALFORMED_PACKET
    out.is_clean = (flags >> 1) & 1
    out.has_will = (flags >> 2) & 1
    out.will_qos = (flags >> 3) & 3
    out.will_retain = (flags >> 5) & 1
    out.has_password = (flags >> 6) & 1
    out.has_username = flags >> 7
    if flags & 1 or out.will_qos == 3 or (not out.has_will and (out.will_qos or out.will_retain)):
        return RC_MALFORMED_PACKET
    if out.version == VERSION_3_1_1 and out.has_password and not out.has_username:  # 3.1.1 [MQTT-3.1.2-22]
        return RC_MALFORMED_PACKET
    if out.version == VERSION_5:
        code = read_properties(&c, IN_CONNECT, &out.properties)
        if code != RC_SUCCESS:
            return code
    if read_string(&c, &out.client_id) != RC_SUCCESS:
        return RC_MALFORMED_PACKET
    if out.has_will:
        if out.version == VERSION_5:
            code = read_properties(&c, IN_WILL, &out.will)
            if code != RC_SUCCESS:
                return code
        if read_prefixed(&c, &out.will_topic) != STEP_OK:
            return RC_MALFORMED_PACKET
        code = check_topic_name(out.will_topic.at, out.will_topic.size)
        if code != RC_SUCCESS:
            return code
        if read_prefixed(&c, &out.will_payload) != STEP_OK:
            return RC_MALFORMED_PACKET
    if out.has_username and read_string(&c, &out.username) != RC_SUCCESS:
        return RC_MALFORMED_PACKET
    if out.has_password and read_prefixed(&c, &out.password) != STEP_OK:
        return RC_MALFORMED_PACKET
    return RC_SUCCESS if c.at == c.end else RC_MALFORMED_PACKET


cdef ReasonCode read_publish(const unsigned char* body, size_t size, unsigned char flags, unsigned char version,
                             Publish* out) noexcept nogil:
    """Section 3.3. The topic's characters are the caller's to check: it may know them already."""
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
    out.has_expiry = 0
    out.content_type.size = 0
    out.properties.size = 0
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
            code = read_properties(&c, IN_PUBLISH, &properties)
            if code != RC_SUCCESS:
                return code
            if has(&properties, P_TOPIC_ALIAS):
                out.topic_alias = <unsigned short>properties.numbers[P_TOPIC_ALIAS]
            out.is_utf8 = has(&properties, P_PAYLOAD_FORMAT) and properties.numbers[P_PAYLOAD_FORMAT] == 1
            if has(&properties, P_MESSAGE_EXPIRY):
                out.has_expiry = 1
                out.expiry_s = properties.numbers[P_MESSAGE_EXPIRY]
            out.content_type = properties.content_type
            out.properties = properties.block
        if out.topic.size == 0 and out.topic_alias == 0:
            return RC_PROTOCOL_ERROR
    elif out.topic.size == 0:
        return RC_MALFORMED_PACKET
    out.payload.at = c.at
    out.payload.size = <size_t>(c.end - c.at)
    return RC_SUCCESS


cdef ReasonCode read_ack(const unsigned char* body, size_t size, unsigned char type, unsigned char version,
                         Ack* out) noexcept nogil:
    """Sections 3.4 to 3.7: packet id; in MQTT 5 a reason code and properties may follow."""
    cdef Cursor c
    c.at = body
    c.end = body + size
    out.reason = 0
    out.properties.seen = 0
    if read_u16(&c, &out.packet_id) != STEP_OK:
        return RC_MALFORMED_PACKET
    if out.packet_id == 0:
        return RC_PROTOCOL_ERROR
    return read_reason(&c, type, version, out)


cdef ReasonCode read_disconnect(const unsigned char* body, size_t size, unsigned char version,
                                Ack* out) noexcept nogil:
    """Section 3.14: in MQTT 5 a reason code and properties may stand here, in 3.1.1 nothing."""
    cdef Cursor c
    c.at = body
    c.end = body + size
    out.packet_id = 0
    out.reason = 0
    out.properties.seen = 0
    return read_reason(&c, DISCONNECT, version, out)


cdef ReasonCode read_reason(Cursor* c, unsigned char type, unsigned char version, Ack* out) noexcept nogil:
    cdef ReasonCode code
    if version == VERSION_5 and c.at < c.end:
        read_u8(c, &out.reason)
        if not may_say(type, out.reason):
            return RC_PROTOCOL_ERROR
        if c.at < c.end:
            code = read_properties(c, IN_DISCONNECT if type == DISCONNECT else IN_PUBACK, &out.properties)
            if code != RC_SUCCESS:
                return code
    return RC_SUCCESS if c.at == c.end else RC_MALFORMED_PACKET


cdef bint may_say(unsigned char type, unsigned char reason) noexcept nogil:
    """Whether a client may give this reason: tables 3-4 to 3-7 and 3-10."""
    if reason == 0:
        return True
    if type == PUBACK or type == PUBREC:
        return (reason == 0x10 or reason == 0x80 or reason == 0x83 or reason == 0x87 or reason == 0x90
                or reason == 0x91 or reason == 0x97 or reason == 0x99)
    if type == PUBREL or type == PUBCOMP:
        return reason == 0x92
    return reason == 0x04 or 0x80 <= reason <= 0x83 or reason == 0x90 or 0x93 <= reason <= 0x99


cdef ReasonCode read_subscribe(Cursor* c, unsigned char type, unsigned char version, unsigned short* packet_id,
                               Properties* properties) noexcept nogil:
    """Sections 3.8 and 3.10: a packet id, properties, and at least one filter."""
    cdef ReasonCode code
    properties.seen = 0
    if read_u16(c, packet_id) != STEP_OK:
        return RC_MALFORMED_PACKET
    if packet_id[0] == 0:
        return RC_PROTOCOL_ERROR
    if version == VERSION_5:
        code = read_properties(c, IN_SUBSCRIBE if type == SUBSCRIBE else IN_UNSUBSCRIBE, properties)
        if code != RC_SUCCESS:
            return code
    return RC_PROTOCOL_ERROR if c.at == c.end else RC_SUCCESS


cdef ReasonCode read_filter(Cursor* c, unsigned char type, unsigned char version, FilterRequest* out) noexcept nogil:
    cdef unsigned char options
    out.qos = out.is_no_local = out.keeps_retain = out.retain_handling = 0
    if read_string(c, &out.filter) != RC_SUCCESS or out.filter.size == 0:   # [MQTT-4.7.3-1]
        return RC_MALFORMED_PACKET
    if type != SUBSCRIBE:
        return RC_SUCCESS
    if read_u8(c, &options) != STEP_OK:
        return RC_MALFORMED_PACKET
    if options & (0xC0 if version == VERSION_5 else 0xFC):                  # reserved bits
        return RC_MALFORMED_PACKET
    out.qos = options & 3
    out.is_no_local = (options >> 2) & 1
    out.keeps_retain = (options >> 3) & 1
    out.retain_handling = (options >> 4) & 3
    if out.qos == 3:
        return RC_PROTOCOL_ERROR if version == VERSION_5 else RC_MALFORMED_PACKET
    if out.retain_handling == 3:
        return RC_PROTOCOL_ERROR
    return RC_SUCCESS


# The rest is for tests: the same functions from Python.

def decode(bytes packet not None, int version) -> tuple:
    """Read one whole control packet that a client would send.

    Args:
        packet: fixed header and body, nothing behind it.
        version: 4 (MQTT 3.1.1) or 5; a CONNECT says its own.
    Returns: (reason code, facts); the facts are empty unless the reason code is 0.
    Raises: ValueError if `packet` is not exactly one packet by its remaining length.
    """
    cdef Cursor c
    cdef Header header
    cdef ReasonCode code
    cdef const unsigned char* body
    c.at = packet
    c.end = c.at + len(packet)
    if read_header(&c, &header) != STEP_OK or <size_t>(c.end - c.at) != header.size:
        raise ValueError("not exactly one packet")
    body = c.at
    code = check_flags(header.type, header.flags)
    if code != RC_SUCCESS:
        return code, {}
    if header.type == CONNECT:
        return decode_connect(body, header.size)
    if header.type == PUBLISH:
        return decode_publish(body, header.size, header.flags, <unsigned char>version)
    if header.type == SUBSCRIBE or header.type == UNSUBSCRIBE:
        return decode_subscribe(body, header.size, header.type, <unsigned char>version)
    if header.type == PINGREQ:
        return (RC_MALFORMED_PACKET, {}) if header.size else (RC_SUCCESS, {"type": header.type})
    return decode_ack(body, header.size, header.type, <unsigned char>version)


cdef bytes text(Span* span):
    return span.at[:span.size] if span.size else b""


cdef dict numbers(Properties* properties):
    return {i: properties.numbers[i] for i in range(43) if (properties.seen >> i) & 1 and properties.numbers[i]}


cdef tuple decode_connect(const unsigned char* body, size_t size):
    cdef Connect connect
    cdef ReasonCode code = read_connect(body, size, &connect)
    if code != RC_SUCCESS:
        return code, {}
    return code, {
        "type": CONNECT,
        "version": connect.version,
        "is_clean": bool(connect.is_clean),
        "keep_alive_s": connect.keep_alive_s,
        "client_id": text(&connect.client_id),
        "username": text(&connect.username) if connect.has_username else None,
        "password": text(&connect.password) if connect.has_password else None,
        "will_topic": text(&connect.will_topic) if connect.has_will else None,
        "will_payload": text(&connect.will_payload) if connect.has_will else None,
        "will_qos": connect.will_qos,
        "will_retain": bool(connect.will_retain),
        "properties": numbers(&connect.properties),
    }


cdef tuple decode_publish(const unsigned char* body, size_t size, unsigned char flags, unsigned char version):
    cdef Publish publish
    cdef ReasonCode code = read_publish(body, size, flags, version, &publish)
    if code == RC_SUCCESS and publish.topic.size:
        code = check_topic_name(publish.topic.at, publish.topic.size)
    if code != RC_SUCCESS:
        return code, {}
    return code, {
        "type": PUBLISH,
        "topic": text(&publish.topic),
        "payload": text(&publish.payload),
        "content_type": text(&publish.content_type),
        "packet_id": publish.packet_id,
        "topic_alias": publish.topic_alias,
        "qos": publish.qos,
        "is_retained": bool(publish.is_retained),
        "is_utf8": bool(publish.is_utf8),
        "expiry_s": publish.expiry_s if publish.has_expiry else None,
        "forwarded": forwarded(&publish.properties),
    }


cdef tuple decode_subscribe(const unsigned char* body, size_t size, unsigned char type, unsigned char version):
    cdef Cursor c
    cdef Properties properties
    cdef FilterRequest request
    cdef unsigned short packet_id = 0
    cdef ReasonCode code
    c.at = body
    c.end = body + size
    code = read_subscribe(&c, type, version, &packet_id, &properties)
    filters = []
    while code == RC_SUCCESS and c.at < c.end:
        code = read_filter(&c, type, version, &request)
        if code == RC_SUCCESS:
            filters.append((text(&request.filter), request.qos))
    if code != RC_SUCCESS:
        return code, {}
    return code, {"type": type, "packet_id": packet_id, "filters": filters, "properties": numbers(&properties)}


cdef tuple decode_ack(const unsigned char* body, size_t size, unsigned char type, unsigned char version):
    cdef Ack ack
    cdef ReasonCode code
    if type != DISCONNECT:
        code = read_ack(body, size, type, version, &ack)
    else:
        code = read_disconnect(body, size, version, &ack)
    if code != RC_SUCCESS:
        return code, {}
    return code, {"type": type, "packet_id": ack.packet_id, "reason": ack.reason,
                  "properties": numbers(&ack.properties)}
