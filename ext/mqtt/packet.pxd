# MQTT control packets as a client sends them, 3.1.1 and 5.0: bytes to structs that borrow from those bytes.

from ext.mqtt.properties cimport Properties
from ext.mqtt.reason cimport ReasonCode
from ext.wire.cursor cimport Cursor, Span, Step, STEP_MALFORMED, STEP_NEED_MORE, STEP_OK
from ext.wire.varint cimport read_varint

cdef enum PacketType:
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15

cdef enum Version:
    VERSION_UNKNOWN = 0
    VERSION_3_1_1 = 4
    VERSION_5 = 5

cdef struct Header:
    unsigned char type              # PacketType; 0 is reserved
    unsigned char flags
    unsigned int size               # remaining length, bytes

cdef struct Connect:
    unsigned char version           # as sent: 4, 5 or something we do not speak
    unsigned char is_clean
    unsigned char has_will, will_qos, will_retain
    unsigned char has_username, has_password
    unsigned short keep_alive_s
    Span client_id, username, password, will_topic, will_payload
    Properties properties           # `seen` is 0 in 3.1.1
    Properties will                 # the will's

cdef struct Publish:
    Span topic                      # not yet checked: check_topic_name
    Span payload
    Span content_type
    Span properties                 # all of them, as they came
    unsigned int expiry_s           # Message Expiry, if has_expiry
    unsigned short packet_id        # 0 at QoS 0
    unsigned short topic_alias      # 0: none
    unsigned char qos, is_retained, has_expiry
    unsigned char is_utf8           # says the sender: Payload Format Indicator 1

cdef struct Ack:                    # PUBACK, PUBREC, PUBREL, PUBCOMP, and DISCONNECT without a packet id
    unsigned short packet_id
    unsigned char reason
    Properties properties

cdef struct FilterRequest:          # one filter of a SUBSCRIBE or UNSUBSCRIBE
    Span filter
    unsigned char qos, is_no_local, keeps_retain, retain_handling


cdef inline Step read_header(Cursor* c, Header* out) noexcept nogil:
    """Type, flags and remaining length. The cursor moves only on STEP_OK."""
    cdef Cursor at
    cdef Step step
    if c.at == c.end:
        return STEP_NEED_MORE
    at.at = c.at + 1
    at.end = c.end
    step = read_varint(&at, &out.size)
    if step == STEP_OK:
        out.type = c.at[0] >> 4
        out.flags = c.at[0] & 15
        c.at = at.at
    return step


# Each takes the body of one packet, all of it, and returns RC_SUCCESS or why the packet is refused.
cdef ReasonCode check_flags(unsigned char type, unsigned char flags) noexcept nogil
cdef ReasonCode read_connect(const unsigned char* body, size_t size, Connect* out) noexcept nogil
cdef ReasonCode read_publish(const unsigned char* body, size_t size, unsigned char flags, unsigned char version,
                             Publish* out) noexcept nogil
# PUBACK, PUBREC, PUBREL or PUBCOMP.
cdef ReasonCode read_ack(const unsigned char* body, size_t size, unsigned char type, unsigned char version,
                         Ack* out) noexcept nogil
cdef ReasonCode read_disconnect(const unsigned char* body, size_t size, unsigned char version,
                                Ack* out) noexcept nogil
# SUBSCRIBE (8) or UNSUBSCRIBE (10): the part before the filters; the cursor is left on the first one.
cdef ReasonCode read_subscribe(Cursor* c, unsigned char type, unsigned char version, unsigned short* packet_id,
                               Properties* properties) noexcept nogil
# The next filter, with its options if `type` is SUBSCRIBE. The cursor must not be at its end.
cdef ReasonCode read_filter(Cursor* c, unsigned char type, unsigned char version, FilterRequest* out) noexcept nogil
# RC_MALFORMED_PACKET for bad UTF-8 or an empty name, RC_TOPIC_NAME_INVALID for a wildcard.
cdef ReasonCode check_topic_name(const unsigned char* at, size_t size) noexcept nogil
# Whether the wildcards of a filter stand where they may: MQTT 5.0 section 4.7.1.
cdef bint is_filter(const unsigned char* at, size_t size) noexcept nogil
