# cython: language_level=3
"""The protobuf wire format: what is not worth inlining."""


cdef bint skip_field(Wire* wire, unsigned int field, unsigned int wire_type, int depth) noexcept nogil:
    cdef unsigned long long ignored
    cdef Wire inner
    cdef unsigned long long tag
    cdef unsigned int inner_field, inner_type
    if wire_type == WIRE_VARINT:
        return read_varint(wire, &ignored)
    if wire_type == WIRE_BYTES:
        return read_bytes(wire, &inner)
    if wire_type == WIRE_FIXED64 or wire_type == WIRE_FIXED32:
        ignored = 8 if wire_type == WIRE_FIXED64 else 4
        if <unsigned long long>(wire.end - wire.at) < ignored:
            return False
        wire.at += ignored
        return True
    if wire_type != WIRE_GROUP or depth >= MAX_GROUP_DEPTH:
        return False
    while True:
        # Not read_tag(): in a group that is skipped the protobuf runtime minds no field number of 0.
        if not read_varint(wire, &tag) or tag > 0xFFFFFFFFULL:
            return False
        inner_field = <unsigned int>(tag >> 3)
        inner_type = <unsigned int>(tag & 7)
        if inner_type == WIRE_END_GROUP:
            return inner_field == field
        if not skip_field(wire, inner_field, inner_type, depth + 1):
            return False
