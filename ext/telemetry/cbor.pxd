# A reader of CBOR (RFC 8949): heads, strings, numbers and items to be skipped, each checked against the end.

from libc.string cimport memcpy

from ext.telemetry.readings cimport Readings, Text

cdef extern from *:
    unsigned long long swap_bytes "__builtin_bswap64"(unsigned long long word) noexcept nogil
    unsigned int swap_bytes_32 "__builtin_bswap32"(unsigned int word) noexcept nogil

cdef enum Major:
    CBOR_UNSIGNED = 0
    CBOR_NEGATIVE = 1
    CBOR_BYTES = 2
    CBOR_TEXT = 3
    CBOR_ARRAY = 4
    CBOR_MAP = 5
    CBOR_TAG = 6
    CBOR_SIMPLE = 7

cdef enum:
    CBOR_INDEFINITE = 31            # Head.info; of major 7: the break
    CBOR_UINT_32 = 0x1A
    CBOR_BREAK = 0xFF
    CBOR_FALSE = 0xF4
    CBOR_TRUE = 0xF5
    CBOR_DOUBLE = 0xFB
    CBOR_MAX_DEPTH = 32             # of arrays, maps and tags in an item that is skipped

cdef struct Cbor:
    const unsigned char* start
    const unsigned char* at
    const unsigned char* end
    const unsigned char* chunk      # where Text.at counts from
    const char* detail              # why reading failed

cdef struct Head:
    unsigned long long value
    unsigned char major
    unsigned char info

# Each returns False and sets `detail` if the bytes are malformed; `at` is then near the fault.
cdef bint read_long_head(Cbor* cbor, Head* head) noexcept
# What follows a head of major 2 or 3. Strings in pieces are joined in the arena; `is_checked`: text has to be UTF-8.
cdef bint read_pieces(Cbor* cbor, Readings readings, Head* head, bint is_checked, Text* out) noexcept
# An integer, a float, a bignum (tags 2 and 3), a decimal fraction (tag 4) or a bigfloat (tag 5), rounded to the nearest
# double; infinity where it is too large for one.
cdef bint read_number(Cbor* cbor, Readings readings, double* out) noexcept
cdef bint skip_item(Cbor* cbor, int depth) noexcept


cdef inline bint refuse(Cbor* cbor, const char* detail) noexcept:
    cbor.detail = detail
    return False


cdef inline bint read_head(Cbor* cbor, Head* head) noexcept:
    cdef unsigned char first
    if cbor.at >= cbor.end:
        return refuse(cbor, b"ends early")
    first = cbor.at[0]
    cbor.at += 1
    head.major = first >> 5
    head.info = first & 31
    head.value = head.info
    return True if head.info < 24 else read_long_head(cbor, head)


cdef inline bint is_short_ascii(Cbor* cbor, Head* head) noexcept:
    cdef unsigned char seen = 0
    cdef size_t i
    if head.value > 8 or head.value > <unsigned long long>(cbor.end - cbor.at):
        return False
    for i in range(head.value):
        seen |= cbor.at[i]
    return seen < 128


cdef inline bint read_string(Cbor* cbor, Readings readings, Head* head, bint is_checked, Text* out) noexcept:
    """What follows a head of major 2 or 3."""
    if head.info == CBOR_INDEFINITE or (is_checked and not is_short_ascii(cbor, head)):
        return read_pieces(cbor, readings, head, is_checked, out)
    if head.value > <unsigned long long>(cbor.end - cbor.at):
        return refuse(cbor, b"string runs over the end")
    out.at = cbor.at - cbor.chunk
    out.size = <unsigned int>head.value
    out.is_own = 0
    cbor.at += head.value
    return True


cdef inline bint take_double(Cbor* cbor, double* out) noexcept:
    """Step over a double if there is one."""
    cdef unsigned long long word
    if cbor.end - cbor.at < 9 or cbor.at[0] != CBOR_DOUBLE:
        return False
    memcpy(&word, cbor.at + 1, 8)
    word = swap_bytes(word)
    memcpy(out, &word, 8)
    cbor.at += 9
    return True


cdef inline bint take_unsigned(Cbor* cbor, double* out) noexcept:
    """Step over an unsigned integer of one byte or, as times have it, of four after its head, if there is one."""
    cdef unsigned int word
    if cbor.at == cbor.end:
        return False
    if cbor.at[0] < 24:
        out[0] = cbor.at[0]
        cbor.at += 1
        return True
    if cbor.at[0] != CBOR_UINT_32 or cbor.end - cbor.at < 5:
        return False
    memcpy(&word, cbor.at + 1, 4)
    out[0] = swap_bytes_32(word)
    cbor.at += 5
    return True
