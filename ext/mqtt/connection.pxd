# One client's protocol: bytes of a socket to frames of the hub's chunk.

from ext.mqtt.hub cimport Peer
from ext.mqtt.packet cimport Header, Publish
from ext.mqtt.reason cimport ReasonCode
from ext.wire.cursor cimport Cursor, Span

cdef enum:
    TOPIC_ALIAS_MAXIMUM = 16
    CONNECT_MAX_BYTES = 16_384      # what somebody may make us hold before we know who it is

cdef class Connection(Peer):
    cdef unsigned char* rest        # the beginning of a packet whose end has not come
    cdef size_t rest_size, rest_capacity
    cdef Span* aliases              # TOPIC_ALIAS_MAXIMUM + 1 of them, each owned; NULL until one is used
    cdef const unsigned char* id    # into device_id
    cdef size_t id_size
    cdef unsigned long long ack_base

    cdef int consume(self, const unsigned char* at, size_t size) except -1
    cdef const unsigned char* complete(self, const unsigned char* at, const unsigned char* end) except NULL
    cdef int stash(self, const unsigned char* at, size_t size) except -1
    cdef int fail(self, ReasonCode code, unsigned char type) except -1
    cdef ReasonCode admit(self, Header* header, Cursor* body) noexcept
    cdef int take(self, Header* header, const unsigned char* body) except -1
    cdef int on_publish(self, Header* header, const unsigned char* body) except -1
    cdef int refuse_publish(self, Publish* publish, ReasonCode code) except -1
    cdef ReasonCode resolve_alias(self, Publish* publish) noexcept
    cdef int whose(self, Publish* publish, unsigned char* scope, unsigned char* encoding,
                   unsigned char* reason) noexcept
    cdef int on_connect(self, const unsigned char* body, size_t size) except -1
    cdef int deny(self, int version, int code, str result) except -1
    cdef ReasonCode on_subscribe(self, Header* header, const unsigned char* body) except *
    cdef int subscribe(self, Span* filter, int qos) except -1
    cdef bint unsubscribe(self, Span* filter) except -1
    cdef int filter_target(self, Span* filter, int* form) noexcept
