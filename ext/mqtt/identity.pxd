# Who a connection is, and so what it may publish and see.

from ext.mqtt.framing cimport Framed
from ext.mqtt.packet cimport Connect, Publish
from ext.mqtt.reason cimport ReasonCode
from ext.mqtt.session cimport Session

cdef enum:
    NOBODY = -1

cdef class Known(Framed):
    cdef object operator            # what the index says of an operator; None: a device
    cdef const unsigned char* id    # into user_name
    cdef size_t id_size

    cdef str authenticate(self, Connect* connect, ReasonCode* code)
    cdef int whose(self, Publish* publish, unsigned char* scope, unsigned char* encoding,
                   unsigned char* reason) noexcept
    cdef bint may_see(self, bytes filter, int* child) except -1
    cdef Session need_session(self)
