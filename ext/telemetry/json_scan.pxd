# A scanner of JSON text (RFC 8259): strings, numbers and values to be skipped, checked byte by byte.

from ext.telemetry.readings cimport Readings, Text

cdef enum StringBits:           # what a string holds, OR-ed over its bytes
    HAS_SPECIAL = 1             # quote, backslash or control
    HAS_NOT_NAME = 2            # outside A-Z a-z 0-9 - : . / _
    HAS_SEPARATOR = 4           # : or /
    HAS_ALPHANUMERIC = 8        # A-Z a-z 0-9
    HAS_NOT_ASCII = 16

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
    unsigned char bits          # StringBits

cdef unsigned char[256] BITS_OF

# Each returns False and sets `detail` if the text is malformed; `at` is then near the fault.
# `at` is behind the opening quote before, behind the closing one after. Strings with escapes are written to the arena.
cdef bint scan_string(Scanner* scan, Readings readings, String* out) noexcept
cdef bint scan_number(Scanner* scan, double* out) noexcept
cdef bint skip_value(Scanner* scan, Readings readings, int depth) noexcept
cdef bint scan_literal(Scanner* scan, const char* literal, size_t size) noexcept


cdef inline void skip_space(Scanner* scan) noexcept:
    cdef unsigned char c
    while scan.at < scan.end:
        c = scan.at[0]
        if c > 32 or not (c == 32 or c == 10 or c == 13 or c == 9):
            return
        scan.at += 1


cdef inline bint take(Scanner* scan, unsigned char wanted) noexcept:
    """Step over one byte if it is the wanted one."""
    if scan.at < scan.end and scan.at[0] == wanted:
        scan.at += 1
        return True
    return False


cdef inline bint fail(Scanner* scan, const char* detail) noexcept:
    scan.detail = detail
    return False
