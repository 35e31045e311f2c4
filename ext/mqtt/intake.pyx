# cython: language_level=3
"""What all connections to one external broker share: the chunk being gathered, acknowledgements, backpressure, time."""

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdlib cimport free, realloc
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

TICK_S = 0.25


cdef class DeliveryChunk(FrameChunk):
    """A chunk that also knows which packets are to be acknowledged once it is durable."""

    def __dealloc__(self):
        free(self.acks)

    cdef int owe(self, unsigned char member, unsigned int generation, unsigned short packet_id,
                 unsigned char type) except -1:
        cdef size_t room
        cdef void* grown
        cdef AckDue* due
        if self.ack_count == self.ack_capacity:
            room = max(self.ack_capacity * 2, <size_t>1024)
            grown = realloc(self.acks, room * sizeof(AckDue))
            if grown == NULL:
                raise MemoryError
            self.acks = <AckDue*>grown
            self.ack_capacity = room
        due = &self.acks[self.ack_count]
        self.ack_count += 1
        due.generation = generation
        due.packet_id = packet_id
        due.member = member
        due.type = type
        self.members |= <unsigned long long>1 << member
        return 0

    cdef int take_over(self, DeliveryChunk other) except -1:
        """The acknowledgements of a chunk without frames become due with this one."""
        cdef size_t i
        for i in range(other.ack_count):
            self.owe(other.acks[i].member, other.acks[i].generation, other.acks[i].packet_id, other.acks[i].type)
        other.ack_count = 0
        other.members = 0
        return 0

    def as_tuples(self) -> list:
        """(topic, payload, sender, encoding, scope, reason, is_trusted) of every frame: for tests."""
        frames = []
        for i in range(self.count):
            frames.append((
                self.data[self.frames[i].topic_at : self.frames[i].topic_at + self.frames[i].topic_size],
                self.data[self.frames[i].payload_at : self.frames[i].payload_at + self.frames[i].payload_size],
                self.frames[i].sender, self.frames[i].encoding, self.frames[i].scope, self.frames[i].reason,
                bool(self.frames[i].is_trusted),
            ))
        return frames


cdef class Member:
    """What the intake asks of one connection."""

    cdef int settle(self, AckDue* due) except -1:
        """What this packet acknowledges is durable."""
        return 0

    cdef int say_gathered(self) except -1:
        """Write what `settle` has gathered."""
        return 0

    cdef int watch(self, double now_s) except -1:
        """Several times a second."""
        return 0

    cdef int waited(self, double now_s) except -1:
        """Reading goes on after a pause that was ours: the broker's silence until now says nothing."""
        return 0


cdef class Intake:
    """One per broker and event loop; not thread-safe."""

    def __cinit__(self, DeviceIndex index not None, object sink, object loop, double gather_ms):
        self.index = index
        self.sink = sink
        self.loop = loop
        self.gather_s = gather_ms / 1000
        self.read_bytes = bytearray(INTAKE_READ_BYTES)
        self.read_view = memoryview(self.read_bytes)
        self.read_at = <unsigned char*>PyByteArray_AS_STRING(self.read_bytes)
        self.members = []
        self.outstanding = []
        self.on_durable = self.acknowledge
        self.chunk = DeliveryChunk("broker", self.on_durable)

    cdef long long clock_ms(self) noexcept:
        """When the bytes that are being parsed came; asked once per read."""
        cdef timespec now
        if self.received_ms == 0:
            clock_gettime(CLOCK_REALTIME, &now)
            self.received_ms = <long long>now.tv_sec * 1000 + now.tv_nsec // 1_000_000
        return self.received_ms

    cdef int gathered(self) except -1:
        """After a read: start the chunk's time with what first is in it, hand it on at once when it is large."""
        if self.chunk.size >= INTAKE_CHUNK_BYTES or self.chunk.count >= INTAKE_CHUNK_FRAMES:
            return self.flush()
        if self.flush_timer is None and (self.chunk.count or self.chunk.ack_count):
            self.flush_timer = self.loop.call_later(self.gather_s, self.hand_on)
        return 0

    cdef int flush(self) except -1:
        cdef DeliveryChunk chunk = self.chunk
        if self.flush_timer is not None:
            self.flush_timer.cancel()
            self.flush_timer = None
        if chunk.count:
            self.chunk = DeliveryChunk("broker", self.on_durable)
            self.chunks += 1
            chunk.born_s = self.loop.time()
            self.outstanding.append(chunk)
            self.sink(chunk)
        elif chunk.ack_count:
            if self.outstanding:
                (<DeliveryChunk>self.outstanding[len(self.outstanding) - 1]).take_over(chunk)
            else:
                self.chunk = DeliveryChunk("broker", self.on_durable)
                self.acknowledge(chunk)
        return self.wake()

    cdef int wake(self) except -1:
        """Members that waited for the chunk to be handed on read again."""
        cdef Member member
        for member in self.members:
            if member.is_resting:
                member.is_resting = False
                if not self.is_paused and member.is_reading:
                    member.transport.resume_reading()
        return 0

    def hand_on(self) -> None:
        """Give the current chunk to the sink, if there is anything in it."""
        self.flush()

    def acknowledge(self, DeliveryChunk chunk not None) -> None:
        """All frames of the chunk are durable: send what that acknowledges, one write for each connection.

        Only the first call counts. Call it in the intake's event loop. Chunks that become durable out of order have
        their acks out of order.
        """
        cdef size_t i
        cdef Member member
        if chunk.is_durable:
            return
        chunk.is_durable = True
        if chunk in self.outstanding:
            self.outstanding.remove(chunk)
        for i in range(chunk.ack_count):
            (<Member>self.members[chunk.acks[i].member]).settle(&chunk.acks[i])
        for member in self.members:
            member.say_gathered()

    cdef double waiting_s(self, Member member, double now_s) except -1:
        """Since when the member's oldest message waits to become durable; 0 if none does."""
        cdef DeliveryChunk chunk
        for chunk in self.outstanding:
            if chunk.members >> member.number & 1:
                return max(0.0, now_s - chunk.born_s)
        return 0

    def oldest_s(self) -> float:
        """Age of the oldest chunk that is not durable yet; 0 if there is none."""
        return max(0.0, self.loop.time() - (<DeliveryChunk>self.outstanding[0]).born_s) if self.outstanding else 0.0

    # Time and backpressure

    def start(self) -> None:
        """Start the clock of the watchdogs."""
        self.tick_timer = self.loop.call_later(TICK_S, self.tick)

    def tick(self) -> None:
        cdef Member member
        cdef double now_s = self.loop.time()
        self.tick_timer = self.loop.call_later(TICK_S, self.tick)
        for member in self.members:
            member.watch(now_s)

    def pause(self) -> None:
        """Stop reading all connections. What is not read stays with the broker."""
        cdef Member member
        if self.is_paused:
            return
        self.is_paused = True
        for member in self.members:
            if member.is_reading and not member.is_resting:
                member.transport.pause_reading()

    def resume(self) -> None:
        """Read all connections again."""
        cdef Member member
        cdef double now_s = self.loop.time()
        if not self.is_paused or self.is_stopped:
            return
        self.is_paused = False
        for member in self.members:
            member.waited(now_s)
            if member.is_reading and not member.is_resting:
                member.transport.resume_reading()

    def stop_reading(self) -> None:
        """Read no more, for good, and hand on what has been read."""
        self.pause()
        self.is_stopped = True
        self.flush()

    def close(self) -> None:
        """Stop the clock."""
        for timer in (self.tick_timer, self.flush_timer):
            if timer is not None:
                timer.cancel()
        self.tick_timer = self.flush_timer = None

    @property
    def paused(self) -> bool:
        return self.is_paused

    def counters(self) -> dict:
        return {"chunks": self.chunks, "acks_gone": self.acks_gone}
