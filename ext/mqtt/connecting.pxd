# CONNECT.

from ext.mqtt.packet cimport Connect
from ext.mqtt.reason cimport ReasonCode
from ext.mqtt.session cimport Session
from ext.mqtt.subscribing cimport Subscriber

cdef class Entrant(Subscriber):
    cdef size_t connect_size        # of the CONNECT's body at the beginning of `held`
    cdef bint is_cleared            # the other workers have been asked

    cdef int on_connect(self, const unsigned char* body, size_t size) except -1
    cdef int deny(self, int version, int code, str result) except -1
    cdef bytes begin_session(self, Connect* connect, bint* is_present)
    cdef bint may_still(self, Session session) except -1
    cdef ReasonCode take_will(self, Connect* connect, list will) except *
    cdef int defer(self, const unsigned char* body, size_t size) except -1
