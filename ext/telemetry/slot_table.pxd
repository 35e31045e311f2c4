# A hash table from names to slots at 4 bytes an entry: 24 bits of slot, 8 of the name's hash. The names are elsewhere.
#
# 256 shards by the low byte of the hash, each an array with linear probing that is between 0.7 and 0.875 full and grows
# by itself: with a million names that moves 4,000 of them, so that no put takes long.

cdef enum:
    SHARDS = 256
    MAX_SLOTS = 0xFFFFFE
    REMOVED_SLOT = 0xFFFFFE
    FREE_SLOT = 0xFFFFFF

cdef struct Shard:
    unsigned int* entries
    unsigned int size
    unsigned int used               # removed ones included

cdef struct SlotTable:
    Shard[SHARDS] shards

# Hash of the name of a slot that is in the table; with `ahead`, only asks the cache for what the hash will need.
ctypedef unsigned int (*HashOf)(void* owner, unsigned int slot, unsigned int ahead) noexcept nogil

cdef void open_table(SlotTable* table) noexcept nogil
cdef void free_table(SlotTable* table) noexcept nogil
# Add a slot whose name is not there. Returns 0, or -1 if memory ran out.
cdef int add_slot(SlotTable* table, unsigned int hash, unsigned int slot, HashOf hash_of, void* owner) noexcept nogil
cdef void remove_slot(SlotTable* table, unsigned int hash, unsigned int slot) noexcept nogil
# What the entries take.
cdef size_t table_bytes(SlotTable* table) noexcept nogil


cdef inline Shard* shard_of(SlotTable* table, unsigned int hash) noexcept nogil:
    return &table.shards[hash & 0xFF]


cdef inline unsigned int tag_of(unsigned int hash) noexcept nogil:
    return (hash >> 8) & 0xFF


cdef inline unsigned int first_place(Shard* shard, unsigned int hash) noexcept nogil:
    """By the hash's high bits, whatever the size."""
    return <unsigned int>((<unsigned long long>hash * shard.size) >> 32)


cdef inline int next_slot(Shard* shard, unsigned int tag, unsigned int* place) noexcept nogil:
    """The next slot from `place` on whose name may be the one looked for, or -1; `place` is then the one after it."""
    cdef unsigned int entry
    while True:
        entry = shard.entries[place[0]]
        if entry >> 8 == FREE_SLOT:
            return -1
        place[0] += 1
        if place[0] == shard.size:
            place[0] = 0
        if (entry & 0xFF) == tag and entry >> 8 != REMOVED_SLOT:
            return <int>(entry >> 8)
