# Who may publish and subscribe where, decided by the device index or by an operator's filters.

from ext.telemetry.index cimport DeviceIndex

cdef enum Family:               # of foreign topics, by the default encoding of the gateway's type
    FAMILY_NONE = 0
    FAMILY_SPARKPLUG = 1
    FAMILY_TTS = 2
    FAMILY_CHIRPSTACK = 3

cdef Family family_of(unsigned char encoding) noexcept nogil
# Whether a gateway of that family may publish on this topic, which must have no wildcards.
cdef bint is_of_family(Family family, const unsigned char* topic, size_t size) noexcept nogil
# Whether every topic that `wanted` matches is matched by `allowed` too. Both must be valid filters.
cdef bint covers(bytes allowed, bytes wanted) except -1
# Whether the device `slot` may see all that a filter matches. child[0]: the slot of the device behind it that the
# filter is about, else -1.
cdef bint device_may_see(DeviceIndex index, int slot, bytes device_id, bytes filter, int* child) except -1
