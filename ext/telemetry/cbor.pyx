# cython: language_level=3
"""A reader of CBOR (RFC 8949): heads, strings, numbers and items to be skipped, each checked against the end.

Well-formed is what RFC 8949 appendix C says; besides, text has to be UTF-8 wherever it stands.
"""

from libc.math cimport ldexp
from libc.string cimport memcpy

from ext.telemetry.number cimport number_of_text, to_double
from ext.wire.utf8 cimport is_utf8

cdef extern from *:
    ctypedef long double wide "long double"     # 64 bits of mantissa or more, and a wider exponent than double's
    wide scale "ldexpl"(wide value, int power) noexcept nogil

cdef enum:
    TAG_BIGNUM = 2
    TAG_NEGATIVE_BIGNUM = 3
    TAG_DECIMAL_FRACTION = 4
    TAG_BIGFLOAT = 5
    MAX_EXPONENT = 100_000      # beyond it every number is 0 or infinite, whatever its mantissa
    MAX_BIGNUM_BYTES = 64       # a longer one is refused
    LIMBS = 16
    MAX_DIGITS = 160

# What a number is made of: magnitude, or for more than 64 bits its bytes.
cdef struct Mantissa:
    unsigned long long magnitude
    const unsigned char* bytes      # NULL: magnitude says it all
    size_t size
    bint is_negative
    bint is_one_more                # -1 - n: what the bytes say, plus one


cdef bint read_long_head(Cbor* cbor, Head* head) noexcept:
    cdef int size, i
    if head.info == CBOR_INDEFINITE:
        if CBOR_BYTES <= head.major <= CBOR_MAP or head.major == CBOR_SIMPLE:
            head.value = 0
            return True
        return refuse(cbor, b"indefinite length where there is none")
    if head.info > 27:
        return refuse(cbor, b"reserved additional information")
    size = 1 << (head.info - 24)
    if cbor.end - cbor.at < size:
        return refuse(cbor, b"ends early")
    head.value = 0
    for i in range(size):
        head.value = head.value << 8 | cbor.at[i]
    if head.major == CBOR_SIMPLE and head.info == 24 and head.value < 32:
        return refuse(cbor, b"simple value in two bytes that has one")
    cbor.at += size
    return True


cdef bint step_over_string(Cbor* cbor, Head* head, bint is_checked) noexcept:
    if head.value > <unsigned long long>(cbor.end - cbor.at):
        return refuse(cbor, b"string runs over the end")
    if is_checked and head.major == CBOR_TEXT and not is_utf8(cbor.at, head.value):
        return refuse(cbor, b"not UTF-8")
    cbor.at += head.value
    return True


cdef bint is_piece(Cbor* cbor, Head* piece, unsigned char major) noexcept:
    """The head of the next piece of a string in pieces; False and no detail at its end."""
    cbor.detail = NULL
    if cbor.at < cbor.end and cbor.at[0] == CBOR_BREAK:
        cbor.at += 1
        return False
    if not read_head(cbor, piece):
        return False
    if piece.major != major or piece.info == CBOR_INDEFINITE:
        return refuse(cbor, b"piece of a string of another type")
    return True


cdef bint read_pieces(Cbor* cbor, Readings readings, Head* head, bint is_checked, Text* out) noexcept:
    cdef Head piece
    cdef const unsigned char* from_
    if head.info != CBOR_INDEFINITE:
        from_ = cbor.at
        if not step_over_string(cbor, head, is_checked):
            return False
        out.at = from_ - cbor.chunk
        out.size = <unsigned int>head.value
        out.is_own = 0
        return True
    if readings.reserve_arena(cbor.end - cbor.at):
        return refuse(cbor, b"out of memory")
    out.at = readings.arena_size
    out.is_own = 1
    while is_piece(cbor, &piece, head.major):
        from_ = cbor.at
        if not step_over_string(cbor, &piece, is_checked):
            return False
        memcpy(readings.arena + readings.arena_size, from_, cbor.at - from_)
        readings.arena_size += cbor.at - from_
    out.size = <unsigned int>(readings.arena_size - out.at)
    return cbor.detail == NULL


cdef double half(unsigned long long bits) noexcept:
    """RFC 8949 appendix D."""
    cdef int exponent = <int>(bits >> 10) & 31
    cdef double value = <double>(bits & 1023)
    if exponent == 0:
        value = ldexp(value, -24)
    elif exponent < 31:
        value = ldexp(value + 1024, exponent - 25)
    elif value == 0:
        value = float_of(0x7F800000)
    else:
        value = float_of(0x7FC00000)
    return -value if bits & 0x8000 else value


cdef double float_of(unsigned int bits) noexcept:
    cdef float value
    memcpy(&value, &bits, 4)
    return value


cdef bint read_exponent(Cbor* cbor, long* out) noexcept:
    cdef Head head
    if not read_head(cbor, &head):
        return False
    if head.major > CBOR_NEGATIVE:
        return refuse(cbor, b"exponent is no integer")
    out[0] = <long>head.value if head.value < MAX_EXPONENT else MAX_EXPONENT
    if head.major == CBOR_NEGATIVE:
        out[0] = -1 - out[0]
    return True


cdef bint read_mantissa(Cbor* cbor, Readings readings, Head* head, Mantissa* out) noexcept:
    """An integer or a bignum whose head was read."""
    cdef Head string
    cdef Text text
    cdef size_t i
    out.bytes = NULL
    out.is_one_more = False
    if head.major <= CBOR_NEGATIVE:
        out.is_negative = head.major == CBOR_NEGATIVE
        out.magnitude = head.value
        if out.is_negative:
            if head.value == 0xFFFFFFFFFFFFFFFFULL:
                out.bytes = <const unsigned char*>b"\xff\xff\xff\xff\xff\xff\xff\xff"
                out.size = 8
                out.is_one_more = True
            else:
                out.magnitude += 1
        return True
    if head.major != CBOR_TAG or not TAG_BIGNUM <= head.value <= TAG_NEGATIVE_BIGNUM:
        return refuse(cbor, b"number expected")
    out.is_negative = head.value == TAG_NEGATIVE_BIGNUM
    if not read_head(cbor, &string):
        return False
    if string.major != CBOR_BYTES:
        return refuse(cbor, b"bignum is no byte string")
    if not read_string(cbor, readings, &string, False, &text):
        return False
    out.bytes = (readings.arena if text.is_own else cbor.chunk) + text.at
    out.size = text.size
    while out.size and out.bytes[0] == 0:
        out.bytes += 1
        out.size -= 1
    if out.size > MAX_BIGNUM_BYTES:
        return refuse(cbor, b"bignum of more than 64 bytes")
    out.is_one_more = out.is_negative
    if out.size < 8:
        out.magnitude = out.is_one_more
        out.is_one_more = False
        for i in range(out.size):
            out.magnitude += <unsigned long long>out.bytes[i] << (8 * (out.size - 1 - i))
        out.bytes = NULL
    return True


cdef size_t decimal_digits(Mantissa* mantissa, char* to) noexcept:
    """The digits of a mantissa, at most MAX_DIGITS; returns how many."""
    cdef unsigned int[LIMBS + 1] limbs      # least significant first
    cdef char[MAX_DIGITS + 9] reversed_
    cdef unsigned long long carry
    cdef size_t i, count = 0
    cdef int limb, _digit
    for limb in range(<int>LIMBS + 1):
        limbs[limb] = 0
    if mantissa.bytes == NULL:
        limbs[0] = <unsigned int>mantissa.magnitude
        limbs[1] = <unsigned int>(mantissa.magnitude >> 32)
    else:
        for i in range(mantissa.size):
            limbs[i // 4] |= <unsigned int>mantissa.bytes[mantissa.size - 1 - i] << (8 * (i % 4))
        carry = mantissa.is_one_more
        for limb in range(<int>LIMBS + 1):
            carry += limbs[limb]
            limbs[limb] = <unsigned int>carry
            carry >>= 32
    while True:
        carry = 0
        for limb in range(<int>LIMBS, -1, -1):
            carry = carry << 32 | limbs[limb]
            limbs[limb] = <unsigned int>(carry // 1_000_000_000)
            carry = carry % 1_000_000_000
        for _digit in range(9):
            reversed_[count] = c"0" + <char>(carry % 10)
            carry //= 10
            count += 1
        for limb in range(<int>LIMBS + 1):
            if limbs[limb]:
                break
        else:
            break
    for i in range(count):
        to[i] = reversed_[count - 1 - i]
    return count


cdef double decimal(Mantissa* mantissa, long exponent) noexcept:
    """mantissa * 10**exponent."""
    cdef double value
    cdef char[MAX_DIGITS + 20] text
    cdef size_t size
    cdef int divisor = 100_000
    if mantissa.bytes != NULL or not to_double(mantissa.magnitude, exponent, &value):
        size = decimal_digits(mantissa, text)
        text[size] = c"e"
        text[size + 1] = c"-" if exponent < 0 else c"+"
        size += 2
        exponent = -exponent if exponent < 0 else exponent
        while divisor:
            text[size] = c"0" + <char>(exponent // divisor % 10)
            size += 1
            divisor //= 10
        value = number_of_text(<const unsigned char*>text, size)
    return -value if mantissa.is_negative else value


cdef bint read_fraction(Cbor* cbor, Readings readings, unsigned long long tag, double* out) noexcept:
    """An array of exponent and mantissa."""
    cdef Head array, head
    cdef Mantissa mantissa
    cdef long exponent
    cdef double value
    if not read_head(cbor, &array):
        return False
    if array.major != CBOR_ARRAY or (array.info != CBOR_INDEFINITE and array.value != 2):
        return refuse(cbor, b"fraction is no array of two")
    if not read_exponent(cbor, &exponent) or not read_head(cbor, &head):
        return False
    if not read_mantissa(cbor, readings, &head, &mantissa):
        return False
    if array.info == CBOR_INDEFINITE:
        if cbor.at == cbor.end or cbor.at[0] != CBOR_BREAK:
            return refuse(cbor, b"fraction is no array of two")
        cbor.at += 1
    if tag == TAG_DECIMAL_FRACTION:
        out[0] = decimal(&mantissa, exponent)
        return True
    if mantissa.bytes != NULL:
        return refuse(cbor, b"bigfloat of more than 64 bits")
    # exact as a long double, so rounded once
    value = <double>scale(<wide>mantissa.magnitude, <int>exponent)
    out[0] = -value if mantissa.is_negative else value
    return True


cdef bint read_number(Cbor* cbor, Readings readings, double* out) noexcept:
    cdef Head head
    cdef Mantissa mantissa
    if not read_head(cbor, &head):
        return False
    if head.major == CBOR_UNSIGNED:
        out[0] = <double>head.value
        return True
    if head.major == CBOR_SIMPLE and 25 <= head.info <= 27:
        if head.info == 27:
            memcpy(out, &head.value, 8)
        else:
            out[0] = half(head.value) if head.info == 25 else float_of(<unsigned int>head.value)
        return True
    if head.major == CBOR_TAG and TAG_DECIMAL_FRACTION <= head.value <= TAG_BIGFLOAT:
        return read_fraction(cbor, readings, head.value, out)
    if not read_mantissa(cbor, readings, &head, &mantissa):
        return False
    out[0] = decimal(&mantissa, 0)
    return True


cdef bint skip_items(Cbor* cbor, Head* head, int depth) noexcept:
    """The items of an array or a map."""
    cdef unsigned long long left = head.value
    while head.info == CBOR_INDEFINITE or left:
        if head.info == CBOR_INDEFINITE and cbor.at < cbor.end and cbor.at[0] == CBOR_BREAK:
            cbor.at += 1
            return True
        if not skip_item(cbor, depth):
            return False
        if head.major == CBOR_MAP and not skip_item(cbor, depth):
            return False
        left -= 1
    return True


cdef bint skip_item(Cbor* cbor, int depth) noexcept:
    cdef Head head, piece
    if not read_head(cbor, &head):
        return False
    if head.major <= CBOR_NEGATIVE:
        return True
    if head.major <= CBOR_TEXT:
        if head.info != CBOR_INDEFINITE:
            return step_over_string(cbor, &head, True)
        while is_piece(cbor, &piece, head.major):
            if not step_over_string(cbor, &piece, True):
                return False
        return cbor.detail == NULL
    if head.major == CBOR_SIMPLE:
        return True if head.info != CBOR_INDEFINITE else refuse(cbor, b"break where an item is expected")
    if depth >= CBOR_MAX_DEPTH:
        return refuse(cbor, b"nested too deep")
    return skip_item(cbor, depth + 1) if head.major == CBOR_TAG else skip_items(cbor, &head, depth + 1)
