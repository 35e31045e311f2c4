# cython: language_level=3
"""Moments as text: RFC 3339 section 5.6, years 1 to 9999."""


cdef int[13] DAYS_OF_MONTH = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


cdef bint read_digits(const unsigned char* at, int count, int* out) noexcept nogil:
    cdef int value = 0
    cdef int i
    for i in range(count):
        if not c"0" <= at[i] <= c"9":
            return False
        value = value * 10 + (at[i] - c"0")
    out[0] = value
    return True


cdef long long days_since_1970(int year, int month, int day) noexcept nogil:
    """Proleptic Gregorian calendar; the year is taken to begin in March, so that the leap day is its last."""
    cdef long long y = year - (1 if month <= 2 else 0)
    cdef long long century = y // 400
    cdef long long of_cycle = y - century * 400
    cdef long long of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return century * 146_097 + of_cycle * 365 + of_cycle // 4 - of_cycle // 100 + of_year - 719_468


cdef bint read_rfc3339(const unsigned char* at, size_t size, long long* out) noexcept nogil:
    cdef const unsigned char* end = at + size
    cdef int year, month, day, hour, minute, second
    cdef int away_hours = 0
    cdef int away_minutes = 0
    cdef int ms = 0
    cdef int weight = 100
    cdef bint is_leap
    cdef long long seconds
    cdef int sign = 1
    if size < 20 or at[4] != c"-" or at[7] != c"-" or at[13] != c":" or at[16] != c":":
        return False
    if at[10] != c"T" and at[10] != c"t" and at[10] != c" ":
        return False
    if not (read_digits(at, 4, &year) and read_digits(at + 5, 2, &month) and read_digits(at + 8, 2, &day)
            and read_digits(at + 11, 2, &hour) and read_digits(at + 14, 2, &minute)
            and read_digits(at + 17, 2, &second)):
        return False
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= DAYS_OF_MONTH[month] \
            or (month == 2 and day == 29 and not is_leap) or hour > 23 or minute > 59 or second > 60:
        return False
    at += 19
    if at[0] == c".":
        at += 1
        if at == end or not c"0" <= at[0] <= c"9":
            return False
        while at < end and c"0" <= at[0] <= c"9":
            ms += (at[0] - c"0") * weight
            weight //= 10
            at += 1
    if at == end:
        return False
    if at[0] == c"Z" or at[0] == c"z":
        if at + 1 != end:
            return False
    else:
        if at[0] == c"-":
            sign = -1
        elif at[0] != c"+":
            return False
        if end - at != 6 or at[3] != c":" or not read_digits(at + 1, 2, &away_hours) \
                or not read_digits(at + 4, 2, &away_minutes) or away_hours > 23 or away_minutes > 59:
            return False
    seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    seconds -= sign * (away_hours * 3600 + away_minutes * 60)
    out[0] = seconds * 1000 + ms
    return True


def rfc3339_ms(bytes text not None) -> int | None:
    """Milliseconds since 1970 UTC, further digits cut off; None: not RFC 3339."""
    cdef long long ms = 0
    return ms if read_rfc3339(text, len(text), &ms) else None
