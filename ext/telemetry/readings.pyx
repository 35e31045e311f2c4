# cython: language_level=3
"""Readings by name: what decode gives and resolve takes, in arrays that are reused from chunk to chunk."""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from ext.telemetry.frames cimport REASON_NONE

from ext.telemetry.frames import REASON_NAMES

KIND_NAMES = ("", "string", "boolean", "data")


cdef int grow(Readings readings, void** array, size_t* capacity, size_t wanted, size_t item_bytes) noexcept:
    cdef size_t room
    cdef void* grown
    if wanted <= capacity[0]:
        return 0
    room = max(wanted, capacity[0] * 2, <size_t>256)
    grown = realloc(array[0], room * item_bytes)
    if grown == NULL:
        readings.ran_out = True
        return -1
    array[0] = grown
    capacity[0] = room
    return 0


cdef class StageCounters:
    """What went into a stage, what came out, what it refused and why. Never reset."""

    @property
    def refused(self) -> dict:
        """Refused items by the name of the reason; a reason that never occurred is absent."""
        cdef int i
        return {REASON_NAMES[i]: self.refused_by[i] for i in range(<int>REASON_COUNT) if self.refused_by[i]}

    @property
    def refused_total(self) -> int:
        cdef unsigned long long total = 0
        cdef int i
        for i in range(<int>REASON_COUNT):
            total += self.refused_by[i]
        return total


cdef class Readings:
    """The readings of one chunk, numbers and texts; `len(readings)` of them, refused payloads not counted.

    They point into the chunk they were decoded from, which must not be changed or cleared before they are resolved.
    """

    def __dealloc__(self):
        free(self.readings)
        free(self.texts)
        free(self.devices)
        free(self.metrics)
        free(self.spans)
        free(self.refusals)
        free(self.arena)

    def __len__(self) -> int:
        return self.count + self.text_count

    @property
    def refused_frames(self) -> int:
        """Payloads that could not be decoded."""
        return self.refusal_count

    def clear(self, FrameChunk chunk=None) -> None:
        """Forget everything and take the readings of `chunk` next."""
        self.chunk = chunk
        self.count = 0
        self.text_count = 0
        self.device_count = 0
        self.metric_count = 0
        self.span_count = 0
        self.refusal_count = 0
        self.arena_size = 0
        self.ran_out = False

    cdef int reserve_readings(self, size_t more) noexcept:
        return grow(self, <void**>&self.readings, &self.capacity, self.count + more, sizeof(RawReading))

    cdef int reserve_spans(self, size_t more) noexcept:
        return grow(self, <void**>&self.spans, &self.span_capacity, self.span_count + more, sizeof(Span))

    cdef int reserve_devices(self, size_t more) noexcept:
        return grow(self, <void**>&self.devices, &self.device_capacity, self.device_count + more, sizeof(DeviceName))

    cdef int reserve_arena(self, size_t more) noexcept:
        return grow(self, <void**>&self.arena, &self.arena_capacity, self.arena_size + more, 1)

    cdef int put_own(self, const void* data, size_t size, Text* out) noexcept:
        if self.reserve_arena(size):
            return -1
        if size:        # data may be NULL
            memcpy(self.arena + self.arena_size, data, size)
        out.at = self.arena_size
        out.size = <unsigned int>size
        out.is_own = 1
        self.arena_size += size
        return 0

    cdef int add_text(self, RawText* text) noexcept:
        if grow(self, <void**>&self.texts, &self.text_capacity, self.text_count + 1, sizeof(RawText)):
            return -1
        self.texts[self.text_count] = text[0]
        self.text_count += 1
        return 0

    cdef int add_device(self, Text* name) noexcept:
        cdef DeviceName* entry
        if grow(self, <void**>&self.devices, &self.device_capacity, self.device_count + 1, sizeof(DeviceName)):
            return -1
        entry = &self.devices[self.device_count]
        self.device_count += 1
        entry.name = name[0]
        entry.reason = REASON_NONE
        entry.device = NULL
        return 0

    cdef int add_metric(self, Text* name, Text* unit) noexcept:
        cdef MetricName* entry
        if grow(self, <void**>&self.metrics, &self.metric_capacity, self.metric_count + 1, sizeof(MetricName)):
            return -1
        entry = &self.metrics[self.metric_count]
        self.metric_count += 1
        entry.name = name[0]
        entry.unit = unit[0]
        entry.is_plain = False
        entry.reason = REASON_NONE
        entry.named_num = 0
        entry.metric_num = 0
        entry.type_num = 0
        entry.conversion = NULL
        entry.in_type = NULL
        return 0

    cdef Py_ssize_t add_recent(self, Text* name, Text* unit) noexcept:
        if self.add_metric(name, unit):
            return -1
        self.recent[recent_place(text_at(self, name), name.size, unit.size)] = <unsigned int>(self.metric_count - 1)
        return self.metric_count - 1

    cdef Py_ssize_t use_metric(self, Text* name, Text* unit) noexcept:
        cdef MetricName* found = recent_metric(self, name, unit)
        return found - self.metrics if found != NULL else self.add_recent(name, unit)

    cdef int add_refusal(self, size_t frame, unsigned char encoding, unsigned char reason, const char* detail,
                         size_t offset) noexcept:
        cdef Refusal* entry
        if grow(self, <void**>&self.refusals, &self.refusal_capacity, self.refusal_count + 1, sizeof(Refusal)):
            return -1
        entry = &self.refusals[self.refusal_count]
        self.refusal_count += 1
        entry.frame = frame
        entry.encoding = encoding
        entry.reason = reason
        entry.detail = detail
        entry.offset = offset
        return 0

    cdef Span* open_span(self, size_t frame, unsigned char encoding) noexcept:
        return begin_span(self, frame, encoding)

    cdef void close_span(self) noexcept:
        end_span(self)

    cdef void drop_span(self) noexcept:
        cdef Span* span = &self.spans[self.span_count - 1]
        self.count = span.first_reading
        self.text_count = span.first_text
        self.device_count = span.first_device
        self.metric_count = span.first_metric
        self.span_count -= 1

    cdef const unsigned char* bytes_of(self, Text* text) noexcept:
        return text_at(self, text)

    def rows(self) -> list:
        """Every number as (frame, device or None, metric, unit, time_ms, value, reason): for tests and tools."""
        cdef Span* span
        cdef RawReading* reading
        found = []
        for s in range(self.span_count):
            span = &self.spans[s]
            for i in range(span.first_reading, span.first_reading + span.readings):
                reading = &self.readings[i]
                device = None
                if reading.device != OWN_DEVICE:
                    device = self.text(&self.devices[reading.device].name)
                found.append((
                    span.frame, device, self.text(&self.metrics[reading.metric].name),
                    self.text(&self.metrics[reading.metric].unit), reading.time_ms, reading.value,
                    REASON_NAMES[reading.reason],
                ))
        return found

    def text_rows(self) -> list:
        """Every text as (frame, device or None, metric, time_ms, kind, value in bytes, reason): for tests and tools."""
        cdef Span* span
        cdef RawText* text
        found = []
        for s in range(self.span_count):
            span = &self.spans[s]
            for i in range(span.first_text, span.first_text + span.texts):
                text = &self.texts[i]
                device = None
                if text.device != OWN_DEVICE:
                    device = self.text(&self.devices[text.device].name)
                found.append((
                    span.frame, device, self.text(&self.metrics[text.metric].name), text.time_ms,
                    KIND_NAMES[text.kind], self.bytes_of(&text.value)[: text.value.size], REASON_NAMES[text.reason],
                ))
        return found

    def refusals_list(self) -> list:
        """Every refused payload as (frame, reason, detail, offset): for tests and tools."""
        return [
            (self.refusals[i].frame, REASON_NAMES[self.refusals[i].reason], self.refusals[i].detail.decode(),
             self.refusals[i].offset)
            for i in range(self.refusal_count)
        ]

    cdef str text(self, Text* text):
        return self.bytes_of(text)[: text.size].decode()
