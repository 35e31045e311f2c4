# cython: language_level=3
"""MQTT 5.0 properties: parsed and validated without a Python object."""

from libc.string cimport memchr

from ext.mqtt.reason cimport RC_MALFORMED_PACKET, RC_PROTOCOL_ERROR, RC_SUCCESS, RC_TOPIC_ALIAS_INVALID
from ext.wire.cursor cimport STEP_OK, read_bytes, read_prefixed, read_u8, read_u16, read_u32
from ext.wire.utf8 cimport is_mqtt_string
from ext.wire.varint cimport read_varint

cdef enum Type:
    T_UNKNOWN = 0
    T_BYTE = 1
    T_U16 = 2
    T_U32 = 3
    T_VARINT = 4
    T_STRING = 5
    T_BINARY = 6
    T_PAIR = 7

cdef unsigned char TYPES[43]
cdef unsigned short PLACES[43]


cdef void define(unsigned int id, Type type, int places) noexcept:
    TYPES[id] = type
    PLACES[id] = <unsigned short>places


# MQTT 5.0 table 2-4.
for _id in range(43):
    TYPES[_id] = T_UNKNOWN
    PLACES[_id] = 0
define(P_PAYLOAD_FORMAT, T_BYTE, IN_PUBLISH | IN_WILL | IN_SERVER_PUBLISH)
define(P_MESSAGE_EXPIRY, T_U32, IN_PUBLISH | IN_WILL | IN_SERVER_PUBLISH)
define(P_CONTENT_TYPE, T_STRING, IN_PUBLISH | IN_WILL | IN_SERVER_PUBLISH)
define(P_RESPONSE_TOPIC, T_STRING, IN_PUBLISH | IN_WILL | IN_SERVER_PUBLISH)
define(P_CORRELATION_DATA, T_BINARY, IN_PUBLISH | IN_WILL | IN_SERVER_PUBLISH)
define(P_SUBSCRIPTION_IDENTIFIER, T_VARINT, IN_SUBSCRIBE | IN_SERVER_PUBLISH)
define(P_SESSION_EXPIRY, T_U32, IN_CONNECT | IN_DISCONNECT | IN_CONNACK)
define(P_ASSIGNED_CLIENT_ID, T_STRING, IN_CONNACK)
define(P_SERVER_KEEP_ALIVE, T_U16, IN_CONNACK)
define(P_AUTHENTICATION_METHOD, T_STRING, IN_CONNECT | IN_CONNACK)
define(P_AUTHENTICATION_DATA, T_BINARY, IN_CONNECT | IN_CONNACK)
define(P_REQUEST_PROBLEM_INFORMATION, T_BYTE, IN_CONNECT)
define(P_WILL_DELAY, T_U32, IN_WILL)
define(P_REQUEST_RESPONSE_INFORMATION, T_BYTE, IN_CONNECT)
define(P_RESPONSE_INFORMATION, T_STRING, IN_CONNACK)
define(P_SERVER_REFERENCE, T_STRING, IN_CONNACK | IN_SERVER_DISCONNECT)
define(P_REASON_STRING, T_STRING, IN_PUBACK | IN_DISCONNECT | IN_CONNACK | IN_SUBACK | IN_SERVER_DISCONNECT)
define(P_RECEIVE_MAXIMUM, T_U16, IN_CONNECT | IN_CONNACK)
define(P_TOPIC_ALIAS_MAXIMUM, T_U16, IN_CONNECT | IN_CONNACK)
define(P_TOPIC_ALIAS, T_U16, IN_PUBLISH | IN_SERVER_PUBLISH)
define(P_MAXIMUM_QOS, T_BYTE, IN_CONNACK)
define(P_RETAIN_AVAILABLE, T_BYTE, IN_CONNACK)
define(P_USER_PROPERTY, T_PAIR, 0xFFFF)
define(P_MAXIMUM_PACKET_SIZE, T_U32, IN_CONNECT | IN_CONNACK)
define(P_WILDCARD_SUBSCRIPTION_AVAILABLE, T_BYTE, IN_CONNACK)
define(P_SUBSCRIPTION_IDENTIFIER_AVAILABLE, T_BYTE, IN_CONNACK)
define(P_SHARED_SUBSCRIPTION_AVAILABLE, T_BYTE, IN_CONNACK)


cdef ReasonCode check_range(unsigned int id, unsigned int value) noexcept nogil:
    if id == P_TOPIC_ALIAS:
        return RC_TOPIC_ALIAS_INVALID if value == 0 else RC_SUCCESS
    if id == P_RECEIVE_MAXIMUM or id == P_MAXIMUM_PACKET_SIZE or id == P_SUBSCRIPTION_IDENTIFIER:
        return RC_PROTOCOL_ERROR if value == 0 else RC_SUCCESS
    if TYPES[id] == T_BYTE:
        return RC_PROTOCOL_ERROR if value > 1 else RC_SUCCESS
    return RC_SUCCESS


cdef ReasonCode read_properties(Cursor* c, Place place, Properties* out) noexcept nogil:
    cdef Cursor inner
    cdef Span span, value
    cdef ReasonCode code
    cdef unsigned int size, id, number
    cdef unsigned short short_number
    cdef unsigned char byte
    cdef Type type
    out.seen = 0
    out.content_type.at = NULL
    out.content_type.size = 0
    out.block.at = NULL
    out.block.size = 0
    if read_varint(c, &size) != STEP_OK or read_bytes(c, size, &span) != STEP_OK:
        return RC_MALFORMED_PACKET
    out.block = span
    inner.at = span.at
    inner.end = span.at + span.size
    while inner.at < inner.end:
        if read_varint(&inner, &id) != STEP_OK or id > 42:
            return RC_MALFORMED_PACKET
        type = <Type>TYPES[id]
        if type == T_UNKNOWN or not PLACES[id] & place:
            if id == P_SUBSCRIPTION_IDENTIFIER and place == IN_PUBLISH:     # [MQTT-3.3.4-6]
                return RC_PROTOCOL_ERROR
            if id == P_SERVER_REFERENCE and place == IN_DISCONNECT:
                return RC_PROTOCOL_ERROR
            return RC_MALFORMED_PACKET
        if (out.seen >> id) & 1 and id != P_USER_PROPERTY and not (
            id == P_SUBSCRIPTION_IDENTIFIER and place == IN_SERVER_PUBLISH      # one for each subscription that matched
        ):
            return RC_PROTOCOL_ERROR
        number = 0
        if type == T_BYTE:
            if read_u8(&inner, &byte) != STEP_OK:
                return RC_MALFORMED_PACKET
            number = byte
        elif type == T_U16:
            if read_u16(&inner, &short_number) != STEP_OK:
                return RC_MALFORMED_PACKET
            number = short_number
        elif type == T_U32:
            if read_u32(&inner, &number) != STEP_OK:
                return RC_MALFORMED_PACKET
        elif type == T_VARINT:
            if read_varint(&inner, &number) != STEP_OK:
                return RC_MALFORMED_PACKET
        else:
            if read_prefixed(&inner, &value) != STEP_OK:
                return RC_MALFORMED_PACKET
            if type != T_BINARY and not is_mqtt_string(value.at, value.size):
                return RC_MALFORMED_PACKET
            if type == T_PAIR:
                if read_prefixed(&inner, &value) != STEP_OK or not is_mqtt_string(value.at, value.size):
                    return RC_MALFORMED_PACKET
            if id == P_CONTENT_TYPE:
                out.content_type = value
            if id == P_RESPONSE_TOPIC and value.size and (                  # [MQTT-3.3.2-14]
                memchr(value.at, b"+", value.size) != NULL or memchr(value.at, b"#", value.size) != NULL
            ):
                return RC_PROTOCOL_ERROR
        code = check_range(id, number)
        if code != RC_SUCCESS:
            return code
        out.numbers[id] = number
        out.seen |= <unsigned long long>1 << id
    if has(out, P_AUTHENTICATION_DATA) and not has(out, P_AUTHENTICATION_METHOD):
        return RC_PROTOCOL_ERROR
    return RC_SUCCESS


cdef bytes forwarded(const Span* block):
    cdef const unsigned char* at = block.at
    cdef const unsigned char* end = block.at + block.size
    cdef const unsigned char* start
    cdef list kept
    cdef unsigned char id
    if block.size == 0:
        return b""
    kept = []
    while at < end:
        start = at
        id = at[0]                      # a one-byte varint: the highest id is 42
        at += 1
        if TYPES[id] == T_BYTE:
            at += 1
        elif TYPES[id] == T_U16:
            at += 2
        elif TYPES[id] == T_U32:
            at += 4
        else:                           # no property of a message is a varint
            at += 2 + ((at[0] << 8) | at[1])
            if TYPES[id] == T_PAIR:
                at += 2 + ((at[0] << 8) | at[1])
        if id != P_MESSAGE_EXPIRY and id != P_TOPIC_ALIAS and id != P_WILL_DELAY:
            kept.append(start[: at - start])
    return b"".join(kept)
