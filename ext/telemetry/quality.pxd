# Quality of a reading after QARTOD, and the reasons for it: the one place where the bits are given. docs/quality.md and
# the view ioc.quality_reasons say the same (tests/integration/store/test_quality.py).

from libc.math cimport INFINITY

cdef enum Quality:
    QUALITY_GOOD = 1
    QUALITY_NOT_EVALUATED = 2
    QUALITY_SUSPECT = 3
    QUALITY_FAIL = 4
    QUALITY_MISSING = 9

# Two bits a test: the lower says that the reading failed, the higher that it is suspect.
cdef enum QualityReason:
    REASON_GROSS_RANGE_FAIL = 1
    REASON_GROSS_RANGE_SUSPECT = 2
    REASON_CLIMATOLOGY_FAIL = 4
    REASON_CLIMATOLOGY_SUSPECT = 8
    # These are found in the store (store/rollup/steps), which knows the readings before and after.
    REASON_SPIKE_FAIL = 16
    REASON_SPIKE_SUSPECT = 32
    REASON_RATE_OF_CHANGE_FAIL = 64
    REASON_RATE_OF_CHANGE_SUSPECT = 128
    REASON_FLAT_LINE_FAIL = 256
    REASON_FLAT_LINE_SUSPECT = 512
    REASON_TIME_GAP_FAIL = 1024
    REASON_TIME_GAP_SUSPECT = 2048
    # What the source says of its own reading: Circular 10/2021 status 01 and 02, and flags of other data providers.
    REASON_CALIBRATION = 4096           # fail
    REASON_DEVICE_FAULT = 8192          # fail
    REASON_SOURCE_SUSPECT = 16384
    REASON_SOURCE_INVALID = 32768       # fail
    REASONS_OF_FAIL = 46421             # all of the above that are fail

cdef struct Span:                       # both bounds belong to it
    double low
    double high

# What one month, or all of the year, asks of a value.
cdef struct Expected:
    Span fail                           # infinite where open
    Span suspect
    unsigned char is_given


cdef inline int month_of(long long time_ms) noexcept nogil:
    """Month of a time, 0 to 11, at +07:00, which has been Hanoi's since 1975.

    Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    """
    cdef long long day = (time_ms + 7 * 3_600_000) // 86_400_000 + 719_468     # since March of the year 0; rounds down
    cdef long long of_era = day % 146_097
    cdef long long year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    cdef long long month = (5 * (of_era - (365 * year + year // 4 - year // 100)) + 2) // 153      # from March on
    return <int>(month + 2 if month < 10 else month - 10)


cdef inline unsigned short against(const Expected* expected, double value, unsigned short fail,
                                   unsigned short suspect) noexcept nogil:
    """`fail` or `suspect` as the value is outside a span, or 0."""
    if value < expected.fail.low or value > expected.fail.high:
        return fail
    if value < expected.suspect.low or value > expected.suspect.high:
        return suspect
    return 0


cdef inline Expected anything() noexcept nogil:
    cdef Expected expected
    expected.fail.low = expected.suspect.low = -INFINITY
    expected.fail.high = expected.suspect.high = INFINITY
    expected.is_given = 0
    return expected
