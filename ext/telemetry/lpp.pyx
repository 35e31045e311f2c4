# cython: language_level=3
"""Cayenne Low Power Payload 2.0: channel, type, big-endian value; type = IPSO object id - 3200.

Names as The Things Stack writes them: `temperature_1`, `accelerometer_2.x`, `gps_3.latitude`.
"""

from libc.string cimport memcpy, strlen

from ext.telemetry.frames cimport REASON_MALFORMED_PAYLOAD
from ext.telemetry.readings cimport Readings, Text
from ext.telemetry.type_decoder cimport NO_SOURCE, TypeDecoder, add_number, blame

cdef enum:
    MAX_NAME = 48               # longer than any of the names with three digits of channel

ctypedef const char* Chars

cdef struct LppType:
    Chars name
    Chars[3] parts
    unsigned char part_count
    unsigned char size          # of one part, bytes
    unsigned char is_signed
    double[3] divisors

cdef LppType[256] TYPES         # size 0: not known


cdef void define(int number, const char* name, int size, bint is_signed, double divisor) noexcept:
    cdef LppType* kind = &TYPES[number]
    kind.name = name
    kind.parts = [b"", b"", b""]
    kind.part_count = 1
    kind.size = <unsigned char>size
    kind.is_signed = is_signed
    kind.divisors = [divisor, divisor, divisor]


cdef void fill_types() noexcept:
    define(0, b"digital_in", 1, False, 1.0)
    define(1, b"digital_out", 1, False, 1.0)
    define(2, b"analog_in", 2, True, 100.0)
    define(3, b"analog_out", 2, True, 100.0)
    define(100, b"generic", 4, False, 1.0)
    define(101, b"luminosity", 2, False, 1.0)
    define(102, b"presence", 1, False, 1.0)
    define(103, b"temperature", 2, True, 10.0)
    define(104, b"relative_humidity", 1, False, 2.0)
    define(113, b"accelerometer", 2, True, 1000.0)
    define(115, b"barometric_pressure", 2, False, 10.0)
    define(116, b"voltage", 2, False, 100.0)
    define(117, b"current", 2, False, 1000.0)
    define(134, b"gyrometer", 2, True, 100.0)
    define(136, b"gps", 3, True, 10_000.0)
    TYPES[113].parts = [b".x", b".y", b".z"]
    TYPES[113].part_count = 3
    TYPES[134].parts = [b".x", b".y", b".z"]
    TYPES[134].part_count = 3
    TYPES[136].parts = [b".latitude", b".longitude", b".altitude"]
    TYPES[136].part_count = 3
    TYPES[136].divisors[2] = 100.0


fill_types()


cdef size_t write_name(char* to, LppType* kind, unsigned char channel, int part) noexcept nogil:
    """`name_channel` and the part's name; returns the length."""
    cdef char* start = to
    cdef size_t size = strlen(kind.name)
    memcpy(to, kind.name, size)
    to += size
    to[0] = c"_"
    to += 1
    if channel >= 100:
        to[0] = c"0" + channel // 100
        to += 1
    if channel >= 10:
        to[0] = c"0" + channel // 10 % 10
        to += 1
    to[0] = c"0" + channel % 10
    to += 1
    size = strlen(kind.parts[part])
    memcpy(to, kind.parts[part], size)
    return <size_t>(to + size - start)


cdef bint decode_lpp(const unsigned char* at, size_t size, TypeDecoder decoder, Readings readings, long long time_ms,
                     unsigned int device, Fault* fault) noexcept:
    cdef const unsigned char* start = at
    cdef const unsigned char* end = at + size
    cdef LppType* kind
    cdef unsigned char channel
    cdef long long raw
    cdef int i, part, source
    cdef size_t name_size
    cdef char[MAX_NAME] name
    cdef Text text, unit
    cdef long long metric
    while at < end:
        if end - at < 2:
            return blame(fault, REASON_MALFORMED_PAYLOAD, b"LPP: cut off within a value", at - start)
        channel = at[0]
        kind = &TYPES[at[1]]
        if kind.size == 0:
            return blame(fault, REASON_MALFORMED_PAYLOAD, b"LPP: type not known", at + 1 - start)
        at += 2
        if end - at < kind.size * kind.part_count:
            return blame(fault, REASON_MALFORMED_PAYLOAD, b"LPP: cut off within a value", at - start)
        for part in range(kind.part_count):
            raw = 0
            for i in range(kind.size):
                raw = (raw << 8) | at[i]
            at += kind.size
            if kind.is_signed and raw >> (8 * kind.size - 1):
                raw -= 1LL << (8 * kind.size)
            name_size = write_name(name, kind, channel, part)
            source = decoder.find_source(<const unsigned char*>name, name_size)
            if source >= 0:
                metric = decoder.metric_of(readings, source)
            elif source == NO_SOURCE:       # by the payload's own name: resolve will say that nobody knows it
                metric = -1
                unit.at = 0
                unit.size = 0
                unit.is_own = 1
                if not readings.put_own(name, name_size, &text) and not readings.add_metric(&text, &unit):
                    metric = <long long>readings.metric_count - 1
            else:
                continue
            if metric < 0 or not add_number(readings, metric, device, time_ms, <double>raw / kind.divisors[part]):
                return blame(fault, REASON_MALFORMED_PAYLOAD, b"out of memory", 0)
    return True
