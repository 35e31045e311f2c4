# cython: language_level=3
"""How much a sender may send, as two leaky buckets each: messages and bytes.

A bucket is one number, the time at which all that was taken would be paid for at the allowed rate. A sender is within
its quota while that is at most `burst_s` ahead; a message is judged by what came before it, so that one larger than the
whole burst is taken too, and paid for afterwards.
"""

from libc.stdlib cimport free, realloc
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from ext.telemetry.index cimport DEVICE_GATEWAY, DeviceIndex

cdef enum:
    DEBT_S = 60                 # nobody is made to wait longer for what one read brought


cdef double monotonic_s() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <double>now.tv_sec + <double>now.tv_nsec * 1e-9


cdef inline double charged(double at_s, double now_s, double cost_s, double burst_s) noexcept nogil:
    return min(max(at_s, now_s) + cost_s, now_s + burst_s + DEBT_S)


cdef class Quota:
    """One per process. Each rate is (messages a second, bytes a second, burst in seconds); 0: no limit."""

    def __cinit__(self, DeviceIndex index not None, tuple devices not None, tuple gateways not None):
        cdef int i
        self.index = index
        for i, (messages_per_s, bytes_per_s, burst_s) in enumerate((devices, gateways)):
            if messages_per_s < 0 or bytes_per_s < 0 or burst_s < 0:
                raise ValueError("a quota cannot be negative")
            self.rates[i].message_s = 1.0 / messages_per_s if messages_per_s else 0.0
            self.rates[i].byte_s = 1.0 / bytes_per_s if bytes_per_s else 0.0
            self.rates[i].burst_s = burst_s
            if messages_per_s or bytes_per_s:
                self.is_on = True

    def __dealloc__(self):
        free(self.buckets)

    cdef double over(self, int slot, double now_s) noexcept:
        cdef Rates* rates
        if not self.is_on or slot < 0 or <size_t>slot >= self.capacity:
            return 0.0
        rates = &self.rates[(self.index.at(slot).flags & DEVICE_GATEWAY) != 0]
        return max(max(self.buckets[slot].messages_s, self.buckets[slot].bytes_s) - now_s - rates.burst_s, 0.0)

    cdef void charge(self, int slot, size_t size_bytes, double now_s) noexcept:
        cdef Rates* rates
        cdef Bucket* bucket
        cdef void* grown
        cdef size_t room
        if not self.is_on or slot < 0:
            return
        if <size_t>slot >= self.capacity:
            room = max(<size_t>slot + 1, 2 * self.capacity, <size_t>1024)
            grown = realloc(self.buckets, room * sizeof(Bucket))
            if grown == NULL:
                return                      # without memory nobody is held to a quota
            self.buckets = <Bucket*>grown
            memset(self.buckets + self.capacity, 0, (room - self.capacity) * sizeof(Bucket))
            self.capacity = room
        rates = &self.rates[(self.index.at(slot).flags & DEVICE_GATEWAY) != 0]
        bucket = &self.buckets[slot]
        if rates.message_s:
            bucket.messages_s = charged(bucket.messages_s, now_s, rates.message_s, rates.burst_s)
        if rates.byte_s:
            bucket.bytes_s = charged(bucket.bytes_s, now_s, rates.byte_s * <double>size_bytes, rates.burst_s)

    def over_s(self, int slot) -> float:
        """Seconds until a sender is within its quota again; 0: it is."""
        return self.over(slot, monotonic_s())

    def take(self, int slot, size_t size_bytes) -> float:
        """Count a message if its sender is within its quota.

        Args:
            slot: of the sender in the device index.
        Returns: 0; or, not counted, the seconds until the sender is within its quota again.
        """
        cdef double now_s = monotonic_s()
        cdef double over_s = self.over(slot, now_s)
        if over_s == 0.0:
            self.charge(slot, size_bytes, now_s)
        return over_s
