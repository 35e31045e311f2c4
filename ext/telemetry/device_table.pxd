# The devices of the index in C memory: 53 bytes each, the id, and 4.6 to 5.7 bytes in a hash table.

from ext.telemetry.region cimport Region
from ext.telemetry.slot_table cimport SlotTable

cdef enum DeviceFlag:
    DEVICE_ACTIVE = 1
    DEVICE_GATEWAY = 2
    DEVICE_HAS_TOKEN = 4
    DEVICE_HAS_MORE_TOKENS = 8      # in DeviceTable.more_tokens
    DEVICE_HAS_EXTERNAL_ID = 16

cdef enum:
    DIGEST_BYTES = 32
    MAX_ID_BYTES = 63
    MAX_EXTERNAL_ID_BYTES = 191
    MAX_TOKENS = 8                  # valid at once, of one device
    MAX_WARD_BYTES = 15

cdef struct Device:
    unsigned int device_num
    unsigned int gateway_num        # 0: none
    unsigned short type_num
    unsigned short ward_slot        # into DeviceTable.wards
    unsigned char flags             # DeviceFlag
    unsigned char default_encoding  # Encoding of the device's type

cdef struct Ward:
    unsigned char[MAX_WARD_BYTES] code  # padded with zeros
    unsigned char size

# What is put: one device as the registry has it. Bytes are borrowed.
cdef struct DeviceEntry:
    const unsigned char* device_id
    const unsigned char* external_id
    const unsigned char* ward_code
    size_t device_id_size, external_id_size, ward_code_size
    unsigned long long device_num, gateway_num, type_num
    const unsigned char* digests[MAX_TOKENS]
    size_t[MAX_TOKENS] digest_sizes
    size_t tokens                   # may be more than MAX_TOKENS: then it is refused
    bint is_active

cdef enum Put:
    PUT_REVOKED = 1                 # a token that was valid is so no more
    PUT_DONE = 0
    PUT_BAD_ID = -1
    PUT_BAD_NUMBER = -2
    PUT_BAD_TOKEN = -3
    PUT_BAD_WARD = -4
    PUT_BAD_EXTERNAL_ID = -5
    PUT_FULL = -6
    PUT_NO_MEMORY = -7

# Whether bytes are [a-z0-9-]{1,63}.
cdef bint is_id(const unsigned char* at, size_t size) noexcept nogil

cdef class DeviceTable:
    cdef Device* devices            # by slot; these four move when a device is put
    cdef unsigned int* id_at        # into the arena: size, device id; with DEVICE_HAS_EXTERNAL_ID, size, external id
    cdef unsigned char* digests     # SHA-256 of the first token
    cdef unsigned char* arena
    cdef size_t arena_size
    cdef int count
    cdef Ward* wards
    cdef int ward_count
    cdef Region device_region, id_region, digest_region, arena_region
    cdef SlotTable by_id, by_external_id
    cdef dict more_tokens           # slot -> SHA-256 of its other tokens, one after the other: few have any
    cdef unsigned char* named       # a bit for every slot below named_count that the running snapshot has named
    cdef int named_count

    # Slot of a device id, or -1. A slot stays the device's for the life of the process, decommissioned or not.
    cdef int find(self, const unsigned char* device_id, size_t size) noexcept
    # The same, for a caller that has the id's hash_bytes().
    cdef int find_hashed(self, const unsigned char* device_id, size_t size, unsigned int hash) noexcept
    # Slot of the device that others call so, or -1.
    cdef int find_external(self, const unsigned char* external_id, size_t size) noexcept
    # Whether this slot, given or not, is the device's.
    cdef bint is_device(self, int slot, const unsigned char* device_id, size_t size) noexcept
    # Valid until the next put; slot must come from find().
    cdef Device* at(self, int slot) noexcept
    # Ask the cache for all that find_hashed() will read for these hashes.
    cdef void prepare_find(self, const unsigned int* hashes, int count) noexcept
    # Whether a token's SHA-256 is one of the device's.
    cdef bint has_token(self, int slot, const unsigned char* digest) except -1
    cdef int put(self, DeviceEntry* entry) except? -100
    cdef int retire(self, int slot) except -1
    # Copy what a device has from its type to where transports read it.
    cdef void take_from_type(self, int slot) noexcept
    cdef int find_ward(self, const unsigned char* code, size_t size) except? -1
    cdef int begin_devices(self) except -1
    cdef list end_devices(self)
    cdef bint replace_tokens(self, int slot, DeviceEntry* entry) except -1
    cdef int name_external(self, int slot, const unsigned char* external_id, size_t size) noexcept
    cdef int take_external(self, int slot) noexcept
    cdef int append_names(self, int slot, const unsigned char* device_id, size_t size,
                          const unsigned char* external_id, size_t external_size) noexcept
    cdef int add_named(self, int slot, unsigned int hash) noexcept
    cdef int reserve_arena(self, size_t more) noexcept
    cdef int reserve_slots(self, size_t slots) noexcept


cdef inline const unsigned char* id_of(DeviceTable table, int slot, size_t* size) noexcept:
    cdef const unsigned char* at = table.arena + table.id_at[slot]
    size[0] = at[0]
    return at + 1


cdef inline const unsigned char* external_id_of(DeviceTable table, int slot, size_t* size) noexcept:
    """Size 0: none."""
    cdef const unsigned char* at = table.arena + table.id_at[slot]
    if not table.devices[slot].flags & DEVICE_HAS_EXTERNAL_ID:
        size[0] = 0
        return at
    at += 1 + at[0]
    size[0] = at[0]
    return at + 1
