# How much a sender may send: messages and bytes a second, with a burst, by device slot. Shared by all transports.

from ext.telemetry.index cimport DeviceIndex

cdef struct Rates:              # 0: no limit
    double message_s            # what a message costs: seconds
    double byte_s
    double burst_s              # so much of its rate a sender may use at once

cdef struct Bucket:             # when what was taken would be paid for at the rate: seconds of CLOCK_MONOTONIC
    double messages_s
    double bytes_s

cdef double monotonic_s() noexcept nogil

cdef class Quota:
    cdef DeviceIndex index
    cdef Rates rates[2]         # of devices, of gateways
    cdef Bucket* buckets        # by device slot
    cdef size_t capacity
    cdef bint is_on
    # Seconds until this sender is within its quota again; 0: it is.
    cdef double over(self, int slot, double now_s) noexcept
    # Count a message that was taken, whatever it makes of the quota. `over` says what it made.
    cdef void charge(self, int slot, size_t size_bytes, double now_s) noexcept
