# How much a sender may send: messages and bytes a second, with a burst, by device slot. Shared by all transports.

from ext.telemetry.index cimport DeviceIndex

cdef struct Rates:              # 0: no limit
    double message_s            # what a message costs: seconds
    double byte_s
    double burst_s              # so much of its rate a sender may use at once

cdef struct Bucket:             # when what was taken would be paid for at the rate: seconds of CLOCK_MONOTONIC
    double messages_s
    double bytes_s

cdef enum:
    QUOTA_DEBT_S = 60           # nobody is made to wait longer for what one read brought

cdef double monotonic_s() noexcept nogil

cdef class Quota:
    cdef DeviceIndex index
    cdef Rates rates[2]         # of devices, of gateways
    cdef Bucket* buckets        # by device slot
    cdef size_t capacity
    cdef bint is_on
    cdef bint grow(self, size_t slot) noexcept

cdef inline double charge(Quota quota, int slot, bint is_gateway, size_t size_bytes, double now_s,
                          bint is_taken) noexcept:
    """Count a message of a sender that is within its quota, and with `is_taken` of any. `slot` is not negative.

    Returns: 0; or the seconds until the sender, as it was before, is within its quota again.
    """
    cdef Rates* rates = &quota.rates[is_gateway]
    cdef Bucket* bucket
    cdef double full_s = now_s + rates.burst_s, over_s = 0
    if <size_t>slot >= quota.capacity and not quota.grow(<size_t>slot):
        return 0                # without memory nobody is held to a quota
    bucket = &quota.buckets[slot]
    if bucket.messages_s > full_s or bucket.bytes_s > full_s:
        over_s = max(bucket.messages_s, bucket.bytes_s) - full_s
        if not is_taken:
            return over_s
    full_s += QUOTA_DEBT_S
    bucket.messages_s = min(max(bucket.messages_s, now_s) + rates.message_s, full_s)
    bucket.bytes_s = min(max(bucket.bytes_s, now_s) + rates.byte_s * <double>size_bytes, full_s)
    return over_s
