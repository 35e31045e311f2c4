# MQTT 5.0 properties, as clients and as servers may send them: section 2.2.2.

from ext.mqtt.reason cimport ReasonCode
from ext.wire.cursor cimport Cursor, Span

cdef enum Place:                    # which packet (or part) the properties stand in: a bit each
    IN_CONNECT = 1
    IN_WILL = 2
    IN_PUBLISH = 4
    IN_PUBACK = 8
    IN_SUBSCRIBE = 16
    IN_UNSUBSCRIBE = 32
    IN_DISCONNECT = 64
    # What a server sends; its PUBREC, PUBREL and PUBCOMP have what a PUBACK has, its UNSUBACK what a SUBACK has.
    IN_CONNACK = 256
    IN_SUBACK = 512
    IN_SERVER_PUBLISH = 1024
    IN_SERVER_DISCONNECT = 2048

cdef enum:                         # property ids
    P_PAYLOAD_FORMAT = 1
    P_MESSAGE_EXPIRY = 2
    P_CONTENT_TYPE = 3
    P_RESPONSE_TOPIC = 8
    P_CORRELATION_DATA = 9
    P_SUBSCRIPTION_IDENTIFIER = 11
    P_SESSION_EXPIRY = 17
    P_ASSIGNED_CLIENT_ID = 18
    P_SERVER_KEEP_ALIVE = 19
    P_AUTHENTICATION_METHOD = 21
    P_AUTHENTICATION_DATA = 22
    P_REQUEST_PROBLEM_INFORMATION = 23
    P_WILL_DELAY = 24
    P_REQUEST_RESPONSE_INFORMATION = 25
    P_RESPONSE_INFORMATION = 26
    P_SERVER_REFERENCE = 28
    P_REASON_STRING = 31
    P_RECEIVE_MAXIMUM = 33
    P_TOPIC_ALIAS_MAXIMUM = 34
    P_TOPIC_ALIAS = 35
    P_MAXIMUM_QOS = 36
    P_RETAIN_AVAILABLE = 37
    P_USER_PROPERTY = 38
    P_MAXIMUM_PACKET_SIZE = 39
    P_WILDCARD_SUBSCRIPTION_AVAILABLE = 40
    P_SUBSCRIPTION_IDENTIFIER_AVAILABLE = 41
    P_SHARED_SUBSCRIPTION_AVAILABLE = 42

cdef struct Properties:
    unsigned long long seen         # bit n: property n was there
    unsigned int numbers[43]        # by property id: bytes, integers and the subscription identifier
    Span content_type
    Span block                      # all of them, as they came, without their length

# Reads the length and the properties behind it. Every property is checked: its id, that it may stand in this place,
# that it stands there once, its type and its range. `out` is valid for what `seen` says.
cdef ReasonCode read_properties(Cursor* c, Place place, Properties* out) noexcept nogil

# The properties of an application message that go on to its subscribers as they came and in their order: all but
# Message Expiry, Topic Alias and Will Delay. `block` must have been read by read_properties.
cdef bytes forwarded(const Span* block)


cdef inline bint has(const Properties* properties, unsigned int id) noexcept nogil:
    return (properties.seen >> id) & 1
