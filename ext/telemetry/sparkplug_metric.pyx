# cython: language_level=3
"""One metric of a Sparkplug payload, and what its value is worth."""

from libc.string cimport memcmp, memcpy

from ext.telemetry.protobuf cimport (
    WIRE_BYTES,
    WIRE_FIXED32,
    WIRE_FIXED64,
    WIRE_VARINT,
    Wire,
    read_bytes,
    read_tag,
    read_varint,
    skip_field,
)

cdef enum Tag:                  # field number and wire type
    TAG_NAME = 0x0A
    TAG_ALIAS = 0x10
    TAG_TIMESTAMP = 0x18
    TAG_DATATYPE = 0x20
    TAG_HISTORICAL = 0x28
    TAG_TRANSIENT = 0x30
    TAG_NULL = 0x38
    TAG_PROPERTIES = 0x4A
    TAG_INT = 0x50
    TAG_LONG = 0x58
    TAG_FLOAT = 0x65
    TAG_DOUBLE = 0x69
    TAG_BOOLEAN = 0x70
    TAG_STRING = 0x7A
    TAG_BYTES = 0x82
    TAG_DATASET = 0x8A
    TAG_TEMPLATE = 0x92
    TAG_EXTENSION = 0x9A

# of PropertySet and PropertyValue
cdef enum:
    TAG_KEYS = 0x0A
    TAG_VALUES = 0x12
    TAG_VALUE_NULL = 0x10
    TAG_VALUE_STRING = 0x42

# wire types of the fields 3 to 11 of PropertyValue, one of which is its value
cdef unsigned char[9] VALUE_WIRES = [
    WIRE_VARINT, WIRE_VARINT, WIRE_FIXED32, WIRE_FIXED64, WIRE_VARINT, WIRE_BYTES, WIRE_BYTES, WIRE_BYTES, WIRE_BYTES,
]


cdef inline bint read_time(Wire* wire, unsigned long long* out) noexcept nogil:
    """A varint; the milliseconds of all years from 1972 to 2109 are of six bytes, which are read at once."""
    cdef unsigned long long word
    if wire.end - wire.at >= 8:
        memcpy(&word, wire.at, 8)
        if word & 0x808080808080ULL == 0x008080808080ULL:
            out[0] = (word & 0x7F | word >> 1 & 0x3F80 | word >> 2 & 0x1FC000 | word >> 3 & 0xFE00000ULL
                      | word >> 4 & 0x7F0000000ULL | word >> 5 & 0x3F800000000ULL)
            wire.at += 6
            return True
    return read_varint(wire, out)


cdef bint read_metric(Wire* wire, Metric* out) noexcept nogil:
    cdef unsigned long long raw = 0
    cdef unsigned int tag, field, wire_type
    cdef Wire inner
    out.name = NULL
    out.name_size = 0
    out.datatype = DATATYPE_UNKNOWN
    out.kind = VALUE_NONE
    out.has_alias = 0
    out.has_timestamp = 0
    out.is_historical = 0
    out.is_transient = 0
    out.is_null = 0
    out.has_properties = 0
    while wire.at < wire.end:
        tag = wire.at[0]
        if tag < 0x80:
            wire.at += 1
            if tag < 8:
                return False
        else:
            if not read_tag(wire, &field, &wire_type):
                return False
            tag = field << 3 | wire_type
        if tag == TAG_ALIAS:
            if not read_varint(wire, &out.alias):
                return False
            out.has_alias = 1
        elif tag == TAG_TIMESTAMP:
            if not read_time(wire, &out.timestamp):
                return False
            out.has_timestamp = 1
        elif tag == TAG_DATATYPE:
            if not read_varint(wire, &raw):
                return False
            out.datatype = <unsigned int>raw
        elif tag == TAG_INT:
            if not read_varint(wire, &raw):
                return False
            out.bits = <unsigned int>raw
            out.kind = VALUE_INT
        elif tag == TAG_LONG:
            if not read_varint(wire, &out.bits):
                return False
            out.kind = VALUE_LONG
        elif tag == TAG_FLOAT:
            if wire.end - wire.at < 4:
                return False
            out.bits = 0
            memcpy(&out.bits, wire.at, 4)
            wire.at += 4
            out.kind = VALUE_FLOAT
        elif tag == TAG_DOUBLE:
            if wire.end - wire.at < 8:
                return False
            memcpy(&out.bits, wire.at, 8)
            wire.at += 8
            out.kind = VALUE_DOUBLE
        elif tag == TAG_BOOLEAN:
            if not read_varint(wire, &raw):
                return False
            out.bits = raw != 0
            out.kind = VALUE_BOOLEAN
        elif tag == TAG_STRING or tag == TAG_BYTES:
            if not read_bytes(wire, &inner):
                return False
            out.text = inner.at
            out.text_size = <unsigned int>(inner.end - inner.at)
            out.kind = VALUE_STRING if tag == TAG_STRING else VALUE_BYTES
        elif tag == TAG_NAME:
            if not read_bytes(wire, &inner):
                return False
            out.name = inner.at
            out.name_size = <unsigned int>(inner.end - inner.at)
        elif tag == TAG_HISTORICAL:
            if not read_varint(wire, &raw):
                return False
            out.is_historical = raw != 0
        elif tag == TAG_TRANSIENT:
            if not read_varint(wire, &raw):
                return False
            out.is_transient = raw != 0
        elif tag == TAG_NULL:
            if not read_varint(wire, &raw):
                return False
            out.is_null = raw != 0
        elif tag == TAG_PROPERTIES or tag == TAG_DATASET or tag == TAG_TEMPLATE or tag == TAG_EXTENSION:
            if not read_bytes(wire, &inner):
                return False
            if tag == TAG_PROPERTIES:
                out.has_properties = 1
            else:
                out.kind = VALUE_OTHER
        elif not skip_field(wire, tag >> 3, tag & 7, 0):
            return False
    return True


cdef inline bint signed_value(unsigned long long raw, int width, double* number) noexcept nogil:
    """Two's complement in the datatype's own width, in 32 bits or in 64: senders differ. False if it does not fit."""
    cdef unsigned long long half = 1ULL << (width - 1)
    cdef long long value
    if raw < half:
        value = <long long>raw
    elif raw < 2 * half:
        value = <long long>raw - 2 * <long long>half
    elif raw <= 0xFFFFFFFFULL and raw >= 0x100000000ULL - half:
        value = <long long>raw - 0x100000000LL
    elif raw >= 0ULL - half:
        value = <long long>raw
    else:
        return False
    number[0] = <double>value
    return True


cdef Worth worth_of(const Metric* metric, unsigned int datatype, double* number) noexcept nogil:
    cdef float single
    cdef bint fits = True
    if metric.kind == VALUE_DOUBLE or metric.kind == VALUE_FLOAT:
        if datatype != DATATYPE_DOUBLE and datatype != DATATYPE_FLOAT and datatype != DATATYPE_UNKNOWN:
            return WORTH_MISMATCH if datatype <= DATATYPE_UUID or datatype == DATATYPE_BYTES else WORTH_UNSUPPORTED
        if metric.kind == VALUE_DOUBLE:
            memcpy(number, &metric.bits, 8)
        else:
            memcpy(&single, &metric.bits, 4)
            number[0] = single
        return WORTH_NUMBER
    if metric.kind == VALUE_INT or metric.kind == VALUE_LONG:
        # Which of the two fields a datatype comes in differs between senders (UInt32 in particular).
        if datatype == DATATYPE_INT64 or datatype == DATATYPE_DATETIME:
            number[0] = <double><long long>metric.bits
        elif datatype == DATATYPE_UINT64:
            number[0] = <double>metric.bits
        elif DATATYPE_INT8 <= datatype <= DATATYPE_INT32:
            fits = signed_value(metric.bits, 4 << datatype, number)
        elif DATATYPE_UINT8 <= datatype <= DATATYPE_UINT32:
            fits = metric.bits >> (4 << (datatype - DATATYPE_INT64)) == 0
            number[0] = <double>metric.bits
        elif datatype == DATATYPE_UNKNOWN or datatype == 16 or datatype > DATATYPE_BYTES:
            return WORTH_UNSUPPORTED        # without its datatype 255 may be -1
        else:
            return WORTH_MISMATCH
        return WORTH_NUMBER if fits else WORTH_MISMATCH
    if metric.kind == VALUE_OTHER or datatype == 16 or datatype > DATATYPE_BYTES:
        return WORTH_UNSUPPORTED
    if metric.kind == VALUE_BOOLEAN:
        return WORTH_BOOLEAN if datatype == DATATYPE_BOOLEAN or datatype == DATATYPE_UNKNOWN else WORTH_MISMATCH
    if metric.kind == VALUE_STRING:
        if datatype == DATATYPE_STRING or datatype == DATATYPE_TEXT or datatype == DATATYPE_UUID \
                or datatype == DATATYPE_UNKNOWN:
            return WORTH_STRING
        return WORTH_MISMATCH
    return WORTH_DATA if datatype == DATATYPE_BYTES or datatype == DATATYPE_UNKNOWN else WORTH_MISMATCH


cdef int read_property(Wire* wire, Wire* text) noexcept nogil:
    """A PropertyValue: 1 and its string, 0 if it is null or no string, -1 if it is malformed."""
    cdef unsigned int field, wire_type
    cdef unsigned long long raw = 0
    cdef bint is_null = False
    text.at = NULL
    text.end = NULL
    while wire.at < wire.end:
        if not read_tag(wire, &field, &wire_type):
            return -1
        if field << 3 | wire_type == TAG_VALUE_STRING:
            if not read_bytes(wire, text):
                return -1
        elif field << 3 | wire_type == TAG_VALUE_NULL:
            if not read_varint(wire, &raw):
                return -1
            is_null = raw != 0
        elif not skip_field(wire, field, wire_type, 0):
            return -1
        elif field <= 11 and field >= 3 and wire_type == VALUE_WIRES[field - 3]:
            text.at = NULL          # a value of another kind came after the string
            text.end = NULL
    return 0 if text.at == NULL or is_null else 1


cdef int find_property(const unsigned char* at, const unsigned char* end, unsigned long long* place, bint by_key,
                       Wire* text) noexcept nogil:
    """Go through all properties of a metric, which may come in pieces; -1 if they are malformed.

    By key: 1 if one of the keys is `engUnit`, the first such in `place`. Else what read_property() says of the value
    in that place, 0 if there is none.
    """
    cdef Wire wire, properties, item
    cdef unsigned int field, wire_type
    cdef unsigned long long keys = 0, values = 0
    cdef int found = 0, status
    cdef Wire ignored
    wire.at = at
    wire.end = end
    while wire.at < wire.end:
        if not read_tag(&wire, &field, &wire_type):
            return -1
        if field << 3 | wire_type != TAG_PROPERTIES:
            if not skip_field(&wire, field, wire_type, 0):
                return -1
            continue
        if not read_bytes(&wire, &properties):
            return -1
        while properties.at < properties.end:
            if not read_tag(&properties, &field, &wire_type):
                return -1
            if field << 3 | wire_type == TAG_KEYS:
                if not read_bytes(&properties, &item):
                    return -1
                if by_key and not found and item.end - item.at == 7 and memcmp(item.at, b"engUnit", 7) == 0:
                    place[0] = keys
                    found = 1
                keys += 1
            elif field << 3 | wire_type == TAG_VALUES:
                if not read_bytes(&properties, &item):
                    return -1
                if not by_key and values == place[0]:
                    status = read_property(&item, text)
                    found = status
                else:
                    status = read_property(&item, &ignored)
                if status < 0:
                    return -1
                values += 1
            elif not skip_field(&properties, field, wire_type, 0):
                return -1
    return found


cdef int find_unit(const unsigned char* at, const unsigned char* end, Wire* unit) noexcept nogil:
    cdef unsigned long long place = 0
    cdef int found = find_property(at, end, &place, True, unit)
    unit.at = NULL
    unit.end = NULL
    if found != 1:
        return found
    found = find_property(at, end, &place, False, unit)
    if found != 1:
        unit.at = NULL
        unit.end = NULL
    return found


cdef bint is_control_name(const unsigned char* name, size_t size) noexcept nogil:
    if size == 5:
        return memcmp(name, b"bdSeq", 5) == 0
    if size >= 13 and memcmp(name, b"Node Control/", 13) == 0:
        return True
    return size >= 15 and memcmp(name, b"Device Control/", 15) == 0
