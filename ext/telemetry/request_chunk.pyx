# cython: language_level=3
"""Requests of gRPC streams to frames: their sequences are read here, the batches inside stay bytes."""

from libc.stdlib cimport free, realloc
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from ext.telemetry.frames cimport ENCODING_BATCH, SCOPE_GATEWAY, Frame
from ext.telemetry.protobuf cimport (
    WIRE_BYTES, WIRE_VARINT, Wire, read_bytes, read_tag, read_varint, skip_field,
)


class SequenceError(ValueError):
    """A sequence that is not above the one before."""


cdef const char* split(const unsigned char* request, size_t size, unsigned long long* sequence, Wire* batch,
                       size_t* offset) noexcept nogil:
    """A PublishRequest's fields; `batch.at` is NULL if it has none. Returns what is wrong, near `offset`, or NULL."""
    cdef Wire wire
    cdef unsigned int field, wire_type
    cdef const char* fault = NULL
    batch.at = NULL
    batch.end = NULL
    sequence[0] = 0
    wire.at = request
    wire.end = request + size
    while wire.at < wire.end and fault == NULL:
        if not read_tag(&wire, &field, &wire_type):
            fault = b"bad tag"
        elif field == 2 and wire_type == WIRE_BYTES:
            if batch.at != NULL:
                fault = b"more than one batch"
            elif not read_bytes(&wire, batch):
                fault = b"batch runs over the end"
        elif field == 1 and wire_type == WIRE_VARINT:
            if not read_varint(&wire, sequence):
                fault = b"bad sequence"
        elif not skip_field(&wire, field, wire_type, 0):
            fault = b"bad field"
    offset[0] = <size_t>(wire.at - request)
    return fault


cdef class RequestStream:
    """One client's stream: the highest sequence received, and the highest up to which all is durable."""

    def __cinit__(self, int sender):
        self.sender = sender


cdef class RequestChunk(FrameChunk):
    """A chunk of requests that knows which streams it is from, and how far each has come with it."""

    def __cinit__(self, str transport, object on_durable=None):
        self.streams = []

    def __dealloc__(self):
        free(self.highest)

    def take(self, RequestStream stream not None, bytes request not None) -> None:
        """Append the batch of one cityfleet.telemetry.v1.PublishRequest; an empty frame if it has none.

        Raises: ValueError if it is not a PublishRequest or holds `batch` more than once; SequenceError if its sequence
            is not above the stream's last.
        """
        cdef Wire batch
        cdef Frame* frame
        cdef unsigned long long sequence
        cdef size_t offset
        cdef timespec now
        cdef const char* fault = split(request, len(request), &sequence, &batch, &offset)
        if fault != NULL:
            raise ValueError(f"not a PublishRequest: {(<bytes>fault).decode()} near byte {offset}")
        if sequence <= stream.received:
            raise SequenceError(f"sequence {sequence} after {stream.received}: sequences must increase, from 1")
        frame = self.append(NULL, 0, batch.at, <size_t>(batch.end - batch.at) if batch.at != NULL else 0)
        if frame == NULL:
            raise MemoryError
        clock_gettime(CLOCK_REALTIME, &now)
        frame.received_ms = <long long>now.tv_sec * 1000 + now.tv_nsec // 1_000_000
        frame.sender = stream.sender
        frame.encoding = ENCODING_BATCH
        frame.scope = SCOPE_GATEWAY
        self.put(stream, sequence)
        stream.received = sequence
        stream.requests += 1

    cdef int put(self, RequestStream stream, unsigned long long sequence) except -1:
        cdef size_t room
        cdef void* grown
        if stream.chunk is not self:
            room = <size_t>len(self.streams) + 1
            if room > self.highest_capacity:
                room = max(room, 2 * self.highest_capacity, <size_t>16)
                grown = realloc(self.highest, room * sizeof(unsigned long long))
                if grown == NULL:
                    raise MemoryError
                self.highest = <unsigned long long*>grown
                self.highest_capacity = room
            stream.place = <size_t>len(self.streams)
            self.streams.append(stream)
            stream.chunk = self
        self.highest[stream.place] = sequence
        return 0

    def settle(self) -> list:
        """All frames are durable: each stream has come as far as this chunk has it. Returns the streams.

        Chunks must settle in the order in which they were filled.
        """
        cdef RequestStream stream
        cdef size_t place = 0
        cdef list streams = self.streams
        for stream in streams:
            stream.durable = self.highest[place]
            if stream.chunk is self:
                stream.chunk = None
            place += 1
        self.streams = []
        return streams


# For tests.

def split_publish_request(bytes request not None) -> tuple:
    """Take a PublishRequest apart without decoding its batch.

    Returns: (sequence, offset, size) of the field `batch` within `request`; (sequence, 0, 0) if it has none.
    Raises: ValueError if it is not a protobuf message or holds `batch` more than once.
    """
    cdef Wire batch
    cdef unsigned long long sequence
    cdef size_t offset
    cdef const unsigned char* start = request
    cdef const char* fault = split(start, len(request), &sequence, &batch, &offset)
    if fault != NULL:
        raise ValueError(f"not a PublishRequest: {(<bytes>fault).decode()} near byte {offset}")
    if batch.at == NULL:
        return sequence, 0, 0
    return sequence, batch.at - start, batch.end - batch.at
