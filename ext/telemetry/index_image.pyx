# cython: language_level=3
"""The devices of an index as plain bytes, for a file, and back.

Only devices: metrics, types and operators are few, and put again from what the registry said of them.
"""

import sys

from cpython.buffer cimport PyBuffer_FillInfo
from libc.string cimport memcpy

from ext.telemetry.byte_hash cimport hash_bytes
from ext.telemetry.device_table cimport (
    DEVICE_ACTIVE,
    DEVICE_HAS_EXTERNAL_ID,
    DEVICE_HAS_MORE_TOKENS,
    DEVICE_HAS_TOKEN,
    DIGEST_BYTES,
    MAX_EXTERNAL_ID_BYTES,
    MAX_TOKENS,
    Device,
    Ward,
    is_id,
)
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.slot_table cimport MAX_SLOTS
from ext.wire.utf8 cimport is_utf8

# An image is of use to a program with the same: it holds C structs as they are.
LAYOUT = f"1 {sys.byteorder} {sizeof(Device)} {sizeof(Ward)}"

cdef enum:
    KEPT_FLAGS = DEVICE_ACTIVE | DEVICE_HAS_TOKEN | DEVICE_HAS_MORE_TOKENS | DEVICE_HAS_EXTERNAL_ID


cdef class Part:
    """Bytes within an index, which lives at least as long as they are looked at."""

    cdef DeviceIndex index
    cdef const void* at
    cdef Py_ssize_t size

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, <void*>self.at, self.size, 1, flags)


cdef object view(DeviceIndex index, const void* at, Py_ssize_t size):
    cdef Part part
    if size == 0:
        return b""
    part = Part.__new__(Part)
    part.index = index
    part.at = at
    part.size = size
    return memoryview(part)


def parts_of(DeviceIndex index not None) -> list:
    """Records, places of the names, token hashes, names, ward codes, further tokens: each a buffer.

    They lie in the index and are valid until the next put; another thread may read them as long as there is none.
    """
    cdef list more = []
    for slot, digests in index.more_tokens.items():
        more.append(int(slot).to_bytes(4, sys.byteorder) + len(digests).to_bytes(4, sys.byteorder) + digests)
    return [
        view(index, index.devices, index.count * sizeof(Device)),
        view(index, index.id_at, index.count * sizeof(unsigned int)),
        view(index, index.digests, <Py_ssize_t>index.count * DIGEST_BYTES),
        view(index, index.arena, index.arena_size),
        view(index, index.wards, index.ward_count * sizeof(Ward)),
        b"".join(more),
    ]


cdef size_t names_size(const unsigned char* names, size_t size, size_t at, unsigned char flags) noexcept nogil:
    """Bytes of the id and, where the flags say so, the external id that lie there; 0: they do not."""
    cdef size_t first
    if at >= size or size - at <= names[at] or not is_id(names + at + 1, names[at]):
        return 0
    first = 1 + names[at]
    if not flags & DEVICE_HAS_EXTERNAL_ID:
        return first
    at += first
    if at >= size or size - at <= names[at] or not 1 <= names[at] <= MAX_EXTERNAL_ID_BYTES:
        return 0
    return first + 1 + names[at] if is_utf8(names + at + 1, names[at]) else 0


cdef dict read_more(const unsigned char[::1] more, int count):
    """Further tokens by slot. Raises ValueError."""
    cdef dict found = {}
    cdef unsigned int slot, size
    cdef size_t at = 0
    cdef size_t end = more.shape[0]
    while at < end:
        if end - at < 8:
            raise ValueError("further tokens end in the middle")
        memcpy(&slot, &more[at], 4)
        memcpy(&size, &more[at + 4], 4)
        at += 8
        if slot >= <unsigned int>count or size == 0 or size % DIGEST_BYTES or size > (MAX_TOKENS - 1) * DIGEST_BYTES:
            raise ValueError("further tokens of nobody, or of a wrong size")
        if end - at < size:
            raise ValueError("further tokens end in the middle")
        found[slot] = bytes(more[at : at + size])
        at += size
    return found


def restore(DeviceIndex index not None, list parts not None) -> None:
    """Fill an index that has no devices from what parts_of() gave. Put types and metrics before.

    Raises: ValueError if the parts do not fit together, then the index is as it was; MemoryError.
    """
    cdef const unsigned char[::1] records, places, digests, names, wards
    cdef const Device* device
    cdef const unsigned int* id_at
    cdef const Ward* ward
    cdef const unsigned char* name
    cdef int[65536] ward_slots
    cdef size_t external_size, size
    cdef size_t all_names = 0
    cdef int count, slot, ward_count
    cdef dict more
    if index.count:
        raise ValueError("the index has devices already")
    records, places, digests, names, wards = parts[:5]
    count = <int>min(records.shape[0] // sizeof(Device), <size_t>MAX_SLOTS)
    ward_count = <int>min(wards.shape[0] // sizeof(Ward), <size_t>65536)
    if (records.shape[0] != count * sizeof(Device) or places.shape[0] != count * sizeof(unsigned int)
            or digests.shape[0] != <Py_ssize_t>count * DIGEST_BYTES or names.shape[0] > 0xFFFFFFFF
            or wards.shape[0] != ward_count * sizeof(Ward)):
        raise ValueError("the parts are not of one number of devices")
    more = read_more(parts[5], count)
    if count == 0:
        return
    device = <const Device*>&records[0]
    id_at = <const unsigned int*>&places[0]
    for slot in range(count):
        size = names_size(&names[0], names.shape[0], id_at[slot], device[slot].flags)
        all_names += size
        if (size == 0 or device[slot].ward_slot >= ward_count or device[slot].device_num == 0
                or bool(device[slot].flags & DEVICE_HAS_MORE_TOKENS) != (slot in more)):
            raise ValueError(f"the device in slot {slot} is not whole")
    for slot in range(ward_count):
        ward = <const Ward*>&wards[0] + slot
        if ward.size > sizeof(ward.code) or not is_utf8(ward.code, ward.size):
            raise ValueError("a ward code is not whole")
        ward_slots[slot] = index.find_ward(ward.code, ward.size)
    if index.arena_size + all_names > 0xFFFFFFFF:
        raise ValueError("the names are too large")
    if index.reserve_slots(count) or index.reserve_arena(all_names):
        raise MemoryError
    memcpy(index.devices, device, count * sizeof(Device))
    memcpy(index.digests, &digests[0], <size_t>count * DIGEST_BYTES)
    index.more_tokens = more
    for slot in range(count):
        name = &names[0] + id_at[slot]
        external_size = 0
        if device[slot].flags & DEVICE_HAS_EXTERNAL_ID:
            external_size = (name + 1 + name[0])[0]
        index.devices[slot].ward_slot = <unsigned short>ward_slots[device[slot].ward_slot]
        index.devices[slot].flags = device[slot].flags & KEPT_FLAGS & <unsigned char>~DEVICE_HAS_EXTERNAL_ID
        index.append_names(slot, name + 1, name[0], name + 2 + name[0], external_size)
        if index.add_named(slot, hash_bytes(name + 1, name[0])):
            raise MemoryError
        if external_size and index.take_external(slot):
            raise MemoryError
        index.take_from_type(slot)
