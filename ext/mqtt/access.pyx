# cython: language_level=3
"""Who may publish and subscribe where: devices below their own id, gateways for those behind, operators by filters.

Publishing of devices is decided in connection.pyx, message by message, without an object.
"""

from libc.string cimport memchr, memcmp

from ext.telemetry.frames cimport (
    ENCODING_CHIRPSTACK_JSON, ENCODING_CHIRPSTACK_PROTOBUF, ENCODING_SPARKPLUG, ENCODING_TTS_JSON,
)
from ext.telemetry.index cimport DEVICE_GATEWAY, Device, DeviceIndex


cdef Family family_of(unsigned char encoding) noexcept nogil:
    if encoding == ENCODING_SPARKPLUG:
        return FAMILY_SPARKPLUG
    if encoding == ENCODING_TTS_JSON:
        return FAMILY_TTS
    if encoding == ENCODING_CHIRPSTACK_JSON or encoding == ENCODING_CHIRPSTACK_PROTOBUF:
        return FAMILY_CHIRPSTACK
    return FAMILY_NONE


cdef inline bint starts(const unsigned char* topic, size_t size, const char* prefix, size_t prefix_size) noexcept nogil:
    return size > prefix_size and memcmp(topic, prefix, prefix_size) == 0


cdef bint is_of_family(Family family, const unsigned char* topic, size_t size) noexcept nogil:
    cdef const unsigned char* type
    if family == FAMILY_SPARKPLUG:
        # spBv1.0/{group}/{type}/...: what an edge node says. Commands and STATE are the host's to publish.
        if not starts(topic, size, b"spBv1.0/", 8) or starts(topic, size, b"spBv1.0/STATE/", 14):
            return False
        type = <const unsigned char*>memchr(topic + 8, b"/", size - 8)
        if type == NULL:
            return False
        size -= <size_t>(type + 1 - topic)
        type += 1
        return not starts(type, size, b"NCMD", 4) and not starts(type, size, b"DCMD", 4)
    if family == FAMILY_TTS:
        return starts(topic, size, b"v3/", 3)
    if family == FAMILY_CHIRPSTACK:
        return starts(topic, size, b"application/", 12)
    return False


cdef bint covers(bytes allowed, bytes wanted) except -1:
    cdef list outer = allowed.split(b"/")
    cdef list inner = wanted.split(b"/")
    cdef Py_ssize_t i
    if wanted.startswith(b"$") and (outer[0] == b"#" or outer[0] == b"+"):
        return False
    for i in range(len(outer)):
        if outer[i] == b"#":
            return True
        if i == len(inner) or inner[i] == b"#":
            # `a/#` covers `a`, which ends a level earlier.
            return False
        if outer[i] != b"+" and outer[i] != inner[i]:
            return False
        if i + 2 == len(outer) and outer[i + 1] == b"#" and i + 1 == len(inner):
            return True
    return len(inner) == len(outer)


cdef bint device_may_see(DeviceIndex index, int slot, bytes device_id, bytes filter, int* child) except -1:
    cdef list levels = filter.split(b"/", 4)
    cdef Device* device
    cdef int other
    cdef bytes name
    child[0] = -1
    if len(levels) == 5 and levels[0] == b"cf" and levels[1] == b"v1":
        name = levels[3]
        if levels[2] == b"d" and name == device_id:
            return True
        if not index.at(slot).flags & DEVICE_GATEWAY:
            return False
        if levels[2] == b"g":
            return name == device_id
        if levels[2] != b"d":
            return False
        other = index.find(name, <size_t>len(name))
        if other < 0 or index.at(other).gateway_num != index.at(slot).device_num:
            return False
        child[0] = other
        return True
    device = index.at(slot)
    return bool(device.flags & DEVICE_GATEWAY) and foreign_may_see(family_of(device.default_encoding), filter)


cdef bint foreign_may_see(Family family, bytes filter) except -1:
    """What hosts say to an edge node or a network server; never what other gateways say."""
    cdef list levels = filter.split(b"/")
    if family == FAMILY_SPARKPLUG:
        if filter.startswith((b"spBv1.0/STATE/", b"STATE/")):
            return True
        return len(levels) >= 3 and levels[0] == b"spBv1.0" and levels[1] not in (b"+", b"STATE") \
            and levels[2] in (b"NCMD", b"DCMD")
    if family == FAMILY_TTS:
        return len(levels) >= 5 and levels[0] == b"v3" and levels[2] == b"devices" and levels[4] == b"down"
    if family == FAMILY_CHIRPSTACK:
        return len(levels) >= 5 and levels[0] == b"application" and levels[2] == b"device" and levels[4] == b"command"
    return False


def covers_filter(bytes allowed not None, bytes wanted not None) -> bool:
    """covers(), for tests."""
    return covers(allowed, wanted)
