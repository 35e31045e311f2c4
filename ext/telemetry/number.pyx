# cython: language_level=3
"""JSON numbers to doubles, correctly rounded.

Three ways, the first that is exact: digits and power of ten both doubles (Clinger 1990); one 64 x 128 bit product
(Lemire, "Number parsing at a gigabyte per second", 2021); CPython's strtod.
"""

from libc.string cimport memcpy


cdef extern from "Python.h":
    # Correctly rounded on every platform, deaf to the locale; without an exception for overflow it gives infinity.
    double PyOS_string_to_double(const char* text, char** end, void* overflow_exception) noexcept

cdef extern from *:
    ctypedef unsigned long long uint128 "unsigned __int128"
    int leading_zeros "__builtin_clzll"(unsigned long long word) noexcept nogil
    int trailing_zeros "__builtin_ctzll"(unsigned long long word) noexcept nogil

cdef enum:
    MIN_POWER = -342
    MAX_POWER = 308

cdef struct Power:
    unsigned long long high
    unsigned long long low

cdef double[23] TENS = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
    1e20, 1e21, 1e22,
]
cdef unsigned long long[9] SCALES = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
cdef Power[MAX_POWER - MIN_POWER + 1] FIVES     # 5**q to 128 bits, the highest bit set


cdef int fill_fives() except -1:
    """Positive powers are cut off, negative ones rounded up, so that no product is below the true one's high bits."""
    cdef object one = 1     # Python's integers: no bound
    cdef object five = 5
    cdef object q, whole, bits
    cdef Power* entry
    for q in range(<int>MIN_POWER, <int>MAX_POWER + 1):
        whole = five ** abs(q)
        bits = whole.bit_length()
        if q >= 0:
            whole = whole << (128 - bits) if bits <= 128 else whole >> (bits - 128)
        elif q >= -27:
            whole = (one << (bits + 127)) // whole + 1
        else:
            whole = (one << (2 * bits + 128)) // whole + 1
            whole >>= whole.bit_length() - 128
        entry = &FIVES[<int>q - <int>MIN_POWER]
        entry.high = whole >> 64
        entry.low = whole & 0xFFFFFFFFFFFFFFFF
    return 0


fill_fives()


cdef inline const unsigned char* read_digits(const unsigned char* at, const unsigned char* end,
                                             unsigned long long* digits) noexcept nogil:
    """Appends the digits from `at` on to a number; it overflows at the 20th significant one.

    Eight bytes at a time, without a branch on how many of them are digits: the others are shifted out at the top, which
    leaves leading zeros below.
    """
    cdef unsigned long long value = digits[0]
    cdef unsigned long long word, others
    cdef int count = 8
    cdef unsigned int c
    while end - at >= 8:
        memcpy(&word, at, 8)
        word ^= 0x3030303030303030ULL
        others = (word | (word + 0x7676767676767676ULL)) & 0x8080808080808080ULL
        if others:
            count = trailing_zeros(others) >> 3
            word = word << (8 * (7 - count)) << 8
        # neighbours joined to pairs, pairs to fours, fours to eight
        word = word * 10 + (word >> 8)
        value = value * SCALES[count] + (((word & 0x000000FF000000FFULL) * 0x000F424000000064ULL
                                          + ((word >> 16) & 0x000000FF000000FFULL) * 0x0000271000000001ULL) >> 32)
        at += count
        if others:
            digits[0] = value
            return at
    while at < end:
        c = at[0] - <unsigned int>c"0"
        if c > 9:
            break
        value = value * 10 + c
        at += 1
    digits[0] = value
    return at


cdef long significant_digits(const unsigned char* at, const unsigned char* end) noexcept nogil:
    """Of a number without sign and exponent."""
    cdef long count = 0
    while at < end:
        if at[0] != c"." and (count or at[0] != c"0"):
            count += 1
        at += 1
    return count


cdef double number_of_text(const unsigned char* at, size_t size) noexcept:
    cdef char[MAX_NUMBER_BYTES + 1] text
    memcpy(text, at, size)
    text[size] = 0
    return PyOS_string_to_double(text, NULL, NULL)


cdef bint by_product(unsigned long long digits, long power, double* out) noexcept nogil:
    """digits * 10**power, digits > 0; false: not to be had this way."""
    cdef int zeros = leading_zeros(digits)
    cdef unsigned long long word = digits << zeros
    cdef Power* five
    cdef uint128 product
    cdef unsigned long long high, low, second, mantissa
    cdef int upper, shift
    cdef long exponent
    if power < -300 or power > 280:
        return False
    five = &FIVES[power - MIN_POWER]
    product = <uint128>word * five.high
    high = <unsigned long long>(product >> 64)
    low = <unsigned long long>product
    if high & 0x1FF == 0x1FF:       # the missing low half could carry into the bits that decide
        second = <unsigned long long>((<uint128>word * five.low) >> 64)
        low += second
        if low < second:
            high += 1
    if low == 0xFFFFFFFFFFFFFFFFULL and not -27 <= power <= 55:
        return False
    upper = <int>(high >> 63)
    shift = upper + 9
    mantissa = high >> shift
    exponent = (((152170 + 65536) * power) >> 16) + 63 + upper - zeros + 1023
    if exponent <= 0 or exponent >= 2046:
        return False
    # Exactly half way: the digits were a tie, to even.
    if low <= 1 and -4 <= power <= 23 and mantissa & 3 == 1 and mantissa << shift == high:
        mantissa -= 1
    mantissa += mantissa & 1
    mantissa >>= 1
    if mantissa >> 53:
        mantissa = 1ULL << 52
        exponent += 1
    mantissa = (mantissa & 0xFFFFFFFFFFFFFULL) | (<unsigned long long>exponent << 52)
    memcpy(out, &mantissa, 8)
    return True


cdef bint to_double(unsigned long long digits, long power, double* out) noexcept nogil:
    if digits == 0:
        out[0] = 0.0
        return True
    if digits <= 9007199254740992ULL and -22 <= power <= 22:
        if power < 0:
            out[0] = <double>digits / TENS[-power]
        else:
            out[0] = <double>digits * TENS[power]
        return True
    return by_product(digits, power, out)


cdef const unsigned char* read_number(const unsigned char* at, const unsigned char* end, double* out) noexcept:
    cdef const unsigned char* start = at
    cdef const unsigned char* first
    cdef const unsigned char* mark
    cdef unsigned long long digits = 0
    cdef long power = 0
    cdef long exponent = 0
    cdef bint negative = False
    cdef bint exponent_negative = False
    cdef double value
    cdef unsigned int c
    if at < end and at[0] == c"-":
        negative = True
        at += 1
    first = at
    if at == end:
        return NULL
    if at[0] == c"0":
        at += 1
    else:
        at = read_digits(at, end, &digits)
        if at == first:
            return NULL
    if at < end and at[0] == c".":
        mark = at + 1
        at = read_digits(mark, end, &digits)
        if at == mark:
            return NULL
        power = mark - at
    mark = at
    if at < end and (at[0] == c"e" or at[0] == c"E"):
        at += 1
        if at < end and (at[0] == c"-" or at[0] == c"+"):
            exponent_negative = at[0] == c"-"
            at += 1
        if at == end or at[0] - <unsigned int>c"0" > 9:
            return NULL
        while at < end:
            c = at[0] - <unsigned int>c"0"
            if c > 9:
                break
            if exponent < 100_000:
                exponent = exponent * 10 + c
            at += 1
        power += -exponent if exponent_negative else exponent
    if at - start > MAX_NUMBER_BYTES:
        return NULL
    # 19 digits and a point; with more, `digits` has overflowed unless the first ones are zeros
    if mark - first > 19 and significant_digits(first, mark) > 19:
        out[0] = number_of_text(start, at - start)
        return at
    if not to_double(digits, power, &value):
        value = number_of_text(first, at - first)
    out[0] = -value if negative else value
    return at


def parse_number(bytes text not None) -> float:
    """The double that a JSON number stands for. Raises ValueError if `text` is not exactly one JSON number."""
    cdef double value = 0.0
    cdef const unsigned char* at = text
    if read_number(at, at + len(text), &value) != at + len(text):
        raise ValueError(f"not a JSON number: {text!r}")
    return value
