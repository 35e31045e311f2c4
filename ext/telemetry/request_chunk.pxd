# Requests of gRPC streams to frames: their sequences are read here, the batches inside stay bytes.

from ext.telemetry.frames cimport FrameChunk

# One client's stream. `durable` follows `received`; both are sequences of the client's choice.
cdef class RequestStream:
    cdef readonly int sender
    cdef readonly unsigned long long received, durable, requests
    cdef RequestChunk chunk             # in which it has a place; None: in none that is not durable
    cdef size_t place

cdef class RequestChunk(FrameChunk):
    cdef list streams                   # each once
    cdef unsigned long long* highest    # its highest sequence in this chunk, by place
    cdef size_t highest_capacity
    cdef int put(self, RequestStream stream, unsigned long long sequence) except -1
