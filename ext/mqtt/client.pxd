# One connection to an external broker: bytes of a socket to frames of the intake's chunk.

from ext.mqtt.intake cimport AckDue, Member
from ext.mqtt.packet cimport Publish
from ext.mqtt.reason cimport ReasonCode
from ext.mqtt.stream cimport Packet, Stream
from ext.telemetry.frames cimport Frame
from ext.wire.cursor cimport Span

cdef enum:
    LINK_TOPIC_ALIASES = 4_096
    LINK_OUTBOUND = 1_024           # QoS 1 messages of ours that the broker has not acknowledged

cdef enum LinkState:
    LINK_IDLE = 0
    LINK_CONNECTING = 1             # CONNECT sent
    LINK_SUBSCRIBING = 2            # CONNACK came; messages of the session may come already
    LINK_OPEN = 3
    LINK_LEAVING = 4                # our last word is said

cdef enum Handshake:                # of a QoS 2 message, by packet id
    HANDSHAKE_NONE = 0
    HANDSHAKE_TAKEN = 1             # in a chunk
    HANDSHAKE_DURABLE = 2           # PUBREC sent, or owed to its repetition

cdef class BrokerLink(Member):
    cdef Stream stream
    cdef readonly bytes client_id
    cdef object opened, closed
    cdef tuple ending               # (cause, reason code, what the broker said): why the connection ends
    cdef bytes connect_packet
    cdef list filters, stale_filters
    cdef dict pending               # packet id -> (topic, payload, retain) of our QoS 1 messages
    cdef Span* aliases              # LINK_TOPIC_ALIASES + 1 of them, each owned; NULL until one is used
    cdef unsigned char* handshakes  # 65,536 of them; NULL until one is used
    cdef unsigned char* out         # acknowledgements that wait for the end of the read or of the chunk
    cdef size_t out_size, out_capacity
    cdef unsigned int session_generation    # the connection with which the broker's session began
    cdef unsigned int unacked, max_packet_bytes
    cdef unsigned short last_packet_id, window
    cdef unsigned char version, state, max_qos
    cdef bint may_rest, has_received, is_session_present
    cdef double keep_alive_s, connect_timeout_s, stall_s, ack_timeout_s
    cdef double began_s, pinged_s, ping_sent_s, message_s, blocked_s, left_s
    cdef unsigned long long messages[3]
    cdef unsigned long long bytes_received, acks_sent, duplicates, repeats, retained, oversized
    cdef unsigned long long published, publish_refused

    cdef int consume(self, const unsigned char* at, size_t size) except -1
    cdef int take(self, Packet* packet) except -1
    cdef int on_publish(self, Packet* packet) except -1
    cdef void place(self, Publish* publish, Frame* frame) noexcept
    cdef ReasonCode resolve_alias(self, Publish* publish) noexcept
    cdef void forget_aliases(self) noexcept
    cdef int on_connack(self, Packet* packet) except -1
    cdef int on_suback(self, Packet* packet) except -1
    cdef int on_puback(self, Packet* packet) except -1
    cdef int on_pubrel(self, Packet* packet) except -1
    cdef int resend(self) except -1
    cdef int put(self, unsigned char type, unsigned short packet_id, unsigned char reason) except -1
    cdef int say(self, bytes data) except -1
    cdef int leave(self, str cause, int code, bytes detail) except -1
    cdef int end(self, str cause, int code, bytes detail, bint may_linger=*) except -1
    cdef int expire(self, str cause) except -1
