# cython: language_level=3
"""base64 (RFC 4648 section 4, with padding) and base64url (section 5, without): no other characters, no line ends."""

from libc.string cimport memset

cdef unsigned int NONE = 255            # not a digit; larger than all of them

cdef unsigned char[256] BASE64
cdef unsigned char[256] BASE64URL


cdef void fill(unsigned char* digits, int digit_62, int digit_63) noexcept:
    cdef int i
    memset(digits, NONE, 256)
    for i in range(26):
        digits[c"A" + i] = i
        digits[c"a" + i] = 26 + i
    for i in range(10):
        digits[c"0" + i] = 52 + i
    digits[digit_62] = 62
    digits[digit_63] = 63


fill(BASE64, c"+", c"/")
fill(BASE64URL, c"-", c"_")


cdef Py_ssize_t decode_digits(const unsigned char* at, size_t size, unsigned char* to,
                              const unsigned char* digits) noexcept nogil:
    cdef unsigned char* first = to
    cdef unsigned int bits = 0
    cdef unsigned int held = 0
    cdef size_t i
    if size % 4 == 1:
        return -1
    for i in range(size):
        if digits[at[i]] == NONE:
            return -1
        bits = bits << 6 | digits[at[i]]
        held += 6
        if held >= 8:
            held -= 8
            to[0] = <unsigned char>(bits >> held)
            to += 1
    return to - first


cdef Py_ssize_t decode_base64(const unsigned char* at, size_t size, unsigned char* to, size_t room) noexcept nogil:
    cdef size_t padding = 0
    if size % 4 != 0:
        return -1
    if size and at[size - 1] == c"=":
        padding = 2 if at[size - 2] == c"=" else 1
    if size // 4 * 3 - padding > room:
        return -1
    size -= padding
    if padding and BASE64[at[size - 1]] & (15 if padding == 2 else 3):      # bits left over
        return -1
    return decode_digits(at, size, to, BASE64)


cdef Py_ssize_t decode_base64url(const unsigned char* at, size_t size, unsigned char* to) noexcept nogil:
    return decode_digits(at, size, to, BASE64URL)


def decode(bytes text not None) -> bytes:
    """base64 of at most 512 bytes. Raises ValueError if it is not base64."""
    cdef unsigned char[512] room
    cdef Py_ssize_t size = decode_base64(text, len(text), room, 512)
    if size < 0:
        raise ValueError("not base64")
    return room[:size]
