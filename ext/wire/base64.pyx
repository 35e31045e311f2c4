# cython: language_level=3
"""base64 with padding (RFC 4648 section 4): no other characters, no line ends, no bits left over."""

cdef signed char[256] SIXTHS


cdef void fill_sixths() noexcept:
    cdef int i
    for i in range(256):
        SIXTHS[i] = -1
    for i in range(26):
        SIXTHS[<int>c"A" + i] = i
        SIXTHS[<int>c"a" + i] = 26 + i
    for i in range(10):
        SIXTHS[<int>c"0" + i] = 52 + i
    SIXTHS[<int>c"+"] = 62
    SIXTHS[<int>c"/"] = 63


fill_sixths()


cdef Py_ssize_t decode_base64(const unsigned char* at, size_t size, unsigned char* to, size_t room) noexcept nogil:
    cdef size_t padding = 0
    cdef size_t written = 0
    cdef size_t i
    cdef int a, b, c, d
    if size % 4 != 0:
        return -1
    if size and at[size - 1] == c"=":
        padding = 2 if at[size - 2] == c"=" else 1
    if size // 4 * 3 - padding > room:
        return -1
    for i in range(0, size, 4):
        a = SIXTHS[at[i]]
        b = SIXTHS[at[i + 1]]
        if a < 0 or b < 0:
            return -1
        to[written] = <unsigned char>((a << 2) | (b >> 4))
        written += 1
        if padding and i + 4 == size:
            if padding == 2:
                if b & 15:
                    return -1
                break
            c = SIXTHS[at[i + 2]]
            if c < 0 or c & 3:
                return -1
            to[written] = <unsigned char>((b << 4) | (c >> 2))
            written += 1
            break
        c = SIXTHS[at[i + 2]]
        d = SIXTHS[at[i + 3]]
        if c < 0 or d < 0:
            return -1
        to[written] = <unsigned char>((b << 4) | (c >> 2))
        to[written + 1] = <unsigned char>((c << 6) | d)
        written += 2
    return <Py_ssize_t>written


def decode(bytes text not None) -> bytes:
    """At most 512 bytes. Raises ValueError if it is not base64."""
    cdef unsigned char[512] room
    cdef Py_ssize_t size = decode_base64(text, len(text), room, 512)
    if size < 0:
        raise ValueError("not base64")
    return room[:size]
