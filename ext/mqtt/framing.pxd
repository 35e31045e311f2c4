# Bytes of a socket to whole MQTT packets.

from ext.mqtt.hub cimport Peer
from ext.mqtt.packet cimport Header
from ext.mqtt.reason cimport ReasonCode
from ext.wire.cursor cimport Cursor

cdef enum:
    CONNECT_MAX_BYTES = 16_384      # what somebody may make us hold before we know who it is

cdef class Framed(Peer):
    cdef unsigned char* rest        # the beginning of a packet whose end has not come
    cdef size_t rest_size, rest_capacity
    cdef bytearray held             # a CONNECT that waits for the other workers, and what came behind it; else None

    cdef int consume(self, const unsigned char* at, size_t size) except -1
    cdef const unsigned char* complete(self, const unsigned char* at, const unsigned char* end) except NULL
    cdef int hold(self, const unsigned char* at, size_t size) except -1
    cdef int stash(self, const unsigned char* at, size_t size) except -1
    cdef int keep(self, unsigned char* room, size_t capacity) noexcept
    cdef ReasonCode admit(self, Header* header, Cursor* body) noexcept
    cdef int fail(self, ReasonCode code, unsigned char type) except -1
    # One whole packet. Connection's.
    cdef int take(self, Header* header, const unsigned char* body) except -1
