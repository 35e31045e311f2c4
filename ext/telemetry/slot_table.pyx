# cython: language_level=3
"""A hash table from names to slots at 4 bytes an entry, grown a shard at a time."""

from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef enum:
    AHEAD = 12                  # entries between asking for a name and hashing it

# What an empty shard points to: one free entry, so that a lookup needs no test.
cdef unsigned int nothing = 0xFFFFFFFF


cdef void open_table(SlotTable* table) noexcept nogil:
    cdef size_t i
    for i in range(SHARDS):
        table.shards[i].entries = &nothing
        table.shards[i].size = 1
        table.shards[i].used = 0


cdef void free_table(SlotTable* table) noexcept nogil:
    cdef size_t i
    for i in range(SHARDS):
        if table.shards[i].entries != &nothing:
            free(table.shards[i].entries)
    open_table(table)


cdef void place_slot(Shard* shard, unsigned int hash, unsigned int slot) noexcept nogil:
    cdef unsigned int place = first_place(shard, hash)
    while shard.entries[place] >> 8 < REMOVED_SLOT:
        place += 1
        if place == shard.size:
            place = 0
    if shard.entries[place] >> 8 == FREE_SLOT:
        shard.used += 1
    shard.entries[place] = slot << 8 | tag_of(hash)


cdef int rebuild(Shard* shard, HashOf hash_of, void* owner) noexcept nogil:
    """Into an array with room for more, without those that were removed."""
    cdef Shard wider
    cdef unsigned int live = 0
    cdef unsigned int i, slot
    for i in range(shard.size):
        live += shard.entries[i] >> 8 < REMOVED_SLOT
    wider.size = max(<unsigned int>8, (live + 1) * 10 // 7)
    wider.used = 0
    wider.entries = <unsigned int*>malloc(wider.size * sizeof(unsigned int))
    if wider.entries == NULL:
        return -1
    memset(wider.entries, 0xFF, wider.size * sizeof(unsigned int))
    live = 0
    for i in range(shard.size):
        if shard.entries[i] >> 8 < REMOVED_SLOT:
            shard.entries[live] = shard.entries[i] >> 8        # from here on a list of slots
            live += 1
    for i in range(live):
        if i + 2 * AHEAD < live:
            hash_of(owner, shard.entries[i + 2 * AHEAD], 2)
        if i + AHEAD < live:
            hash_of(owner, shard.entries[i + AHEAD], 1)
        slot = shard.entries[i]
        place_slot(&wider, hash_of(owner, slot, 0), slot)
    if shard.entries != &nothing:
        free(shard.entries)
    shard[0] = wider
    return 0


cdef int add_slot(SlotTable* table, unsigned int hash, unsigned int slot, HashOf hash_of, void* owner) noexcept nogil:
    cdef Shard* shard = shard_of(table, hash)
    if (<unsigned long long>shard.used + 1) * 8 > <unsigned long long>shard.size * 7:
        if rebuild(shard, hash_of, owner):
            return -1
    place_slot(shard, hash, slot)
    return 0


cdef void remove_slot(SlotTable* table, unsigned int hash, unsigned int slot) noexcept nogil:
    cdef Shard* shard = shard_of(table, hash)
    cdef unsigned int place = first_place(shard, hash)
    while shard.entries[place] >> 8 != FREE_SLOT:
        if shard.entries[place] >> 8 == slot:
            shard.entries[place] = <unsigned int>REMOVED_SLOT << 8
            return
        place += 1
        if place == shard.size:
            place = 0


cdef size_t table_bytes(SlotTable* table) noexcept nogil:
    cdef size_t total = sizeof(SlotTable)
    cdef size_t i
    for i in range(SHARDS):
        total += table.shards[i].size * sizeof(unsigned int)
    return total
