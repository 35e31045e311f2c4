# A scanner of JSON text (RFC 8259): strings, numbers and values to be skipped, checked byte by byte.

from libc.string cimport memcpy

from ext.telemetry.readings cimport Readings, Text

cdef extern from *:
    int trailing_zeros "__builtin_ctzll"(unsigned long long word) noexcept nogil

cdef enum:
    MAX_DEPTH = 32              # of arrays and objects in a value that is skipped

cdef struct Scanner:
    const unsigned char* start
    const unsigned char* at
    const unsigned char* end
    const unsigned char* chunk  # where Text.at counts from
    const char* detail          # why the scan failed

cdef struct String:
    Text text

# Each returns False and sets `detail` if the text is malformed; `at` is then near the fault.
# `at` is behind the opening quote before, behind the closing one after. Strings with escapes are written to the arena.
cdef bint scan_string_slowly(Scanner* scan, Readings readings, String* out, const unsigned char* at) noexcept
cdef bint scan_number(Scanner* scan, double* out) noexcept
cdef bint skip_value(Scanner* scan, Readings readings, int depth) noexcept
cdef bint scan_literal(Scanner* scan, const char* literal, size_t size) noexcept


cdef inline const unsigned char* past_space(const unsigned char* at, const unsigned char* end) noexcept:
    cdef unsigned char c
    while at < end:
        c = at[0]
        if c > 32 or not (c == 32 or c == 10 or c == 13 or c == 9):
            break
        at += 1
    return at


cdef inline void skip_space(Scanner* scan) noexcept:
    scan.at = past_space(scan.at, scan.end)


cdef inline bint take(Scanner* scan, unsigned char wanted) noexcept:
    """Step over one byte if it is the wanted one."""
    if scan.at < scan.end and scan.at[0] == wanted:
        scan.at += 1
        return True
    return False


cdef inline bint fail(Scanner* scan, const char* detail) noexcept:
    scan.detail = detail
    return False


cdef inline bint scan_string(Scanner* scan, Readings readings, String* out) noexcept:
    """Eight bytes at a time up to the first that is a quote, a backslash, a control character or not ASCII."""
    cdef const unsigned char* at = scan.at
    cdef unsigned long long word, found
    while scan.end - at >= 8:
        memcpy(&word, at, 8)
        # Each term sets the high bit of the bytes it looks for, and perhaps of some above them, which do not matter.
        found = (word | (word - 0x2020202020202020ULL)
                 | ((word ^ 0x2222222222222222ULL) - 0x0101010101010101ULL)
                 | ((word ^ 0x5C5C5C5C5C5C5C5CULL) - 0x0101010101010101ULL)) & 0x8080808080808080ULL
        if found == 0:
            at += 8
            continue
        at += trailing_zeros(found) >> 3
        if at[0] != c'"':
            break
        out.text.at = scan.at - scan.chunk
        out.text.size = <unsigned int>(at - scan.at)
        out.text.is_own = 0
        scan.at = at + 1
        return True
    return scan_string_slowly(scan, readings, out, at)
