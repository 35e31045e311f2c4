# ReadingBatch (proto/cityfleet/telemetry/v1/telemetry.proto) to readings by name.

from ext.telemetry.protobuf cimport Wire
from ext.telemetry.readings cimport Readings

cdef struct Column:             # one repeated field, decoded; grows and is used again
    long long* items
    size_t count, capacity
    bint ran_out                # of memory

cdef class BatchDecoder:
    cdef Column device_index
    cdef Column metric_index
    cdef Column time_delta
    cdef Column value           # the doubles' bits
    cdef Column metrics         # offset and size, one after the other; then places in Readings.metrics
    cdef Column units           # offset and size, one after the other
    cdef const char* detail     # why decode() failed
    cdef size_t offset          # where
    # Adds a payload's readings to the open span; False if it is malformed, and the caller drops the span.
    # `chunk` is what Text.at counts from.
    cdef bint decode(self, const unsigned char* payload, size_t size, const unsigned char* chunk,
                     Readings readings) noexcept
    cdef bint read_fields(self, Wire* wire, long long* base_ms, const unsigned char* chunk,
                          Readings readings) noexcept
    # Device ids one after the other, the usual way they stand; stops at what is none.
    cdef bint read_devices(self, Wire* wire, const unsigned char* chunk, Readings readings) noexcept
    # A TextReading, with its indices and its time as they were sent.
    cdef bint read_text(self, Wire* wire, const unsigned char* chunk, Readings readings) noexcept
    cdef bint name_metrics(self, Readings readings) noexcept
    cdef bint lay_out(self, long long base_ms, Readings readings) noexcept
    cdef bint lay_out_texts(self, long long base_ms, Readings readings) noexcept
    cdef bint ran_out(self) noexcept
    cdef bint fail(self, const char* detail) noexcept
