# A client's state that may outlive its connection.

from ext.mqtt.message cimport Message
from ext.mqtt.outbox cimport Link, Outbox, Traffic
from ext.mqtt.packet_ids cimport PacketIds

cdef class Will:
    cdef readonly Message message
    cdef readonly unsigned int delay_s
    cdef unsigned int expiry_s          # of the message, from when it is sent; if has_expiry
    cdef bint has_expiry
    # As its topic was judged at CONNECT: a will of a device goes down the pipeline like its other messages.
    cdef int sender                     # slot in the device index; -1: not for the pipeline
    cdef unsigned char scope, encoding, reason

cdef class Session:
    cdef readonly bytes key             # user name, a zero byte, client id
    cdef object owner                   # device slot, or an operator's user name
    cdef int device                     # slot in the device index; -1: an operator
    cdef Link link                      # None: away
    cdef Traffic traffic
    cdef Outbox outbox                  # None until something at QoS 1 or 2 is owed
    cdef dict subscriptions             # filter as it was asked for -> Subscription; None: none
    cdef Will will
    cdef PacketIds inbound              # QoS 2 messages of the client that are ours and wait for its PUBREL
    cdef PacketIds unsure               # those of them that are not durable yet
    cdef unsigned int expiry_s          # kept so long after the connection
    cdef bint has_ended
    cdef long long ends_ms, will_ms     # while away: when it ends, and when its will is due; NEVER
    cdef long long timer_ms             # earliest entry in the router's timers; NEVER: none
    cdef int give(self, Message message, int qos, bint is_retained, tuple identifiers, object group) except -1
    cdef Outbox box(self)
    cdef bint takes(self) noexcept
