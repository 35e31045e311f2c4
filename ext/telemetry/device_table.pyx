# cython: language_level=3
"""The devices of the index in C memory, updated in place."""

from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from ext.telemetry.byte_hash cimport hash_bytes
from ext.telemetry.region cimport free_region, reserve_region
from ext.telemetry.slot_table cimport (
    MAX_SLOTS,
    Shard,
    add_slot,
    first_place,
    free_table,
    next_slot,
    open_table,
    remove_slot,
    shard_of,
    table_bytes,
    tag_of,
)
from ext.wire.utf8 cimport is_utf8

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void* at) noexcept nogil

cdef enum:
    GROUP = 64                      # lookups prepared side by side
    MAX_WARDS = 65_536

PUT_PROBLEMS = {
    PUT_BAD_ID: "the device id is not [a-z0-9-]{1,63}",
    PUT_BAD_NUMBER: "a number is out of range",
    PUT_BAD_TOKEN: f"a token hash is not of {DIGEST_BYTES} bytes, or there are more than {MAX_TOKENS}",
    PUT_BAD_WARD: f"the ward code is longer than {MAX_WARD_BYTES} bytes or not UTF-8",
    PUT_BAD_EXTERNAL_ID: f"the external id is longer than {MAX_EXTERNAL_ID_BYTES} bytes or not UTF-8",
    PUT_FULL: f"the index is full: {MAX_SLOTS} devices, {MAX_WARDS} ward codes, 4 GiB of names",
}


cdef unsigned int hash_of_id(void* owner, unsigned int slot, unsigned int ahead) noexcept nogil:
    """HashOf for the device ids."""
    cdef TableMemory* memory = <TableMemory*>owner
    cdef const unsigned char* at
    if ahead == 2:
        prefetch(&memory.id_at[slot])
        return 0
    at = memory.arena + memory.id_at[slot]
    if ahead == 1:
        prefetch(at)
        return 0
    return hash_bytes(at + 1, at[0])


cdef unsigned int hash_of_external_id(void* owner, unsigned int slot, unsigned int ahead) noexcept nogil:
    """HashOf for the external ids."""
    cdef TableMemory* memory = <TableMemory*>owner
    cdef const unsigned char* at
    if ahead:
        return hash_of_id(owner, slot, ahead)
    at = memory.arena + memory.id_at[slot]
    at += 1 + at[0]
    return hash_bytes(at + 1, at[0])


cdef struct TableMemory:            # what a HashOf needs of a DeviceTable
    const unsigned int* id_at
    const unsigned char* arena


cdef bint is_id(const unsigned char* at, size_t size) noexcept nogil:
    cdef size_t i
    if not 1 <= size <= MAX_ID_BYTES:
        return False
    for i in range(size):
        if not (c"a" <= at[i] <= c"z" or c"0" <= at[i] <= c"9" or at[i] == c"-"):
            return False
    return True


cdef class DeviceTable:
    """Base of DeviceIndex. Its cdef members are in the .pxd; from Python it does nothing by itself."""

    def __cinit__(self):
        self.more_tokens = {}
        open_table(&self.by_id)
        open_table(&self.by_external_id)
        self.find_ward(NULL, 0)

    def __dealloc__(self):
        free_region(&self.device_region)
        free_region(&self.id_region)
        free_region(&self.digest_region)
        free_region(&self.arena_region)
        free_table(&self.by_id)
        free_table(&self.by_external_id)
        free(self.wards)
        free(self.named)

    def __len__(self) -> int:
        """Devices that were ever put, decommissioned ones included: one more than the highest slot."""
        return self.count

    @property
    def memory_bytes(self) -> int:
        """What the devices take: records, names, token hashes and hash tables, without second tokens."""
        return (self.count * (sizeof(Device) + sizeof(unsigned int) + DIGEST_BYTES) + self.arena_size
                + table_bytes(&self.by_id) + table_bytes(&self.by_external_id))

    # --- lookups

    cdef int find(self, const unsigned char* device_id, size_t size) noexcept:
        return self.find_hashed(device_id, size, hash_bytes(device_id, size))

    cdef int find_hashed(self, const unsigned char* device_id, size_t size, unsigned int hash) noexcept:
        cdef Shard* shard = shard_of(&self.by_id, hash)
        cdef unsigned int place = first_place(shard, hash)
        cdef const unsigned char* name
        cdef int slot
        while True:
            slot = next_slot(shard, tag_of(hash), &place)
            if slot < 0:
                return -1
            name = self.arena + self.id_at[slot]
            if name[0] == size and memcmp(name + 1, device_id, size) == 0:
                return slot

    cdef int find_external(self, const unsigned char* external_id, size_t size) noexcept:
        cdef unsigned int hash
        cdef Shard* shard
        cdef unsigned int place
        cdef const unsigned char* name
        cdef size_t name_size
        cdef int slot
        if not 1 <= size <= MAX_EXTERNAL_ID_BYTES:
            return -1
        hash = hash_bytes(external_id, size)
        shard = shard_of(&self.by_external_id, hash)
        place = first_place(shard, hash)
        while True:
            slot = next_slot(shard, tag_of(hash), &place)
            if slot < 0:
                return -1
            name = external_id_of(self, slot, &name_size)
            if name_size == size and memcmp(name, external_id, size) == 0:
                return slot

    cdef bint is_device(self, int slot, const unsigned char* device_id, size_t size) noexcept:
        cdef const unsigned char* name
        if not 0 <= slot < self.count:
            return False
        name = self.arena + self.id_at[slot]
        return name[0] == size and memcmp(name + 1, device_id, size) == 0

    cdef Device* at(self, int slot) noexcept:
        return &self.devices[slot]

    cdef void prepare_find(self, const unsigned int* hashes, int count) noexcept:
        cdef int[GROUP] likely
        cdef Shard* shard
        cdef unsigned int place
        cdef int i
        count = min(count, <int>GROUP)
        for i in range(count):
            shard = shard_of(&self.by_id, hashes[i])
            prefetch(&shard.entries[first_place(shard, hashes[i])])
        for i in range(count):
            shard = shard_of(&self.by_id, hashes[i])
            place = first_place(shard, hashes[i])
            likely[i] = next_slot(shard, tag_of(hashes[i]), &place)
            if likely[i] >= 0:
                prefetch(&self.id_at[likely[i]])
                prefetch(&self.devices[likely[i]])
        for i in range(count):
            if likely[i] >= 0:
                prefetch(self.arena + self.id_at[likely[i]])

    cdef bint has_token(self, int slot, const unsigned char* digest) except -1:
        """In a time that says nothing about where they differ."""
        cdef unsigned char flags = self.devices[slot].flags
        cdef const unsigned char* held = self.digests + <size_t>slot * DIGEST_BYTES
        cdef bytes more
        cdef unsigned char difference = 0
        cdef bint found = False
        cdef size_t i, at
        if flags & DEVICE_HAS_TOKEN:
            for i in range(DIGEST_BYTES):
                difference |= held[i] ^ digest[i]
            found = difference == 0
        if flags & DEVICE_HAS_MORE_TOKENS:
            more = self.more_tokens[slot]
            held = more
            for at in range(0, len(more), DIGEST_BYTES):
                difference = 0
                for i in range(DIGEST_BYTES):
                    difference |= held[at + i] ^ digest[i]
                found = found or difference == 0
        return found

    def count_known(self, bytes ids not None, bint grouped) -> int:
        """How many of these ids, each after its size in one byte, are devices: for measurements of the lookup.

        Args:
            grouped: as resolve does it, with the cache misses of many lookups overlapping; else one after the other.
        """
        cdef const unsigned char* at = ids
        cdef const unsigned char* end = at + len(ids)
        cdef const unsigned char* names[16]
        cdef unsigned int[16] hashes
        cdef int size, i
        cdef size_t known = 0
        while at < end:
            size = 0
            while size < 16 and at < end and end - at > at[0]:
                names[size] = at
                hashes[size] = hash_bytes(at + 1, at[0])
                at += 1 + at[0]
                size += 1
            if size == 0:
                break
            if grouped:
                self.prepare_find(hashes, size)
            for i in range(size):
                known += self.find_hashed(names[i] + 1, names[i][0], hashes[i]) >= 0
        return known

    # --- updates

    cdef void take_from_type(self, int slot) noexcept:
        pass

    cdef int put(self, DeviceEntry* entry) except? -100:
        """Add or change a device. Returns Put; nothing has changed if it is negative."""
        cdef int slot, ward_slot
        cdef unsigned int hash
        cdef Device* device
        cdef bint is_revoked
        cdef size_t i
        if not is_id(entry.device_id, entry.device_id_size):
            return PUT_BAD_ID
        if not 1 <= entry.device_num <= 0xFFFFFFFF or entry.gateway_num > 0xFFFFFFFF or entry.type_num > 0xFFFF:
            return PUT_BAD_NUMBER
        if entry.tokens > MAX_TOKENS:
            return PUT_BAD_TOKEN
        for i in range(entry.tokens):
            if entry.digest_sizes[i] != DIGEST_BYTES:
                return PUT_BAD_TOKEN
        if entry.ward_code_size > MAX_WARD_BYTES or not is_utf8(entry.ward_code, entry.ward_code_size):
            return PUT_BAD_WARD
        if (entry.external_id_size > MAX_EXTERNAL_ID_BYTES
                or not is_utf8(entry.external_id, entry.external_id_size)):
            return PUT_BAD_EXTERNAL_ID
        ward_slot = self.find_ward(entry.ward_code, entry.ward_code_size)
        if ward_slot < 0 or self.arena_size + MAX_ID_BYTES + MAX_EXTERNAL_ID_BYTES + 2 > 0xFFFFFFFF:
            return PUT_FULL
        # All that may be missing is asked for before anything changes.
        if self.reserve_arena(MAX_ID_BYTES + MAX_EXTERNAL_ID_BYTES + 2):
            return PUT_NO_MEMORY
        hash = hash_bytes(entry.device_id, entry.device_id_size)
        slot = self.find_hashed(entry.device_id, entry.device_id_size, hash)
        if slot < 0:
            if self.count >= MAX_SLOTS:
                return PUT_FULL
            if self.reserve_slots(self.count + 1):
                return PUT_NO_MEMORY
            slot = self.count
            memset(&self.devices[slot], 0, sizeof(Device))
            self.append_names(slot, entry.device_id, entry.device_id_size, entry.external_id, entry.external_id_size)
            if self.add_named(slot, hash):
                return PUT_NO_MEMORY
            if entry.external_id_size and self.take_external(slot):
                return PUT_NO_MEMORY
        elif self.name_external(slot, entry.external_id, entry.external_id_size):
            return PUT_NO_MEMORY
        is_revoked = self.replace_tokens(slot, entry)
        device = &self.devices[slot]
        device.device_num = <unsigned int>entry.device_num
        device.gateway_num = <unsigned int>entry.gateway_num
        device.type_num = <unsigned short>entry.type_num
        device.ward_slot = <unsigned short>ward_slot
        device.flags &= <unsigned char>~DEVICE_ACTIVE
        if entry.is_active:
            device.flags |= DEVICE_ACTIVE
        self.take_from_type(slot)
        if slot < self.named_count:
            self.named[slot >> 3] |= 1 << (slot & 7)
        return PUT_REVOKED if is_revoked else PUT_DONE

    cdef bint replace_tokens(self, int slot, DeviceEntry* entry) except -1:
        """Returns whether one of those it had is not among the new ones; without changes nothing is allocated."""
        cdef Device* device = &self.devices[slot]
        cdef unsigned char* first = self.digests + <size_t>slot * DIGEST_BYTES
        cdef size_t tokens = entry.tokens if entry.is_active else 0
        cdef bytes before = b""
        cdef bytes more
        cdef bint is_revoked = False
        cdef bint found
        cdef size_t i, at
        if device.flags & DEVICE_HAS_MORE_TOKENS:
            before = first[:DIGEST_BYTES] + self.more_tokens.pop(slot)
        elif device.flags & DEVICE_HAS_TOKEN:
            if tokens == 1 and memcmp(first, entry.digests[0], DIGEST_BYTES) == 0:
                return False
            before = first[:DIGEST_BYTES]
        for at in range(0, len(before), DIGEST_BYTES):
            found = False
            for i in range(tokens):
                found = found or memcmp(<const unsigned char*>before + at, entry.digests[i], DIGEST_BYTES) == 0
            is_revoked = is_revoked or not found
        device.flags &= <unsigned char>~(DEVICE_HAS_TOKEN | DEVICE_HAS_MORE_TOKENS)
        memset(first, 0, DIGEST_BYTES)
        if tokens:
            memcpy(first, entry.digests[0], DIGEST_BYTES)
            device.flags |= DEVICE_HAS_TOKEN
        if tokens > 1:
            more = b"".join([entry.digests[i][:DIGEST_BYTES] for i in range(1, tokens)])
            self.more_tokens[slot] = more
            device.flags |= DEVICE_HAS_MORE_TOKENS
        return is_revoked

    cdef int retire(self, int slot) except -1:
        """What a decommissioned device has left: its slot and its id."""
        cdef DeviceEntry nothing
        nothing.tokens = 0
        nothing.is_active = False
        self.replace_tokens(slot, &nothing)
        self.name_external(slot, NULL, 0)
        self.devices[slot].flags &= <unsigned char>~DEVICE_ACTIVE
        return 0

    cdef int name_external(self, int slot, const unsigned char* external_id, size_t size) noexcept:
        """Give a device that is there this external id, or none. Room must have been reserved."""
        cdef const unsigned char* before
        cdef size_t before_size
        before = external_id_of(self, slot, &before_size)
        if before_size == size and (size == 0 or memcmp(before, external_id, size) == 0):
            return 0
        if before_size:
            remove_slot(&self.by_external_id, hash_bytes(before, before_size), slot)
            self.devices[slot].flags &= <unsigned char>~DEVICE_HAS_EXTERNAL_ID
        if size == 0:
            return 0
        before = id_of(self, slot, &before_size)
        self.append_names(slot, before, before_size, external_id, size)
        return self.take_external(slot)

    cdef int take_external(self, int slot) noexcept:
        """Make the external id that lies behind the device's id its own, and no other device's."""
        cdef const unsigned char* name = self.arena + self.id_at[slot]
        cdef TableMemory memory
        cdef unsigned int hash
        cdef int holder
        name += 1 + name[0]
        hash = hash_bytes(name + 1, name[0])
        holder = self.find_external(name + 1, name[0])
        if holder >= 0:
            remove_slot(&self.by_external_id, hash, holder)
            self.devices[holder].flags &= <unsigned char>~DEVICE_HAS_EXTERNAL_ID
        memory.id_at = self.id_at
        memory.arena = self.arena
        if add_slot(&self.by_external_id, hash, slot, hash_of_external_id, &memory):
            return -1
        self.devices[slot].flags |= DEVICE_HAS_EXTERNAL_ID
        return 0

    cdef int append_names(self, int slot, const unsigned char* device_id, size_t size,
                          const unsigned char* external_id, size_t external_size) noexcept:
        """At the arena's end, where there must be room. What the slot had before stays behind until the next start."""
        cdef unsigned char* to = self.arena + self.arena_size
        self.id_at[slot] = <unsigned int>self.arena_size
        to[0] = <unsigned char>size
        memcpy(to + 1, device_id, size)
        self.arena_size += 1 + size
        if external_size:
            to += 1 + size
            to[0] = <unsigned char>external_size
            memcpy(to + 1, external_id, external_size)
            self.arena_size += 1 + external_size
        return 0

    cdef int add_named(self, int slot, unsigned int hash) noexcept:
        """Count the next slot, whose id has been appended, as a device. Returns 0, or -1 if memory ran out."""
        cdef TableMemory memory
        memory.id_at = self.id_at
        memory.arena = self.arena
        if add_slot(&self.by_id, hash, slot, hash_of_id, &memory):
            return -1
        self.count = slot + 1
        return 0

    cdef int reserve_arena(self, size_t more) noexcept:
        if reserve_region(&self.arena_region, self.arena_size + more):
            return -1
        self.arena = self.arena_region.at
        return 0

    cdef int reserve_slots(self, size_t slots) noexcept:
        if (reserve_region(&self.device_region, slots * sizeof(Device))
                or reserve_region(&self.id_region, slots * sizeof(unsigned int))
                or reserve_region(&self.digest_region, slots * DIGEST_BYTES)):
            return -1
        self.devices = <Device*>self.device_region.at
        self.id_at = <unsigned int*>self.id_region.at
        self.digests = self.digest_region.at
        return 0

    cdef int find_ward(self, const unsigned char* code, size_t size) except? -1:
        """Slot of a ward code; a new code gets a new slot. -1 if there is none left."""
        cdef Ward wanted
        cdef unsigned long long[2] words, known
        cdef void* grown
        cdef int slot
        memset(&wanted, 0, sizeof(Ward))
        if size:
            memcpy(wanted.code, code, size)
        wanted.size = <unsigned char>size
        memcpy(words, &wanted, sizeof(Ward))
        for slot in range(self.ward_count):
            memcpy(known, &self.wards[slot], sizeof(Ward))
            if (known[0] ^ words[0]) | (known[1] ^ words[1]) == 0:
                return slot
        if self.ward_count == MAX_WARDS:
            return -1
        if self.ward_count & (self.ward_count - 1) == 0:
            grown = realloc(self.wards, max(self.ward_count * 2, 1) * sizeof(Ward))
            if grown == NULL:
                raise MemoryError
            self.wards = <Ward*>grown
        self.wards[self.ward_count] = wanted
        self.ward_count += 1
        return self.ward_count - 1

    # --- snapshots

    cdef int begin_devices(self) except -1:
        """From here on what is put is remembered, until end_devices() retires the rest. Lookups go on as before."""
        free(self.named)
        self.named = <unsigned char*>calloc(self.count // 8 + 1, 1)
        if self.named == NULL:
            raise MemoryError
        self.named_count = self.count
        return 0

    cdef list end_devices(self):
        """Retire the devices that the snapshot did not name. Returns the ids of those that could still connect.

        Raises RuntimeError without begin_devices().
        """
        cdef int slot
        cdef const unsigned char* name
        cdef size_t size
        cdef list retired = []
        if self.named == NULL:
            raise RuntimeError("end_snapshot without begin_snapshot")
        for slot in range(self.named_count):
            if not self.named[slot >> 3] & (1 << (slot & 7)):
                if self.devices[slot].flags & DEVICE_ACTIVE:
                    name = id_of(self, slot, &size)
                    retired.append(name[:size].decode())
                self.retire(slot)
        free(self.named)
        self.named = NULL
        self.named_count = 0
        return retired
