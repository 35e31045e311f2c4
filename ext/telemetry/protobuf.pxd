# The protobuf wire format (proto3): tags, varints and length-delimited fields, each checked against the end.

cdef enum WireType:
    WIRE_VARINT = 0
    WIRE_FIXED64 = 1
    WIRE_BYTES = 2
    WIRE_GROUP = 3
    WIRE_END_GROUP = 4
    WIRE_FIXED32 = 5

cdef enum:
    MAX_GROUP_DEPTH = 100       # what the protobuf runtimes allow

cdef struct Wire:
    const unsigned char* at
    const unsigned char* end


cdef inline bint read_varint(Wire* wire, unsigned long long* out) noexcept nogil:
    """At most 10 bytes; bits above the 64th are dropped, as the protobuf runtime does."""
    cdef const unsigned char* at = wire.at
    cdef const unsigned char* end = wire.end
    cdef unsigned long long value
    cdef unsigned long long byte
    cdef int shift = 7
    if at == end:
        return False
    value = at[0]
    at += 1
    if value >= 0x80:
        value &= 0x7F
        while True:
            if at == end or shift > 63:
                return False
            byte = at[0]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
    wire.at = at
    out[0] = value
    return True


cdef inline bint read_tag(Wire* wire, unsigned int* field, unsigned int* wire_type) noexcept nogil:
    """At most 5 bytes, as in the protobuf runtime; there is no field 0."""
    cdef unsigned long long tag = 0
    cdef const unsigned char* start = wire.at
    if not read_varint(wire, &tag) or tag > 0xFFFFFFFFULL or tag < 8 or wire.at - start > 5:
        return False
    field[0] = <unsigned int>(tag >> 3)
    wire_type[0] = <unsigned int>(tag & 7)
    return True


cdef inline bint read_bytes(Wire* wire, Wire* out) noexcept nogil:
    """A length and that many bytes, borrowed."""
    cdef unsigned long long size = 0
    if not read_varint(wire, &size) or size > <unsigned long long>(wire.end - wire.at):
        return False
    out.at = wire.at
    out.end = wire.at + size
    wire.at += size
    return True


cdef inline long long zigzag(unsigned long long value) noexcept nogil:
    return <long long>(value >> 1) ^ -<long long>(value & 1)


# Steps over the value of a field that is not known.
cdef bint skip_field(Wire* wire, unsigned int field, unsigned int wire_type, int depth) noexcept nogil
