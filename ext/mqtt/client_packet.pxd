# MQTT control packets as a server sends them, 3.1.1 and 5.0: bytes to structs that borrow from those bytes.

from ext.mqtt.packet cimport Ack, Publish
from ext.mqtt.properties cimport Properties
from ext.mqtt.reason cimport ReasonCode
from ext.wire.cursor cimport Span

cdef struct Connack:
    unsigned char is_session_present
    unsigned char reason            # of MQTT 5; a return code of 3.1.1 is translated
    Properties properties           # `seen` is 0 in 3.1.1
    Span reason_string, server_reference

cdef struct Suback:                 # and UNSUBACK
    unsigned short packet_id
    Span reasons                    # a byte for each filter; none in an UNSUBACK of 3.1.1
    Span reason_string

cdef struct Farewell:               # DISCONNECT
    unsigned char reason
    Span reason_string, server_reference

# Each takes the body of one packet, all of it, and returns RC_SUCCESS or why the stream cannot go on.
# Which packets a server may send, and with which flags: section 2.1.3.
cdef ReasonCode check_server_flags(unsigned char type, unsigned char flags) noexcept nogil
cdef ReasonCode read_connack(const unsigned char* body, size_t size, unsigned char version,
                             Connack* out) noexcept nogil
# A PUBLISH. Its topic is not checked: the broker has; what is odd about it goes to quarantine.
cdef ReasonCode read_delivery(const unsigned char* body, size_t size, unsigned char flags, unsigned char version,
                              Publish* out) noexcept nogil
# PUBACK, PUBREC, PUBREL and PUBCOMP.
cdef ReasonCode read_ack(const unsigned char* body, size_t size, unsigned char version, Ack* out) noexcept nogil
cdef ReasonCode read_suback(const unsigned char* body, size_t size, unsigned char type, unsigned char version,
                            Suback* out) noexcept nogil
cdef ReasonCode read_farewell(const unsigned char* body, size_t size, unsigned char version,
                              Farewell* out) noexcept nogil
