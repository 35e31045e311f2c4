# A set of packet ids (1 to 65,535): 2 bytes an entry at half load, NULL while empty. Open addressing; 0 is free.

from libc.stdlib cimport calloc, free

cdef struct PacketIds:
    unsigned short* ids
    unsigned int mask               # capacity - 1; the capacity is a power of two
    unsigned int count


cdef inline unsigned int place_of(unsigned short id, unsigned int mask) noexcept nogil:
    return (<unsigned int>id * 40_503) & mask


cdef inline bint holds_id(const PacketIds* set, unsigned short id) noexcept nogil:
    cdef unsigned int at
    if set.count == 0:
        return False
    at = place_of(id, set.mask)
    while set.ids[at]:
        if set.ids[at] == id:
            return True
        at = (at + 1) & set.mask
    return False


cdef inline void put_id(unsigned short* ids, unsigned int mask, unsigned short id) noexcept nogil:
    cdef unsigned int at = place_of(id, mask)
    while ids[at]:
        at = (at + 1) & mask
    ids[at] = id


cdef inline bint add_id(PacketIds* set, unsigned short id) noexcept nogil:
    """Add an id that is not there yet. False if memory ran out."""
    cdef unsigned int wide, i
    cdef unsigned short* wider
    if set.ids == NULL or 2 * (set.count + 1) > set.mask + 1:
        wide = 16 if set.ids == NULL else 2 * (set.mask + 1)
        wider = <unsigned short*>calloc(wide, sizeof(unsigned short))
        if wider == NULL:
            return False
        if set.ids != NULL:
            for i in range(set.mask + 1):
                if set.ids[i]:
                    put_id(wider, wide - 1, set.ids[i])
            free(set.ids)
        set.ids = wider
        set.mask = wide - 1
    put_id(set.ids, set.mask, id)
    set.count += 1
    return True


cdef inline bint remove_id(PacketIds* set, unsigned short id) noexcept nogil:
    """Returns whether it was there. What was pushed on by it moves back, so that searches still find it."""
    cdef unsigned int at, probe, home
    if set.count == 0:
        return False
    at = place_of(id, set.mask)
    while set.ids[at] != id:
        if set.ids[at] == 0:
            return False
        at = (at + 1) & set.mask
    probe = (at + 1) & set.mask
    while set.ids[probe]:
        home = place_of(set.ids[probe], set.mask)
        if ((probe - home) & set.mask) >= ((probe - at) & set.mask):
            set.ids[at] = set.ids[probe]
            at = probe
        probe = (probe + 1) & set.mask
    set.ids[at] = 0
    set.count -= 1
    if set.count == 0 and set.mask > 63:
        clear_ids(set)
    return True


cdef inline void clear_ids(PacketIds* set) noexcept nogil:
    free(set.ids)
    set.ids = NULL
    set.mask = set.count = 0
