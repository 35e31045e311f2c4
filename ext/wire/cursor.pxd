# A cursor over bytes that somebody else owns: every length read from the wire is checked here before it is used.

cdef struct Cursor:
    const unsigned char* at         # next unread byte
    const unsigned char* end        # one past the last; at <= end always

cdef struct Span:                   # borrowed, not terminated
    const unsigned char* at
    size_t size

cdef enum Step:
    STEP_OK = 1
    STEP_NEED_MORE = 0              # not an error: wait for more bytes
    STEP_MALFORMED = -1


cdef inline size_t left(const Cursor* c) noexcept nogil:
    return <size_t>(c.end - c.at)


cdef inline Step read_u8(Cursor* c, unsigned char* out) noexcept nogil:
    if c.at == c.end:
        return STEP_NEED_MORE
    out[0] = c.at[0]
    c.at += 1
    return STEP_OK


cdef inline Step read_u16(Cursor* c, unsigned short* out) noexcept nogil:
    """Two bytes, most significant first."""
    if left(c) < 2:
        return STEP_NEED_MORE
    out[0] = <unsigned short>((c.at[0] << 8) | c.at[1])
    c.at += 2
    return STEP_OK


cdef inline Step read_u32(Cursor* c, unsigned int* out) noexcept nogil:
    """Four bytes, most significant first."""
    if left(c) < 4:
        return STEP_NEED_MORE
    out[0] = (<unsigned int>c.at[0] << 24) | (<unsigned int>c.at[1] << 16) | (<unsigned int>c.at[2] << 8) | c.at[3]
    c.at += 4
    return STEP_OK


cdef inline Step read_bytes(Cursor* c, size_t size, Span* out) noexcept nogil:
    if left(c) < size:
        return STEP_NEED_MORE
    out.at = c.at
    out.size = size
    c.at += size
    return STEP_OK


cdef inline Step read_prefixed(Cursor* c, Span* out) noexcept nogil:
    """Bytes after their own length in two bytes. On STEP_NEED_MORE the cursor has not moved."""
    cdef size_t size
    if left(c) < 2:
        return STEP_NEED_MORE
    size = (<size_t>c.at[0] << 8) | c.at[1]
    if left(c) - 2 < size:
        return STEP_NEED_MORE
    out.at = c.at + 2
    out.size = size
    c.at += 2 + size
    return STEP_OK
