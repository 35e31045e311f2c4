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

cdef double monotonic_s() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <double>now.tv_sec + <double>now.tv_nsec * 1e-9


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

    cdef bint grow(self, size_t slot) noexcept:
        cdef size_t room = max(slot + 1, 2 * self.capacity, <size_t>1024)
        cdef void* grown = realloc(self.buckets, room * sizeof(Bucket))
        if grown == NULL:
            return False
        self.buckets = <Bucket*>grown
        memset(self.buckets + self.capacity, 0, (room - self.capacity) * sizeof(Bucket))
        self.capacity = room
        return True

    def take(self, int slot, size_t size_bytes) -> float:
        """Count a message if its sender is within its quota.

        Args:
            slot: of the sender in the device index.
        Returns: 0; or, not counted, the seconds until the sender is within its quota again.
        """
        if not self.is_on or slot < 0:
            return 0.0
        return charge(
            self, slot, (self.index.at(slot).flags & DEVICE_GATEWAY) != 0, size_bytes, monotonic_s(), False
        )

    def charge_at(self, int slot, size_t size_bytes, double now_s, bint is_taken) -> float:
        """charge() of a device at a time of the caller's choice, for tests."""
        return charge(self, slot, False, size_bytes, now_s, is_taken)
