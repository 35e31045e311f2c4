# cython: language_level=3
"""Payloads of declared binary layouts: fields at fixed places, then perhaps samples of a fixed size."""

from libc.string cimport memcpy

from ext.telemetry.frames cimport REASON_MALFORMED_PAYLOAD, REASON_UNKNOWN_ENCODING
from ext.telemetry.readings cimport Readings
from ext.telemetry.type_decoder cimport Field, Layout, TypeDecoder, add_number, blame, ms_of

cdef enum:
    MAX_PAYLOAD_BYTES = 1048576     # more samples, and a time plus their steps might wrap round

cdef long long NEVER_MS = 0x7FFFFFFFFFFFFFFF


cdef Layout* layout_for(TypeDecoder decoder, int f_port, const unsigned char* at, size_t size) noexcept:
    """The first that fits; NULL: none does."""
    cdef Layout* layout
    cdef int i
    for i in range(decoder.layout_count):
        layout = &decoder.layouts[i]
        if f_port >= 0 and layout.has_ports and not layout.ports[f_port >> 3] >> (f_port & 7) & 1:
            continue
        if layout.has_tags and (size == 0 or not layout.tags[at[0] >> 3] >> (at[0] & 7) & 1):
            continue
        return layout
    return NULL


cdef double raw_value(Field* field, const unsigned char* at, bint is_little) noexcept nogil:
    """The number as it stands there, exact up to 53 bits."""
    cdef unsigned long long word = 0
    cdef unsigned int word32
    cdef float single
    cdef double number
    cdef unsigned int i
    cdef unsigned int width = field.size * 8
    for i in range(field.size):
        word = (word << 8) | at[field.size - 1 - i if is_little else i]
    if field.is_float:
        if field.size == 4:
            word32 = <unsigned int>word
            memcpy(&single, &word32, 4)
            return single
        memcpy(&number, &word, 8)
        return number
    if field.width:
        width = field.width
        word >>= field.bit
        if width < 64:
            word &= (1ULL << width) - 1
    if field.is_signed:
        if width < 64 and word >> (width - 1):
            word |= ~0ULL << width
        return <double><long long>word
    return <double>word


cdef bint is_measured(Field* field, double raw) noexcept nogil:
    cdef int i
    for i in range(field.missing_count):
        if raw == field.missing[i]:
            return False
    if field.missing_nan and raw != raw:
        return False
    return not field.has_valid or field.valid_low <= raw <= field.valid_high


cdef bint add_fields(TypeDecoder decoder, unsigned int first, unsigned int count, bint is_little,
                     const unsigned char* at, Readings readings, long long* time_ms, unsigned int device) noexcept:
    """The readings of fields that begin at `at`, all of the same time, which a field of theirs may set."""
    cdef Field* field
    cdef double raw
    cdef long long metric
    cdef size_t before = readings.count
    cdef size_t i
    cdef bint has_time = False
    for i in range(first, first + count):
        field = &decoder.fields[i]
        if field.source >= 0 or field.time:
            raw = raw_value(field, at, is_little)
            if is_measured(field, raw):
                if field.time:
                    time_ms[0] = ms_of(raw, field.time)
                    has_time = True
                else:
                    metric = decoder.metric_of(readings, field.source)
                    raw = raw * field.factor / field.divisor + field.offset
                    if metric < 0 or not add_number(readings, metric, device, time_ms[0], raw):
                        return False
        if not field.stays:
            at += field.size
    if has_time:
        for i in range(before, readings.count):
            readings.readings[i].time_ms = time_ms[0]
    return True


cdef bint decode_layout(const unsigned char* at, size_t size, int f_port, TypeDecoder decoder, Readings readings,
                        long long time_ms, unsigned int device, Fault* fault) noexcept:
    cdef Layout* layout = layout_for(decoder, f_port, at, size)
    cdef size_t count, wanted, i
    cdef long long sample_ms
    cdef long long anchor = 0
    if layout == NULL:
        if decoder.layout_count == 0:
            return blame(fault, REASON_UNKNOWN_ENCODING, b"the device type has no layout", 0)
        return blame(fault, REASON_MALFORMED_PAYLOAD, b"no layout of the device type is for this f_port and first byte",
                     0)
    if size > MAX_PAYLOAD_BYTES:
        return blame(fault, REASON_MALFORMED_PAYLOAD, b"payload longer than a megabyte", 0)
    count = layout.repeat if layout.group_size else 0
    wanted = layout.fixed_size + count * layout.group_size
    if size < wanted:
        return blame(fault, REASON_MALFORMED_PAYLOAD, b"payload shorter than its layout", size)
    if layout.group_size and count == 0:
        count = (size - layout.fixed_size) // layout.group_size
        wanted = layout.fixed_size + count * layout.group_size
        if size > wanted and not layout.may_be_longer:
            return blame(fault, REASON_MALFORMED_PAYLOAD, b"payload ends within a sample", wanted)
    if size > wanted and not layout.may_be_longer:
        return blame(fault, REASON_MALFORMED_PAYLOAD, b"payload longer than its layout", wanted)
    if not add_fields(decoder, layout.first, layout.count, layout.is_little, at + layout.has_tags, readings, &time_ms,
                      device):
        return blame(fault, REASON_MALFORMED_PAYLOAD, b"out of memory", 0)
    if layout.anchor_last:
        anchor = <long long>count - 1
    at += layout.fixed_size
    for i in range(count):
        sample_ms = time_ms
        if time_ms != NEVER_MS:         # else it would wrap round
            sample_ms += (<long long>i - anchor) * layout.step_ms
        if not add_fields(decoder, layout.group_first, layout.group_count, layout.is_little, at, readings, &sample_ms,
                          device):
            return blame(fault, REASON_MALFORMED_PAYLOAD, b"out of memory", 0)
        at += layout.group_size
    return True
