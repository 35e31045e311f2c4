# One client's protocol: bytes of a socket to frames of the hub's chunk.

from ext.mqtt.hub cimport Peer
from ext.mqtt.message cimport Message
from ext.mqtt.packet cimport Connect, FilterRequest, Header, Publish
from ext.mqtt.reason cimport ReasonCode
from ext.mqtt.session cimport Session
from ext.wire.cursor cimport Cursor, Span

cdef enum:
    TOPIC_ALIAS_MAXIMUM = 16
    CONNECT_MAX_BYTES = 16_384      # what somebody may make us hold before we know who it is

cdef class Connection(Peer):
    cdef unsigned char* rest        # the beginning of a packet whose end has not come
    cdef size_t rest_size, rest_capacity
    cdef Span* aliases              # TOPIC_ALIAS_MAXIMUM + 1 of them, each owned; NULL until one is used
    cdef object operator            # what the index says of an operator; None: a device
    cdef const unsigned char* id    # into user_name
    cdef size_t id_size
    cdef unsigned long long ack_base
    cdef bint wants_reasons         # Request Problem Information: reason strings on SUBACK

    cdef bytearray held             # a CONNECT that waits for the other workers, and what came behind it; else None
    cdef size_t connect_size        # of the CONNECT's body at the beginning of it
    cdef bint is_cleared            # the other workers have been asked

    cdef int consume(self, const unsigned char* at, size_t size) except -1
    cdef int hold(self, const unsigned char* at, size_t size) except -1
    cdef int defer(self, const unsigned char* body, size_t size) except -1
    cdef const unsigned char* complete(self, const unsigned char* at, const unsigned char* end) except NULL
    cdef int stash(self, const unsigned char* at, size_t size) except -1
    cdef int fail(self, ReasonCode code, unsigned char type) except -1
    cdef int keep(self, unsigned char* room, size_t capacity) noexcept
    cdef ReasonCode admit(self, Header* header, Cursor* body) noexcept
    cdef int take(self, Header* header, const unsigned char* body) except -1
    cdef int on_publish(self, Header* header, const unsigned char* body) except -1
    cdef int publish_plain(self, Publish* publish) except -1
    cdef int fan_out(self, Publish* publish) except -1
    cdef Message message_of(self, Publish* publish, bytes topic)
    cdef int refuse_publish(self, Publish* publish, ReasonCode code) except -1
    cdef ReasonCode resolve_alias(self, Publish* publish) noexcept
    cdef int whose(self, Publish* publish, unsigned char* scope, unsigned char* encoding,
                   unsigned char* reason) noexcept
    cdef ReasonCode on_ack(self, Header* header, const unsigned char* body) except *
    cdef ReasonCode on_disconnect(self, Header* header, const unsigned char* body) except *
    cdef int on_connect(self, const unsigned char* body, size_t size) except -1
    cdef str authenticate(self, Connect* connect, ReasonCode* code)
    cdef bint may_still(self, Session session) except -1
    cdef bytes begin_session(self, Connect* connect, bint* is_present)
    cdef ReasonCode take_will(self, Connect* connect, list will) except *
    cdef int deny(self, int version, int code, str result) except -1
    cdef ReasonCode on_subscribe(self, Header* header, const unsigned char* body) except *
    cdef int subscribe(self, FilterRequest* request, unsigned int identifier, list batches) except -1
    cdef bint may_see(self, bytes filter, int* child) except -1
    cdef Session need_session(self)
