# The device index: devices (DeviceTable), types and metrics to numbers. Read by every transport (who is this?) and by
# resolve.

# Also for those who read the index.
from ext.telemetry.device_table cimport DEVICE_ACTIVE, DEVICE_GATEWAY, Device, DeviceTable, Ward

from ext.telemetry.quality cimport Expected, Span

# A metric as one device type has it; spans are in the canonical unit.
cdef struct TypeMetric:
    Span good                       # without `months`, and if `always.is_given`: what is in it is good
    Expected always
    Expected* months                # 12, January first, in the same memory; NULL: no climatology
    unsigned short metric_num

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

cdef class DeviceIndex(DeviceTable):
    cdef Metric* metrics            # by metric_num
    cdef int metric_count           # one more than the highest metric_num
    cdef HashEntry* metric_table
    cdef unsigned int metric_mask
    cdef DeviceType* types          # by type_num
    cdef int type_count             # one more than the highest type_num
    cdef unsigned int generation    # of the snapshot that is running, or of the last one
    # Set by who feeds it: until the next end_snapshot(), unknown may mean not yet known.
    cdef public bint awaits_snapshot
    cdef dict type_names            # type_num -> device_type
    cdef list decoders              # by type_num: its TypeDecoder, or None
    cdef dict metric_units          # metric_num -> canonical unit
    cdef object conversions
    cdef dict operators             # name -> (digest of its token, Operator, generation)

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
    cdef int forget_metric(self, int metric_num) except -1
