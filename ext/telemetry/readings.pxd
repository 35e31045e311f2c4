# Readings by name: what decode gives and resolve takes. One arena, no Python object per reading.

from ext.telemetry.byte_hash cimport same_bytes
from ext.telemetry.frames cimport REASON_COUNT, FrameChunk
from ext.telemetry.index cimport Device, TypeMetric, Unit

cdef enum:
    OWN_DEVICE = 0xFFFFFFFF     # RawReading.device: the payload named none, the reading is the sender's

cdef struct Text:               # bytes of the chunk, or of Readings.arena where a payload's text had to be rewritten
    size_t at
    unsigned int size
    unsigned char is_own        # in Readings.arena

cdef struct DeviceName:
    Text name
    unsigned char reason        # from here on filled by resolve
    int slot
    Device* device

cdef struct MetricName:
    Text name
    Text unit                   # size 0: the canonical one
    unsigned char is_plain      # looked at by SenML: of its characters, without a separator
    unsigned char reason        # from here on filled by resolve
    unsigned short named_num    # the metric of the catalogue with this name; 0: none
    unsigned short metric_num   # what it is of the type `type_num`, as are `reason`, `conversion` and `in_type`
    unsigned short type_num
    Unit* conversion
    TypeMetric* in_type

cdef struct RawReading:
    double value                # in the sender's unit
    long long time_ms           # since 1970 UTC
    unsigned int device         # into Readings.devices, or OWN_DEVICE
    unsigned int metric         # into Readings.metrics
    unsigned char reason        # Reason: refused by decode, the rest of its payload goes on

cdef enum TextKind:             # as stored in the column `kind`
    TEXT_STRING = 1
    TEXT_BOOLEAN = 2            # the value is `true` or `false`
    TEXT_DATA = 3               # bytes

# A reading whose value is no number; of no unit, whatever its metric's name was sent with.
cdef struct RawText:
    long long time_ms           # since 1970 UTC
    Text value
    unsigned int device         # into Readings.devices, or OWN_DEVICE
    unsigned int metric         # into Readings.metrics
    unsigned char kind          # TextKind
    unsigned char reason        # Reason: refused by decode, the rest of its payload goes on

# One payload that could be decoded: its readings, texts and devices lie one after the other, and so do the metrics that
# it added.
cdef struct Span:
    size_t frame                # index in the chunk
    size_t first_reading, readings
    size_t first_text, texts
    size_t first_device, devices
    size_t first_metric, metrics
    unsigned char encoding      # the one it was decoded as

# One payload that could not be.
cdef struct Refusal:
    size_t frame
    size_t offset               # into the payload, where decoding stopped
    const char* detail
    unsigned char reason
    unsigned char encoding

cdef class StageCounters:
    cdef public unsigned long long items_in
    cdef public unsigned long long items_out
    cdef unsigned long long refused_by[REASON_COUNT]

cdef enum:
    RECENT = 16

cdef class Readings:
    cdef FrameChunk chunk
    cdef RawReading* readings
    cdef size_t count, capacity
    cdef RawText* texts
    cdef size_t text_count, text_capacity
    cdef DeviceName* devices
    cdef size_t device_count, device_capacity
    cdef MetricName* metrics
    cdef size_t metric_count, metric_capacity
    cdef unsigned int[RECENT] recent    # metrics that use_metric() gave, by a hash of their names
    cdef Span* spans
    cdef size_t span_count, span_capacity
    cdef Refusal* refusals
    cdef size_t refusal_count, refusal_capacity
    cdef unsigned char* arena
    cdef size_t arena_size, arena_capacity
    cdef bint ran_out               # of memory: what was being decoded is not to blame

    # What follows returns 0, or -1 if memory ran out.
    cdef int reserve_readings(self, size_t more) noexcept
    cdef int reserve_spans(self, size_t more) noexcept
    cdef int reserve_devices(self, size_t more) noexcept
    cdef int reserve_arena(self, size_t more) noexcept
    # A copy of these bytes in the arena.
    cdef int put_own(self, const void* data, size_t size, Text* out) noexcept
    cdef int add_text(self, RawText* text) noexcept
    cdef int add_device(self, Text* name) noexcept
    cdef int add_metric(self, Text* name, Text* unit) noexcept
    # The place of a metric in the chunk, added unless it is there already (spans may share one); -1: memory ran out.
    cdef Py_ssize_t use_metric(self, Text* name, Text* unit) noexcept
    # What use_metric() does once recent_metric() has found nothing.
    cdef Py_ssize_t add_recent(self, Text* name, Text* unit) noexcept
    cdef int add_refusal(self, size_t frame, unsigned char encoding, unsigned char reason, const char* detail,
                         size_t offset) noexcept
    # A new span, which starts at the present end of everything; NULL if memory ran out.
    cdef Span* open_span(self, size_t frame, unsigned char encoding) noexcept
    cdef void close_span(self) noexcept
    # Take the open span back, with all that was added since.
    cdef void drop_span(self) noexcept
    cdef const unsigned char* bytes_of(self, Text* text) noexcept
    cdef str text(self, Text* text)


cdef inline const unsigned char* text_at(Readings readings, const Text* text) noexcept:
    """Its bytes, valid until the arena grows."""
    return (readings.arena if text.is_own else readings.chunk.data) + text.at


cdef inline unsigned int recent_place(const unsigned char* name, unsigned int size, unsigned int unit_size) noexcept:
    cdef unsigned int hash = size + unit_size * 7
    if size:
        hash += name[0] * 31 + name[size // 2] * 5 + name[size - 1]
    return hash & (RECENT - 1)


cdef inline MetricName* recent_metric(Readings readings, Text* name, Text* unit) noexcept:
    """A metric of this chunk with this name and unit, if it is among the last ones; else NULL."""
    cdef const unsigned char* at = text_at(readings, name)
    cdef unsigned int found = readings.recent[recent_place(at, name.size, unit.size)]
    cdef MetricName* entry
    if found >= readings.metric_count:      # it may have been dropped, even another put in its place
        return NULL
    entry = &readings.metrics[found]
    if (entry.name.size == name.size and entry.unit.size == unit.size
            and same_bytes(text_at(readings, &entry.name), at, name.size)
            and same_bytes(text_at(readings, &entry.unit), text_at(readings, unit), unit.size)):
        return entry
    return NULL


cdef inline Span* begin_span(Readings readings, size_t frame, unsigned char encoding) noexcept:
    """open_span() without a call where there is room."""
    cdef Span* span
    if readings.span_count == readings.span_capacity and readings.reserve_spans(1):
        return NULL
    span = &readings.spans[readings.span_count]
    readings.span_count += 1
    span.frame = frame
    span.encoding = encoding
    span.first_reading = readings.count
    span.first_text = readings.text_count
    span.first_device = readings.device_count
    span.first_metric = readings.metric_count
    return span


cdef inline void end_span(Readings readings) noexcept:
    """close_span() without a call."""
    cdef Span* span = &readings.spans[readings.span_count - 1]
    span.readings = readings.count - span.first_reading
    span.texts = readings.text_count - span.first_text
    span.devices = readings.device_count - span.first_device
    span.metrics = readings.metric_count - span.first_metric
