# cython: language_level=3
"""ReadingBatch, decoded from its bytes without protobuf objects."""

from libc.math cimport isfinite
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from ext.telemetry.frames cimport REASON_NONE, REASON_VALUE_NOT_FINITE
from ext.telemetry.protobuf cimport (
    WIRE_BYTES,
    WIRE_FIXED64,
    WIRE_VARINT,
    Wire,
    read_bytes,
    read_tag,
    read_varint,
    skip_field,
    zigzag,
)
from ext.telemetry.readings cimport (
    OWN_DEVICE,
    TEXT_BOOLEAN,
    TEXT_DATA,
    TEXT_STRING,
    DeviceName,
    RawReading,
    RawText,
    Readings,
    Span,
    Text,
)
from ext.wire.utf8 cimport is_utf8


cdef extern from *:
    bint add_overflows "__builtin_add_overflow"(long long a, long long b, long long* out) noexcept nogil

cdef enum Field:
    FIELD_BASE_TIME = 1
    FIELD_DEVICES = 2
    FIELD_METRICS = 3
    FIELD_UNITS = 4
    FIELD_DEVICE_INDEX = 5
    FIELD_METRIC_INDEX = 6
    FIELD_TIME_DELTA = 7
    FIELD_VALUE = 8
    FIELD_TEXTS = 9

cdef enum TextField:                # of TextReading
    TEXT_FIELD_DEVICE = 1
    TEXT_FIELD_METRIC = 2
    TEXT_FIELD_TIME = 3
    TEXT_FIELD_STRING = 4
    TEXT_FIELD_BOOLEAN = 5
    TEXT_FIELD_DATA = 6

cdef enum:
    DEVICES_TAG = 2 << 3 | 2        # FIELD_DEVICES, WIRE_BYTES: one byte, as the length of a usual id
    KIND_MISSING = 0


cdef inline bint is_ascii(const unsigned char* at, size_t size) noexcept nogil:
    """Of at least eight bytes; False may also mean fewer."""
    cdef unsigned long long word, seen = 0
    cdef size_t i = 0
    if size < 8:
        return False
    while i + 8 < size:
        memcpy(&word, at + i, 8)
        seen |= word
        i += 8
    memcpy(&word, at + size - 8, 8)
    return (seen | word) & 0x8080808080808080ULL == 0


cdef int reserve(Column* column, size_t more) noexcept:
    cdef size_t room
    cdef void* grown
    if column.count + more <= column.capacity:
        return 0
    room = max(column.count + more, column.capacity * 2, <size_t>256)
    grown = realloc(column.items, room * sizeof(long long))
    if grown == NULL:
        column.ran_out = True
        return -1
    column.items = <long long*>grown
    column.capacity = room
    return 0


cdef bint put_place(Column* column, Text* text) noexcept:
    """Where in the chunk a string is, as two entries."""
    if reserve(column, 2):
        return False
    column.items[column.count] = text.at
    column.items[column.count + 1] = text.size
    column.count += 2
    return True


cdef inline void take_place(Column* column, size_t at, Text* out) noexcept:
    out.at = column.items[2 * at]
    out.size = <unsigned int>column.items[2 * at + 1]
    out.is_own = 0


cdef bint read_varints(Wire* wire, unsigned int wire_type, Column* column, bint is_signed) noexcept:
    """A repeated uint32 or sint64, packed or one by one."""
    cdef Wire packed
    cdef unsigned long long raw = 0
    cdef long long* to
    cdef int i
    if wire_type == WIRE_VARINT:
        if not read_varint(wire, &raw) or reserve(column, 1):
            return False
        column.items[column.count] = zigzag(raw) if is_signed else <unsigned int>raw
        column.count += 1
        return True
    if not read_bytes(wire, &packed) or reserve(column, packed.end - packed.at):
        return False
    to = column.items + column.count
    while packed.at < packed.end:
        if not is_signed and packed.end - packed.at >= 8 and is_ascii(packed.at, 8):
            for i in range(8):
                to[i] = packed.at[i]
            to += 8
            packed.at += 8
            continue
        if packed.at[0] < 0x80:
            raw = packed.at[0]
            packed.at += 1
        elif not read_varint(&packed, &raw):
            return False
        to[0] = zigzag(raw) if is_signed else <unsigned int>raw
        to += 1
    column.count = to - column.items
    return True


cdef bint read_doubles(Wire* wire, unsigned int wire_type, Column* column) noexcept:
    """A repeated double, packed or one by one, as its bits."""
    cdef Wire packed
    cdef size_t size
    if wire_type == WIRE_FIXED64:
        packed.at = wire.at
        packed.end = wire.at + 8
        if wire.end - wire.at < 8:
            return False
        wire.at += 8
    elif not read_bytes(wire, &packed):
        return False
    size = packed.end - packed.at
    if size % 8 or reserve(column, size // 8):
        return False
    memcpy(column.items + column.count, packed.at, size)
    column.count += size // 8
    return True


cdef bint is_one_of(unsigned int wire_type, unsigned int single) noexcept:
    return wire_type == single or wire_type == WIRE_BYTES


cdef class BatchDecoder:
    """Holds the columns while a payload is decoded, so that their memory is used again."""

    def __dealloc__(self):
        free(self.device_index.items)
        free(self.metric_index.items)
        free(self.time_delta.items)
        free(self.value.items)
        free(self.metrics.items)
        free(self.units.items)

    cdef bint ran_out(self) noexcept:
        """Whether memory ran out since the last time this was asked."""
        cdef bint found = (self.device_index.ran_out or self.metric_index.ran_out or self.time_delta.ran_out
                           or self.value.ran_out or self.metrics.ran_out or self.units.ran_out)
        self.device_index.ran_out = False
        self.metric_index.ran_out = False
        self.time_delta.ran_out = False
        self.value.ran_out = False
        self.metrics.ran_out = False
        self.units.ran_out = False
        return found

    cdef bint fail(self, const char* detail) noexcept:
        self.detail = detail
        return False

    cdef bint decode(self, const unsigned char* payload, size_t size, const unsigned char* chunk,
                     Readings readings) noexcept:
        cdef Wire wire
        cdef long long base_ms = 0
        self.device_index.count = 0
        self.metric_index.count = 0
        self.time_delta.count = 0
        self.value.count = 0
        self.metrics.count = 0
        self.units.count = 0
        wire.at = payload
        wire.end = payload + size
        self.detail = b"not a protobuf message"
        if not self.read_fields(&wire, &base_ms, chunk, readings):
            self.offset = wire.at - payload
            return False
        self.offset = 0
        return self.lay_out(base_ms, readings)

    cdef bint read_fields(self, Wire* wire, long long* base_ms, const unsigned char* chunk,
                          Readings readings) noexcept:
        cdef unsigned int field, wire_type
        cdef unsigned long long raw
        cdef Wire inner
        cdef Text text
        text.is_own = 0
        while wire.at < wire.end:
            if wire.at[0] == DEVICES_TAG and not self.read_devices(wire, chunk, readings):
                return False
            if wire.at == wire.end:
                break
            if not read_tag(wire, &field, &wire_type):
                return False
            if field == FIELD_VALUE and is_one_of(wire_type, WIRE_FIXED64):
                if not read_doubles(wire, wire_type, &self.value):
                    return False
            elif field == FIELD_DEVICE_INDEX and is_one_of(wire_type, WIRE_VARINT):
                if not read_varints(wire, wire_type, &self.device_index, False):
                    return False
            elif field == FIELD_METRIC_INDEX and is_one_of(wire_type, WIRE_VARINT):
                if not read_varints(wire, wire_type, &self.metric_index, False):
                    return False
            elif field == FIELD_TIME_DELTA and is_one_of(wire_type, WIRE_VARINT):
                if not read_varints(wire, wire_type, &self.time_delta, True):
                    return False
            elif FIELD_DEVICES <= field <= FIELD_UNITS and wire_type == WIRE_BYTES:
                if not read_bytes(wire, &inner):
                    return False
                if not is_utf8(inner.at, inner.end - inner.at):
                    return self.fail(b"not UTF-8")
                text.at = inner.at - chunk
                text.size = <unsigned int>(inner.end - inner.at)
                if field == FIELD_DEVICES:
                    if readings.add_device(&text):
                        return False
                elif not put_place(&self.metrics if field == FIELD_METRICS else &self.units, &text):
                    return False
            elif field == FIELD_TEXTS and wire_type == WIRE_BYTES:
                if not read_bytes(wire, &inner) or not self.read_text(&inner, chunk, readings):
                    return False
            elif field == FIELD_BASE_TIME and wire_type == WIRE_VARINT:
                if not read_varint(wire, &raw):
                    return False
                base_ms[0] = zigzag(raw)
            elif not skip_field(wire, field, wire_type, 0):
                return False
        return True

    cdef bint read_devices(self, Wire* wire, const unsigned char* chunk, Readings readings) noexcept:
        cdef const unsigned char* at = wire.at
        cdef DeviceName* entry
        cdef size_t size
        while wire.end - at >= 2 and at[0] == DEVICES_TAG and at[1] < 0x80:
            size = at[1]
            at += 2
            if size > <size_t>(wire.end - at):
                return False
            if not is_ascii(at, size) and not is_utf8(at, size):
                return self.fail(b"not UTF-8")
            if readings.device_count == readings.device_capacity and readings.reserve_devices(1):
                return False
            entry = &readings.devices[readings.device_count]
            entry.name.at = at - chunk
            entry.name.size = <unsigned int>size
            entry.name.is_own = 0
            entry.reason = REASON_NONE
            entry.device = NULL
            readings.device_count += 1
            at += size
            wire.at = at
        return True

    cdef bint read_text(self, Wire* wire, const unsigned char* chunk, Readings readings) noexcept:
        cdef RawText text
        cdef Wire inner
        cdef unsigned int field, wire_type
        cdef unsigned long long raw
        text.device = 0
        text.metric = 0
        text.time_ms = 0
        text.kind = KIND_MISSING
        text.reason = REASON_NONE
        text.value.at = 0
        text.value.size = 0
        text.value.is_own = 0
        while wire.at < wire.end:
            if not read_tag(wire, &field, &wire_type):
                return False
            if field <= TEXT_FIELD_TIME and wire_type == WIRE_VARINT:
                if not read_varint(wire, &raw):
                    return False
                if field == TEXT_FIELD_DEVICE:
                    text.device = <unsigned int>raw
                elif field == TEXT_FIELD_METRIC:
                    text.metric = <unsigned int>raw
                else:
                    text.time_ms = zigzag(raw)
            elif (field == TEXT_FIELD_STRING or field == TEXT_FIELD_DATA) and wire_type == WIRE_BYTES:
                if not read_bytes(wire, &inner):
                    return False
                if field == TEXT_FIELD_STRING and not is_utf8(inner.at, inner.end - inner.at):
                    return self.fail(b"not UTF-8")
                text.kind = TEXT_STRING if field == TEXT_FIELD_STRING else TEXT_DATA
                text.value.at = inner.at - chunk
                text.value.size = <unsigned int>(inner.end - inner.at)
                text.value.is_own = 0
            elif field == TEXT_FIELD_BOOLEAN and wire_type == WIRE_VARINT:
                if not read_varint(wire, &raw):
                    return False
                text.kind = TEXT_BOOLEAN
                if readings.put_own(b"true" if raw else b"false", 4 if raw else 5, &text.value):
                    return False
            elif not skip_field(wire, field, wire_type, 0):
                return False
        return readings.add_text(&text) == 0

    cdef bint lay_out_texts(self, long long base_ms, Readings readings) noexcept:
        """Indices of the payload to those of the chunk."""
        cdef Span* span = &readings.spans[readings.span_count - 1]
        cdef size_t devices = readings.device_count - span.first_device
        cdef RawText* text
        cdef size_t i
        for i in range(span.first_text, readings.text_count):
            text = &readings.texts[i]
            if text.kind == KIND_MISSING:
                return self.fail(b"text reading without a value")
            if text.metric >= self.metrics.count:
                return self.fail(b"metric_index beyond metrics")
            text.metric = <unsigned int>self.metrics.items[text.metric]
            if devices:
                if text.device >= devices:
                    return self.fail(b"device_index beyond devices")
                text.device += <unsigned int>span.first_device
            elif text.device:
                return self.fail(b"device_index beyond devices")
            else:
                text.device = OWN_DEVICE
            if add_overflows(base_ms, text.time_ms, &text.time_ms):
                return self.fail(b"time beyond 64 bits")
        return True

    cdef bint name_metrics(self, Readings readings) noexcept:
        """Names and units of `metrics` to places in the chunk, which take over its column."""
        cdef size_t count = self.metrics.count // 2
        cdef Text name, unit
        cdef Py_ssize_t place
        cdef size_t i
        if count == 0:
            return self.fail(b"no metrics")
        if self.units.count and self.units.count != self.metrics.count:
            return self.fail(b"units: neither empty nor as long as metrics")
        unit.at = 0
        unit.size = 0
        unit.is_own = 1
        for i in range(count):
            take_place(&self.metrics, i, &name)
            if self.units.count:
                take_place(&self.units, i, &unit)
            place = readings.use_metric(&name, &unit)
            if place < 0:
                return self.fail(b"out of memory")
            self.metrics.items[i] = place
        self.metrics.count = count
        return True

    cdef bint lay_out(self, long long base_ms, Readings readings) noexcept:
        """Columns to readings; every column is as long as `value`, or has one entry for all, or none for zeros."""
        cdef Span* span = &readings.spans[readings.span_count - 1]
        cdef size_t count = self.value.count
        cdef size_t devices = readings.device_count - span.first_device
        cdef size_t i
        cdef size_t device_step = self.device_index.count > 1
        cdef size_t metric_step = self.metric_index.count > 1
        cdef long long zero = 0
        cdef long long time_ms = base_ms
        cdef long long* device_at = self.device_index.items if self.device_index.count else &zero
        cdef long long* metric_at = self.metric_index.items if self.metric_index.count else &zero
        cdef long long* delta_at = self.time_delta.items
        cdef double* value_at = <double*>self.value.items
        cdef RawReading* reading
        if count == 0 and readings.text_count == span.first_text:
            return self.fail(b"no values")
        if not self.name_metrics(readings):
            return False
        if self.device_index.count > 1 and self.device_index.count != count:
            return self.fail(b"device_index: neither empty nor of one entry nor as long as value")
        if self.metric_index.count > 1 and self.metric_index.count != count:
            return self.fail(b"metric_index: neither empty nor of one entry nor as long as value")
        if self.time_delta.count > 1 and self.time_delta.count != count:
            return self.fail(b"time_delta_ms: neither empty nor of one entry nor as long as value")
        if readings.reserve_readings(count):
            return self.fail(b"out of memory")
        if count and self.time_delta.count == 1 and add_overflows(base_ms, delta_at[0], &time_ms):
            return self.fail(b"time beyond 64 bits")
        reading = readings.readings + readings.count
        for i in range(count):
            if self.time_delta.count > 1:
                if add_overflows(time_ms, delta_at[i], &time_ms):
                    return self.fail(b"time beyond 64 bits")
            reading.time_ms = time_ms
            reading.value = value_at[i]
            if <size_t>metric_at[0] >= self.metrics.count:
                return self.fail(b"metric_index beyond metrics")
            reading.metric = <unsigned int>self.metrics.items[metric_at[0]]
            if devices:
                if <size_t>device_at[0] >= devices:
                    return self.fail(b"device_index beyond devices")
                reading.device = <unsigned int>(span.first_device + device_at[0])
            else:
                if device_at[0] != 0:
                    return self.fail(b"device_index beyond devices")
                reading.device = OWN_DEVICE
            reading.reason = REASON_NONE if isfinite(reading.value) else REASON_VALUE_NOT_FINITE
            reading += 1
            device_at += device_step
            metric_at += metric_step
        readings.count += count
        return self.lay_out_texts(base_ms, readings)
