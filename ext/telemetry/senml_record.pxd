# SenML (RFC 8428) without its syntax: the fields of a pack and of a record, and what readings they make.

from ext.telemetry.readings cimport OWN_DEVICE, Readings, Span, Text

cdef enum Label:                    # bits, so that a record can tell what it has
    LABEL_BN = 1
    LABEL_BT = 2
    LABEL_BU = 4
    LABEL_BV = 8
    LABEL_BS = 16
    LABEL_BVER = 32
    LABEL_N = 64
    LABEL_U = 128
    LABEL_V = 256
    LABEL_VS = 512
    LABEL_VB = 1024
    LABEL_VD = 2048
    LABEL_S = 4096
    LABEL_T = 8192
    LABEL_UT = 16384
    LABEL_OTHER = 0                 # unknown: to be ignored
    LABEL_MUST = -1                 # unknown, ends in "_": must not be ignored
    ANY_BASE = 1 + 2 + 4 + 8 + 16 + 32
    ANY_VALUE = 256 + 512 + 1024 + 2048

cdef struct Pack:                   # base fields: hold from their record on
    Text bn
    Text bu
    double bt
    double bv
    double bver
    unsigned char has_bv
    # What follows is of the base name, looked at once for all records that share it.
    unsigned char bn_bits           # NameBits
    unsigned char is_split          # it is a name and ends in a separator: the last part before that is a device
    Text device
    unsigned int device_at          # in Readings.devices; OWN_DEVICE: not there yet

cdef struct Record:
    Text n
    Text u
    Text text                       # of vs, vb or vd, as it is stored
    double v
    double t
    int seen                        # Label bits

# The label's meaning, by its name in JSON.
cdef int label_of(const unsigned char* at, size_t size) noexcept
# What follows returns NULL, or why the pack is malformed.
# After `pack.bn` was read.
cdef const char* set_base_name(Readings readings, Pack* pack) noexcept
cdef const char* set_version(Pack* pack, double version) noexcept
# A whole record: its reading, if it makes one, into the open span. `received_ms` is what relative times count from.
cdef const char* add_record(Readings readings, Pack* pack, Record* record, long long received_ms) noexcept


cdef inline void start_pack(Pack* pack) noexcept:
    pack.bn.at = 0
    pack.bn.size = 0
    pack.bn.is_own = 1
    pack.bu.at = 0
    pack.bu.size = 0
    pack.bu.is_own = 1
    pack.bt = 0.0
    pack.bv = 0.0
    pack.bver = 0.0
    pack.has_bv = False
    pack.bn_bits = 0
    pack.is_split = False
    pack.device_at = OWN_DEVICE


cdef inline void start_record(Record* record) noexcept:
    record.n.at = 0
    record.n.size = 0
    record.n.is_own = 1
    record.v = 0.0
    record.t = 0.0
    record.seen = 0


cdef inline const char* end_pack(Readings readings) noexcept:
    """After the last record."""
    cdef Span* span = &readings.spans[readings.span_count - 1]
    if readings.count == span.first_reading and readings.text_count == span.first_text:
        return b"no record with a value"
    return NULL
