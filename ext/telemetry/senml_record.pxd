# SenML (RFC 8428) without its syntax: the fields of a pack and of a record, and what readings they make.

from ext.telemetry.readings cimport Readings, Text

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

cdef void start_pack(Pack* pack) noexcept
# The label's meaning, by its name in JSON.
cdef int label_of(const unsigned char* at, size_t size) noexcept
# What follows returns NULL, or why the pack is malformed.
cdef const char* set_base_name(Readings readings, Pack* pack, Text* name) noexcept
cdef const char* set_version(Pack* pack, double version) noexcept
# A whole record: its reading, if it makes one, into the open span. `received_ms` is what relative times count from.
cdef const char* add_record(Readings readings, Pack* pack, Record* record, long long received_ms) noexcept
# After the last record.
cdef const char* end_pack(Readings readings) noexcept
