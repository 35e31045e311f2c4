# One client's protocol: bytes of a socket to frames of the hub's chunk.

from ext.mqtt.connecting cimport Entrant
from ext.mqtt.packet cimport Header
from ext.mqtt.reason cimport ReasonCode

cdef class Connection(Entrant):
    cdef ReasonCode on_disconnect(self, Header* header, const unsigned char* body) except *
    cdef ReasonCode on_ack(self, Header* header, const unsigned char* body) except *
