# The device index: device ids, types and metrics to numbers. Read by every transport (who is this?) and by resolve.

cdef enum DeviceFlag:
    DEVICE_ACTIVE = 1
    DEVICE_GATEWAY = 2

cdef struct Device:
    unsigned int device_num
    unsigned int gateway_num        # 0: none
    unsigned short type_num
    unsigned short ward_slot        # into DeviceIndex.wards
    unsigned char flags             # DeviceFlag
    unsigned char default_encoding  # Encoding of the device's type

cdef struct Ward:
    unsigned char code[15]
    unsigned char size

# A metric as one device type has it; the bounds are in the canonical unit, infinite where the type gives none.
cdef struct TypeMetric:
    double min_value
    double max_value
    unsigned short metric_num
    unsigned char has_range

# canonical value = value * factor / divisor + offset; factor or divisor is 1
cdef struct Unit:
    double factor
    double divisor                  # cm to m divides by 100: the exact quotient, which times 0.01 is not
    double offset
    unsigned long long name[2]      # at most 15 bytes, padded with zeros
    unsigned char is_identity       # the value is passed on bit by bit

cdef struct HashEntry:              # slot -1: free
    unsigned int hash
    int slot

cdef struct Key:                    # a name in the index's arena
    size_t at
    unsigned int generation         # of the snapshot that last named it
    unsigned char size

cdef struct Metric:
    Key name
    Unit* units                     # units[0] is the canonical one
    unsigned short unit_count

cdef struct DeviceType:
    TypeMetric* metrics             # open addressing by metric_num; metric_num 0: free
    unsigned int mask
    unsigned int generation
    unsigned char is_known
    unsigned char is_gateway
    unsigned char default_encoding

cdef class DeviceIndex:
    cdef Device* devices
    cdef Key* keys                  # by slot
    cdef int count, capacity
    cdef HashEntry* device_table
    cdef unsigned int device_mask
    cdef Metric* metrics            # by metric_num
    cdef int metric_count           # one more than the highest metric_num
    cdef HashEntry* metric_table
    cdef unsigned int metric_mask
    cdef DeviceType* types          # by type_num
    cdef int type_count             # one more than the highest type_num
    cdef Ward* wards
    cdef int ward_count
    cdef unsigned char* arena
    cdef size_t arena_size, arena_capacity
    cdef unsigned int generation
    cdef unsigned char in_snapshot
    # Set by who feeds it: until the next end_snapshot(), unknown may mean not yet known.
    cdef public bint awaits_snapshot
    cdef dict ward_slots            # ward_code -> slot
    cdef dict type_names            # type_num -> device_type
    cdef list decoders              # by type_num: its TypeDecoder, or None
    cdef dict metric_units          # metric_num -> canonical unit
    cdef list tokens                # by slot: valid SHA-256 digests, one after the other
    cdef object conversions
    cdef dict external_slots        # external id -> slot
    cdef dict external_ids          # slot -> external id
    cdef dict operators             # name -> (digest of its token, Operator, generation)

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
    # Number of a metric of the catalogue, or 0.
    cdef int find_metric(self, const unsigned char* metric, size_t size) noexcept
    # What a type says about a metric, or NULL: it does not have it. Valid until the next put.
    cdef TypeMetric* metric_of(self, unsigned short type_num, unsigned short metric_num) noexcept
    # The TypeDecoder of a type, or None.
    cdef object decoder_of(self, unsigned short type_num)
    # The conversion from a unit (size 0: the canonical one) to the metric's canonical unit, or NULL: there is none.
    cdef Unit* unit_of(self, unsigned short metric_num, const unsigned char* unit, size_t size) noexcept
    cdef unsigned char* intern(self, const unsigned char* name, size_t size, Key* key) except NULL
    cdef Unit* add_unit(self, int metric_num, bytes unit, double factor, double offset) except NULL
    cdef int ward_slot(self, str ward_code) except -1
    cdef void take_from_type(self, int slot) noexcept
    cdef int name_external(self, int slot, bytes external_id) except -1
    cdef int forget_metric(self, int metric_num) except -1
