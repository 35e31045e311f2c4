# What all connections to one external broker share: the chunk being gathered, acknowledgements, backpressure, time.

from ext.telemetry.frames cimport FrameChunk
from ext.telemetry.index cimport DeviceIndex

cdef enum:
    INTAKE_READ_BYTES = 262_144
    INTAKE_CHUNK_BYTES = 1_048_576      # a chunk this large (or of INTAKE_CHUNK_FRAMES) does not wait for its time
    INTAKE_CHUNK_FRAMES = 16_384
    MAX_MEMBERS = 64
    # A read as small as this says that we read faster than the broker writes: better to wait for more.
    SMALL_READ_BYTES = 65_536

cdef struct AckDue:
    unsigned int generation             # of the member's connection on which the message came
    unsigned short packet_id
    unsigned char member
    unsigned char type                  # PUBACK or PUBREC

cdef class DeliveryChunk(FrameChunk):
    cdef AckDue* acks                   # in the order in which the messages came, with and without a frame
    cdef size_t ack_count, ack_capacity
    cdef unsigned long long members     # a bit for each member that has an ack in it
    cdef double born_s
    cdef bint is_durable
    cdef int owe(self, unsigned char member, unsigned int generation, unsigned short packet_id,
                 unsigned char type) except -1
    cdef int take_over(self, DeliveryChunk other) except -1

# One connection as the intake sees it.
cdef class Member:
    cdef Intake intake
    cdef object transport
    cdef unsigned int generation        # of the connection, from 1
    cdef unsigned char number
    cdef bint is_reading                # bytes are wanted, but for what the next two say
    cdef bint is_resting                # until the chunk is handed on
    cdef int settle(self, AckDue* due) except -1
    cdef int say_gathered(self) except -1
    cdef int watch(self, double now_s) except -1
    cdef int waited(self, double now_s) except -1

cdef class Intake:
    cdef readonly DeviceIndex index
    cdef object sink, loop, flush_timer, tick_timer, on_durable
    cdef double gather_s
    cdef DeliveryChunk chunk
    cdef list outstanding               # chunks handed on that are not durable yet, oldest first
    cdef list members
    cdef bytearray read_bytes
    cdef object read_view
    cdef unsigned char* read_at
    cdef long long received_ms          # when the bytes being parsed came; 0: not asked yet
    cdef double read_s                  # loop time of the read being parsed
    cdef bint is_paused, is_stopped
    cdef unsigned long long chunks, acks_gone
    cdef int gathered(self) except -1
    cdef int flush(self) except -1
    cdef int wake(self) except -1
    cdef long long clock_ms(self) noexcept
    cdef double waiting_s(self, Member member, double now_s) except -1
