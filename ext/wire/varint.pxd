# Lengths and numbers in 7-bit groups, least significant group first.

from ext.wire.cursor cimport Cursor, Step, STEP_MALFORMED, STEP_NEED_MORE, STEP_OK


cdef inline Step read_varint(Cursor* c, unsigned int* out) noexcept nogil:
    """MQTT 5.0 section 1.5.5: 1 to 4 bytes, at most 268,435,455. The cursor moves only on STEP_OK.

    A longer encoding than needed ("0x80 0x00" for 0) is malformed: [MQTT-1.5.5-1].
    """
    cdef unsigned int value = 0
    cdef unsigned int shift = 0
    cdef const unsigned char* at = c.at
    cdef unsigned char byte
    while shift < 28:
        if at == c.end:
            return STEP_NEED_MORE
        byte = at[0]
        at += 1
        value |= <unsigned int>(byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                return STEP_MALFORMED
            out[0] = value
            c.at = at
            return STEP_OK
        shift += 7
    return STEP_MALFORMED


cdef inline size_t varint_size(unsigned int value) noexcept nogil:
    return 1 if value < 128 else 2 if value < 16_384 else 3 if value < 2_097_152 else 4


cdef inline unsigned char* write_varint(unsigned char* at, unsigned int value) noexcept nogil:
    """Write value < 2**28 and return the place after it; there must be `varint_size(value)` bytes of room."""
    while value >= 128:
        at[0] = <unsigned char>(value | 0x80)
        at += 1
        value >>= 7
    at[0] = <unsigned char>value
    return at + 1
