# PUBLISH.

from ext.mqtt.identity cimport Known
from ext.mqtt.message cimport Message
from ext.mqtt.packet cimport Header, Publish
from ext.mqtt.reason cimport ReasonCode
from ext.wire.cursor cimport Span

cdef enum:
    TOPIC_ALIAS_MAXIMUM = 16

cdef class Publisher(Known):
    cdef Span* aliases              # TOPIC_ALIAS_MAXIMUM + 1 of them, each owned; NULL until one is used
    cdef unsigned long long ack_base

    cdef int on_publish(self, Header* header, const unsigned char* body) except -1
    cdef int publish_plain(self, Publish* publish) except -1
    cdef int fan_out(self, Publish* publish) except -1
    cdef Message message_of(self, Publish* publish, bytes topic)
    cdef int refuse_publish(self, Publish* publish, ReasonCode code) except -1
    cdef ReasonCode resolve_alias(self, Publish* publish) noexcept
