# What all connections of one endpoint share: slots, the chunk being gathered, acknowledgements, time.

from cpython.object cimport PyObject

from ext.mqtt.outbox cimport Link
from ext.mqtt.router cimport Router
from ext.mqtt.session cimport Session, Will
from ext.telemetry.device_states cimport DeviceStates
from ext.telemetry.frames cimport FrameChunk
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.quota cimport Quota

cdef enum State:
    STATE_AWAIT_CONNECT = 0
    STATE_OPEN = 1              # CONNACK sent
    STATE_LEAVING = 2           # our last word is said: what still comes is thrown away until the client closes
    STATE_GONE = 3

cdef enum Traffic:             # who is held back first: bits
    TRAFFIC_GATEWAYS = 1
    TRAFFIC_DEVICES = 2         # and operators, and who has not said who it is
    TRAFFIC_ALL = 3

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
    unsigned int rest_tick      # since when we wait for the end of a packet; 0: we do not
    unsigned int quota_tick     # until when it is not read because of its quota; 0: it is
    unsigned int ack_bytes      # scratch of acknowledge(): 0 outside
    unsigned int ack_at
    unsigned short generation   # of the slot's use: an ack for a connection that has gone does not fit any more

cdef unsigned long long ACK_QOS_2   # the bit of an ack_ref that asks for a PUBREC

cdef struct Refusal:            # an acknowledgement without a frame, in its place among the others
    size_t before               # number of frames in the chunk when it came
    unsigned long long ack_ref
    unsigned char reason

cdef class PublishChunk(FrameChunk):
    cdef Refusal* refusals
    cdef size_t refusal_count, refusal_capacity
    cdef bint is_durable
    cdef int refuse(self, unsigned long long ack_ref, unsigned char reason) except -1

cdef class Peer(Link):
    cdef Hub hub
    cdef object transport
    cdef bytes user_name, client_id
    cdef object owner                   # by whom the connections are found: device slot, or an operator's user name
    cdef Peer next_of_owner
    cdef Session session                # None while there is nothing to keep
    cdef int slot
    cdef int device                     # slot in the device index; -1: not known yet, or an operator
    cdef unsigned int unacked           # messages of the client at QoS 1 and 2 that count against our Receive Maximum
    cdef unsigned short generation
    cdef unsigned char state
    cdef bint has_session_expiry        # was asked for in CONNECT
    cdef unsigned char traffic          # Traffic
    cdef unsigned char parting          # why it ends: End, or a reason code
    cdef bint is_told                   # counts among its device's connections in Hub.states
    cdef bint is_held(self) noexcept    # not to be read for now: backpressure, or its quota
    cdef int forget(self) noexcept      # what is kept of a packet whose end has not come
    cdef int leave(self, int reason) except -1
    cdef int hang_up(self) except -1

cdef class Hub:
    cdef readonly DeviceIndex index
    cdef readonly Router router
    cdef public object on_coming        # asked before a CONNECT is answered, see Connection.defer(); None: nobody
    cdef object sink, loop, on_refused, flush_timer, tick_timer, on_durable
    cdef double gather_s
    cdef PublishChunk chunk
    cdef PublishChunk last_chunk        # handed on last, while it is not durable
    cdef Slot* slots
    cdef int slot_count, slot_capacity  # slot 0 is never used: an ack_ref of 0 means none
    cdef list free_slots
    cdef dict by_owner                  # device slot, or an operator's user name -> first Peer of a chain
    cdef unsigned char* ack_room
    cdef size_t ack_room_bytes
    cdef int* touched
    cdef size_t touched_capacity
    cdef bytearray read_bytes
    cdef object read_view
    cdef unsigned char* read_at
    cdef unsigned int now_tick
    cdef long long received_ms          # when the bytes being parsed came; 0: not asked yet
    cdef unsigned char paused, refusing     # Traffic that is not read, and that is not let in
    cdef bint is_stopped, tells_filters
    cdef Quota quota
    cdef DeviceStates states            # None: nobody asks
    cdef double read_s                  # when the bytes being parsed came, for the quota
    cdef size_t partial_bytes, max_partial_bytes    # kept of packets whose end has not come, of all connections
    cdef object on_filters
    cdef int log_budget
    cdef int open_count, socket_count
    # limits
    cdef unsigned int max_packet_bytes, receive_maximum, max_keep_alive_s, connect_ticks
    cdef unsigned short outbound_window, aliases_out
    cdef int max_connections
    # counters
    cdef unsigned long long bytes_received, acks_sent, acks_gone, chunks, refused_acks_sent
    cdef unsigned long long messages[3]
    cdef unsigned long long rejected[256]
    cdef unsigned long long closed[256]
    cdef unsigned long long plain_messages, wills, slow_readers, quota_rests, evicted
    cdef dict connects

    cdef int attach(self, Peer peer) except -1
    cdef int detach(self, Peer peer) except -1
    cdef int enter(self, Peer peer) except -1
    cdef int withdraw(self, Peer peer) except -1
    cdef int gathered(self) except -1
    cdef int flush(self) except -1
    cdef int answer_in_order(self, Peer peer, unsigned short packet_id, int qos, unsigned char reason,
                             bint is_repeated) except -1
    cdef int report(self, str what, bytes device, bytes detail) except -1
    cdef int count_connect(self, str result) except -1
    cdef long long clock_ms(self) noexcept
    cdef Peer peer_of(self, unsigned long long ack_ref)
    cdef unsigned int lay_out(self, unsigned long long ack_ref, unsigned char reason,
                              size_t* touched) except? 0xFFFFFFFF
    cdef void put_ack(self, unsigned long long ack_ref, unsigned char reason) noexcept
    cdef int send_acks(self, int index) except -1
    cdef Peer other_of(self, object owner, bytes client_id)
    cdef int expire(self, Peer peer) except -1
    cdef int rest(self, Peer peer, double over_s) noexcept
    cdef int relieve(self) except -1
