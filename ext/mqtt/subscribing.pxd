# SUBSCRIBE and UNSUBSCRIBE.

from ext.mqtt.packet cimport FilterRequest, Header
from ext.mqtt.publishing cimport Publisher
from ext.mqtt.reason cimport ReasonCode

cdef class Subscriber(Publisher):
    cdef bint wants_reasons         # Request Problem Information: reason strings on SUBACK

    cdef ReasonCode on_subscribe(self, Header* header, const unsigned char* body) except *
    cdef int subscribe(self, FilterRequest* request, unsigned int identifier, list batches) except -1
