# cython: language_level=3
"""A scanner of JSON text (RFC 8259): strings, numbers and values to be skipped, checked byte by byte."""

from libc.string cimport memcmp, memcpy

from ext.telemetry.number cimport read_number
from ext.wire.utf8 cimport is_utf8


cdef int hex4(const unsigned char* at, const unsigned char* end) noexcept nogil:
    """Four hexadecimal digits; -1: they are not."""
    cdef int value = 0
    cdef int i
    cdef unsigned char c
    if end - at < 4:
        return -1
    for i in range(4):
        c = at[i]
        value <<= 4
        if c"0" <= c <= c"9":
            value |= c - c"0"
        elif c"a" <= c <= c"f":
            value |= c - c"a" + 10
        elif c"A" <= c <= c"F":
            value |= c - c"A" + 10
        else:
            return -1
    return value


cdef int put_utf8(unsigned char* to, unsigned int c) noexcept nogil:
    if c < 0x80:
        to[0] = c
        return 1
    if c < 0x800:
        to[0] = 0xC0 | (c >> 6)
        to[1] = 0x80 | (c & 0x3F)
        return 2
    if c < 0x10000:
        to[0] = 0xE0 | (c >> 12)
        to[1] = 0x80 | ((c >> 6) & 0x3F)
        to[2] = 0x80 | (c & 0x3F)
        return 3
    to[0] = 0xF0 | (c >> 18)
    to[1] = 0x80 | ((c >> 12) & 0x3F)
    to[2] = 0x80 | ((c >> 6) & 0x3F)
    to[3] = 0x80 | (c & 0x3F)
    return 4


cdef int unescape(Scanner* scan, unsigned char* to) noexcept:
    """One escape, `at` behind its backslash, to UTF-8. Returns the bytes written, never more than were read; 0: bad."""
    cdef unsigned char c
    cdef int code, low
    if scan.at == scan.end:
        return 0
    c = scan.at[0]
    scan.at += 1
    if c == c"u":
        code = hex4(scan.at, scan.end)
        if code < 0 or 0xDC00 <= code <= 0xDFFF:
            return 0
        scan.at += 4
        if 0xD800 <= code <= 0xDBFF:
            if scan.end - scan.at < 2 or scan.at[0] != c"\\" or scan.at[1] != c"u":
                return 0
            low = hex4(scan.at + 2, scan.end)
            if not 0xDC00 <= low <= 0xDFFF:
                return 0
            scan.at += 6
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        return put_utf8(to, code)
    if c == c'"' or c == c"\\" or c == c"/":
        to[0] = c
    elif c == c"b":
        to[0] = 8
    elif c == c"f":
        to[0] = 12
    elif c == c"n":
        to[0] = 10
    elif c == c"r":
        to[0] = 13
    elif c == c"t":
        to[0] = 9
    else:
        return 0
    return 1


cdef bint scan_rewritten(Scanner* scan, Readings readings, String* out, const unsigned char* begin) noexcept:
    """The rest of a string from its first backslash on; what came before is at `begin`."""
    cdef unsigned char* to
    cdef unsigned char* first
    cdef unsigned char c
    cdef int size
    if readings.reserve_arena(scan.end - begin):
        return fail(scan, b"out of memory")
    first = readings.arena + readings.arena_size
    memcpy(first, begin, scan.at - begin)
    to = first + (scan.at - begin)
    while scan.at < scan.end:
        c = scan.at[0]
        if c == c"\\":
            scan.at += 1
            size = unescape(scan, to)
            if size == 0:
                return fail(scan, b"bad escape in a string")
            to += size
        elif c == c'"':
            out.text.at = readings.arena_size
            out.text.size = <unsigned int>(to - first)
            out.text.is_own = 1
            # escapes give whole characters, so the rewritten text is UTF-8 if and only if the rest was
            if not is_utf8(first, out.text.size):
                return fail(scan, b"not UTF-8")
            readings.arena_size += out.text.size
            scan.at += 1
            return True
        elif c < 32:
            return fail(scan, b"control character in a string")
        else:
            to[0] = c
            to += 1
            scan.at += 1
    return fail(scan, b"string without an end")


cdef bint scan_string_slowly(Scanner* scan, Readings readings, String* out, const unsigned char* at) noexcept:
    """A string that begins at `scan.at` and is plain ASCII up to `at`."""
    cdef const unsigned char* begin = scan.at
    cdef const unsigned char* end = scan.end
    cdef unsigned char seen = 0
    cdef unsigned char c
    while at < end:
        c = at[0]
        if c >= 32 and c != c'"' and c != c"\\":
            seen |= c
            at += 1
            continue
        scan.at = at
        if c == c"\\":
            return scan_rewritten(scan, readings, out, begin)
        if c != c'"':
            return fail(scan, b"control character in a string")
        if seen > 127 and not is_utf8(begin, at - begin):
            return fail(scan, b"not UTF-8")
        scan.at = at + 1
        out.text.at = begin - scan.chunk
        out.text.size = <unsigned int>(at - begin)
        out.text.is_own = 0
        return True
    scan.at = at
    return fail(scan, b"string without an end")


cdef bint scan_number(Scanner* scan, double* out) noexcept:
    cdef const unsigned char* after = read_number(scan.at, scan.end, out)
    if after == NULL:
        return fail(scan, b"not a number, or one of more than 1000 characters")
    scan.at = after
    return True


cdef bint scan_literal(Scanner* scan, const char* literal, size_t size) noexcept:
    if <size_t>(scan.end - scan.at) < size or memcmp(scan.at, literal, size) != 0:
        return fail(scan, b"not a JSON value")
    scan.at += size
    return True


cdef bint skip_value(Scanner* scan, Readings readings, int depth) noexcept:
    cdef unsigned char c
    cdef double number
    cdef String string
    cdef size_t arena_size = readings.arena_size
    if scan.at == scan.end:
        return fail(scan, b"value missing")
    c = scan.at[0]
    if c == c'"':
        scan.at += 1
        if not scan_string(scan, readings, &string):
            return False
        readings.arena_size = arena_size        # nobody will look at it
        return True
    if c == c"t":
        return scan_literal(scan, b"true", 4)
    if c == c"f":
        return scan_literal(scan, b"false", 5)
    if c == c"n":
        return scan_literal(scan, b"null", 4)
    if c != c"[" and c != c"{":
        return scan_number(scan, &number)
    if depth >= MAX_DEPTH:
        return fail(scan, b"nested too deep")
    scan.at += 1
    skip_space(scan)
    if take(scan, c"]" if c == c"[" else c"}"):
        return True
    while True:
        if c == c"{":
            if not take(scan, c'"'):
                return fail(scan, b"label missing")
            if not scan_string(scan, readings, &string):
                return False
            readings.arena_size = arena_size
            skip_space(scan)
            if not take(scan, c":"):
                return fail(scan, b"colon missing")
            skip_space(scan)
        if not skip_value(scan, readings, depth + 1):
            return False
        skip_space(scan)
        if take(scan, c"]" if c == c"[" else c"}"):
            return True
        if not take(scan, c","):
            return fail(scan, b"comma missing")
        skip_space(scan)
