# What one session is owed at QoS 1 and 2: under way, waiting, and retained messages still to be told.

from ext.mqtt.message cimport Message

cdef class Link:
    """A connection as its session sees it."""
    cdef unsigned int max_packet_bytes      # the client's Maximum Packet Size
    cdef unsigned short window              # the client's Receive Maximum, or ours
    cdef unsigned short alias_maximum       # how many topic aliases we may use towards it
    cdef unsigned char version
    cdef dict aliases_out                   # topic -> alias
    cdef int say(self, bytes data) except -1
    cdef bint is_blocked(self) noexcept

cdef class Traffic:
    """Limits and counters of all sessions' messages."""
    cdef size_t queue_messages, queue_bytes, total_queue_bytes
    cdef size_t queued_bytes                # waiting or under way, of all sessions, now
    cdef unsigned long long deliveries, queued, refused, too_large, expired

cdef class Delivery:
    cdef readonly Message message           # None when released
    cdef object group                       # the shared subscription that chose this session, or None
    cdef tuple identifiers
    cdef readonly unsigned short packet_id  # 0: not sent yet
    cdef readonly unsigned char qos
    cdef readonly bint is_retained          # the RETAIN flag to send
    cdef readonly bint is_released          # PUBREL sent
    cdef bint is_counted                    # in Outbox.outstanding
    cdef size_t bytes                       # as counted in Outbox.bytes

cdef class RetainedBatch:
    """Retained messages for one new subscription."""
    cdef list messages
    cdef size_t at
    cdef unsigned char qos
    cdef tuple identifiers

cdef class Outbox:
    cdef Traffic traffic
    cdef dict inflight                      # packet id -> Delivery, in the order of sending
    cdef object resend                      # deque of Deliveries of inflight that this connection has not seen yet
    cdef object queue                       # deque of Deliveries
    cdef object due                         # deque of RetainedBatches, or None
    cdef size_t bytes                       # of the queue and of inflight
    cdef unsigned int outstanding           # PUBLISH packets that count against the client's Receive Maximum
    cdef unsigned short last_packet_id
    cdef bint is_full(self, Link link) noexcept
    cdef int give(self, Link link, Delivery delivery) except -1
    cdef int owe(self, RetainedBatch batch) except -1
    cdef int resume(self, Link link) except -1
    cdef int pump(self, Link link) except -1
    cdef int send(self, Link link, Delivery delivery, int flags) except -1
    cdef int keep(self, Delivery delivery) except -1
    cdef bint has_room(self, Delivery delivery) noexcept
    cdef void charge(self, Delivery delivery) noexcept
    cdef void discharge(self, Delivery delivery) noexcept
    cdef int finish(self, Link link, Delivery delivery) except -1
    cdef int on_puback(self, Link link, unsigned short packet_id) except -1
    cdef int on_pubrec(self, Link link, unsigned short packet_id, unsigned char reason) except -1
    cdef int on_pubcomp(self, Link link, unsigned short packet_id) except -1
    cdef unsigned short next_packet_id(self) except 0
    cdef list drop(self)

cdef Delivery new_delivery(Message message, int qos, bint is_retained, tuple identifiers, object group)
# One PUBLISH at QoS 0, now or never. Returns 1 if it was sent.
cdef int send_once(Traffic traffic, Link link, Message message, bint is_retained, tuple identifiers) except -1
