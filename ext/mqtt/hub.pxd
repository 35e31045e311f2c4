# What all connections of one endpoint share: slots, the chunk being gathered, acknowledgements, deliveries, time.

from cpython.object cimport PyObject

from ext.telemetry.frames cimport FrameChunk
from ext.telemetry.index cimport DeviceIndex

cdef enum State:
    STATE_AWAIT_CONNECT = 0
    STATE_OPEN = 1              # CONNACK sent
    STATE_LEAVING = 2           # our last word is said: what still comes is thrown away until the client closes
    STATE_GONE = 3

cdef enum:
    READ_BUFFER_BYTES = 262_144
    CHUNK_BYTES = 1_048_576     # a chunk this large (or of CHUNK_FRAMES) does not wait for its time
    CHUNK_FRAMES = 16_384
    TICK_MS = 250

cdef struct Slot:
    PyObject* peer              # borrowed; NULL: free
    unsigned int seen_tick      # when a whole packet last came
    unsigned int allowed_ticks  # of silence; 0: no limit
    unsigned int blocked_tick   # since when the client does not read; 0: it does
    unsigned int ack_bytes      # scratch of acknowledge(): 0 outside
    unsigned int ack_at
    unsigned short generation   # of the slot's use: an ack for a connection that has gone does not fit any more

cdef struct Refusal:            # a PUBACK with a reason, in its place among the good ones
    size_t before               # number of frames in the chunk when it came
    unsigned long long ack_ref
    unsigned char reason

cdef class PublishChunk(FrameChunk):
    cdef Refusal* refusals
    cdef size_t refusal_count, refusal_capacity
    cdef bint is_durable
    cdef int refuse(self, unsigned long long ack_ref, unsigned char reason) except -1

cdef class Peer:
    cdef Hub hub
    cdef object transport
    cdef bytes device_id, client_id
    cdef Peer next_of_device
    cdef dict child_forms               # a gateway's subscriptions for its children: slot -> (forms, forms at QoS 1)
    cdef set outbound                   # packet ids of our QoS 1 messages that the client has not acknowledged
    cdef int slot
    cdef int device                     # slot in the device index; -1: not known yet
    cdef unsigned int unacked           # QoS 1 messages of the client that we have not acknowledged
    cdef unsigned int max_packet_bytes  # the client's
    cdef unsigned short generation
    cdef unsigned short window          # the client's Receive Maximum, or ours
    cdef unsigned short last_packet_id
    cdef unsigned short forms, forms_qos1
    cdef unsigned char version, state
    cdef bint has_session_expiry
    cdef int say(self, bytes data) except -1
    cdef int leave(self, int reason) except -1
    cdef int hang_up(self) except -1
    cdef int give(self, bytes topic, bytes payload, int qos) except -1
    cdef bint is_blocked(self) noexcept

cdef class Hub:
    cdef readonly DeviceIndex index
    cdef object sink, loop, on_refused, flush_timer, tick_timer, on_durable
    cdef double gather_s
    cdef PublishChunk chunk
    cdef PublishChunk last_chunk        # handed on last, while it is not durable
    cdef Slot* slots
    cdef int slot_count, slot_capacity  # slot 0 is never used: an ack_ref of 0 means none
    cdef list free_slots
    cdef dict by_device                 # slot in the device index -> first Peer of a chain
    cdef dict child_watchers            # slot in the device index -> list of Peers
    cdef unsigned char* ack_room
    cdef size_t ack_room_bytes
    cdef int* touched
    cdef size_t touched_capacity
    cdef bytearray read_bytes
    cdef object read_view
    cdef unsigned char* read_at
    cdef unsigned int now_tick
    cdef long long received_ms          # when the bytes being parsed came; 0: not asked yet
    cdef bint is_paused, is_stopped
    cdef int log_budget
    cdef int open_count, socket_count
    # limits
    cdef unsigned int max_packet_bytes, receive_maximum, max_keep_alive_s, connect_ticks
    cdef int max_connections
    # counters
    cdef unsigned long long bytes_received, acks_sent, acks_gone, chunks, refused_acks_sent
    cdef unsigned long long messages[2]
    cdef unsigned long long rejected[256]
    cdef unsigned long long closed[256]
    cdef unsigned long long deliveries, deliveries_refused, slow_readers
    cdef dict connects

    cdef int attach(self, Peer peer) except -1
    cdef int detach(self, Peer peer) except -1
    cdef int enter(self, Peer peer) except -1
    cdef int withdraw(self, Peer peer) except -1
    cdef int watch_child(self, Peer peer, int child, int form, int qos) except -1
    cdef bint unwatch_child(self, Peer peer, int child, int form) except -1
    cdef int gathered(self) except -1
    cdef int flush(self) except -1
    cdef int refuse_in_order(self, Peer peer, unsigned short packet_id, unsigned char reason) except -1
    cdef int report(self, str what, bytes device, bytes detail) except -1
    cdef int count_connect(self, str result) except -1
    cdef long long clock_ms(self) noexcept
    cdef Peer peer_of(self, unsigned long long ack_ref)
    cdef unsigned int lay_out(self, unsigned long long ack_ref, unsigned int size, size_t* touched) except? 0xFFFFFFFF
    cdef void put_ack(self, unsigned long long ack_ref, unsigned char reason) noexcept
    cdef int send_acks(self, int index) except -1
    cdef int give_to(self, Peer peer, bytes topic, bytes payload, int qos) except -1
    cdef int expire(self, Peer peer) except -1
