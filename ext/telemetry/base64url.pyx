# cython: language_level=3
"""base64url without padding (RFC 4648 section 5), as SenML's `vd` has it."""

cdef enum:
    NOT_A_DIGIT = 255

cdef unsigned char[256] DIGITS


cdef void fill_digits() noexcept:
    cdef int i
    for i in range(256):
        DIGITS[i] = NOT_A_DIGIT
    for i in range(26):
        DIGITS[c"A" + i] = i
        DIGITS[c"a" + i] = 26 + i
    for i in range(10):
        DIGITS[c"0" + i] = 52 + i
    DIGITS[c"-"] = 62
    DIGITS[c"_"] = 63


fill_digits()


cdef Py_ssize_t decode_base64url(const unsigned char* at, size_t size, unsigned char* to) noexcept nogil:
    cdef unsigned char* first = to
    cdef unsigned int bits = 0
    cdef unsigned int held = 0
    cdef size_t i
    cdef unsigned char digit
    if size % 4 == 1:
        return -1
    for i in range(size):
        digit = DIGITS[at[i]]
        if digit == NOT_A_DIGIT:
            return -1
        bits = bits << 6 | digit
        held += 6
        if held >= 8:
            held -= 8
            to[0] = <unsigned char>(bits >> held)
            to += 1
    return to - first
