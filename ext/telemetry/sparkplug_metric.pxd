# One metric of a Sparkplug payload (org.eclipse.tahu.protobuf.Payload.Metric), and what its value is worth.

from ext.telemetry.protobuf cimport Wire

# Sparkplug 3.0 section 6.4.16.
cdef enum Datatype:
    DATATYPE_UNKNOWN = 0
    DATATYPE_INT8 = 1
    DATATYPE_INT16 = 2
    DATATYPE_INT32 = 3
    DATATYPE_INT64 = 4
    DATATYPE_UINT8 = 5
    DATATYPE_UINT16 = 6
    DATATYPE_UINT32 = 7
    DATATYPE_UINT64 = 8
    DATATYPE_FLOAT = 9
    DATATYPE_DOUBLE = 10
    DATATYPE_BOOLEAN = 11
    DATATYPE_STRING = 12
    DATATYPE_DATETIME = 13
    DATATYPE_TEXT = 14
    DATATYPE_UUID = 15
    DATATYPE_BYTES = 17

cdef enum ValueKind:            # the field of the payload that the value came in
    VALUE_NONE = 0
    VALUE_INT = 1               # uint32
    VALUE_LONG = 2              # uint64
    VALUE_FLOAT = 3
    VALUE_DOUBLE = 4
    VALUE_BOOLEAN = 5
    VALUE_STRING = 6
    VALUE_BYTES = 7
    VALUE_OTHER = 8             # data set, template, extension

cdef enum Worth:                # what a value becomes
    WORTH_NUMBER = 0
    WORTH_BOOLEAN = 1
    WORTH_STRING = 2
    WORTH_DATA = 3
    WORTH_UNSUPPORTED = 4       # a datatype that is not stored, or none where the field alone does not say it
    WORTH_MISMATCH = 5          # not a value of its datatype

cdef struct Metric:
    const unsigned char* name   # NULL: it has none
    const unsigned char* text   # of a string or bytes value
    unsigned long long bits     # of any other value
    unsigned long long alias
    unsigned long long timestamp
    unsigned int name_size
    unsigned int text_size
    unsigned int datatype
    unsigned char kind          # ValueKind
    unsigned char has_alias
    unsigned char has_timestamp
    unsigned char is_historical
    unsigned char is_transient
    unsigned char is_null
    unsigned char has_properties

# Reads a metric from its bytes, to their end. Of a field that comes twice the last counts. False if it is malformed.
cdef bint read_metric(Wire* wire, Metric* out) noexcept nogil
# What the value is worth under a datatype; the number in `number` with WORTH_NUMBER.
cdef Worth worth_of(const Metric* metric, unsigned int datatype, double* number) noexcept nogil
# 1 and the string value of the property `engUnit` in the metric that these bytes are, 0 if there is none (and `unit` is
# NULL), -1 if the properties are malformed.
cdef int find_unit(const unsigned char* at, const unsigned char* end, Wire* unit) noexcept nogil
# Not a reading: Node Control/..., Device Control/... and bdSeq.
cdef bint is_control_name(const unsigned char* name, size_t size) noexcept nogil
