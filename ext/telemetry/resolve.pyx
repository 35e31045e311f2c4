# cython: language_level=3
"""Resolve: readings by name to rows of numbers, and what cannot be resolved to quarantine."""

from libc.math cimport isfinite
from libc.string cimport memcpy, strlen

from ext.clickhouse.quarantine_block cimport QuarantineBlock, QuarantineRow
from ext.clickhouse.readings_block cimport ReadingsBlock, Row, fill_received, put_row
from ext.clickhouse.text_block cimport TextBlock, TextRow
from ext.clickhouse.ward_column cimport known_ward, ward_index
from ext.telemetry.byte_hash cimport hash_bytes, same_bytes
from ext.telemetry.frames cimport (
    REASON_NONE,
    REASON_NOT_BEHIND_GATEWAY,
    REASON_TIME_OUT_OF_RANGE,
    REASON_UNKNOWN_DEVICE,
    REASON_UNKNOWN_METRIC,
    REASON_UNKNOWN_UNIT,
    REASON_VALUE_NOT_FINITE,
    SCOPE_GATEWAY,
    Frame,
    FrameChunk,
)
from ext.telemetry.device_states cimport DeviceStates, mark_reading, mark_seen
from ext.telemetry.device_table cimport id_of
from ext.telemetry.index cimport DEVICE_ACTIVE, Device, DeviceIndex, TypeMetric, Unit, Ward
from ext.telemetry.quality cimport (
    QUALITY_FAIL,
    QUALITY_GOOD,
    QUALITY_NOT_EVALUATED,
    QUALITY_SUSPECT,
    REASON_CLIMATOLOGY_FAIL,
    REASON_CLIMATOLOGY_SUSPECT,
    REASON_GROSS_RANGE_FAIL,
    REASON_GROSS_RANGE_SUSPECT,
    REASONS_OF_FAIL,
    Expected,
    against,
    month_of,
)
from ext.telemetry.topic cimport TOPIC_FOREIGN, Topic, parse_topic
from ext.telemetry.type_decoder cimport Source, TypeDecoder
from ext.telemetry.readings cimport (
    OWN_DEVICE,
    DeviceName,
    MetricName,
    RawReading,
    RawText,
    Readings,
    Refusal,
    Span,
    StageCounters,
    Text,
    text_at,
)

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void* at) noexcept nogil

cdef enum:
    MAX_NAME_BYTES = 80             # of a name quoted in a detail
    GROUP = 16                      # device names looked up side by side
    AHEAD = 8                       # spans between asking for a sender and using it

cdef struct Detail:
    char[160] text
    size_t size


cdef void say(Detail* detail, const char* text, size_t size) noexcept:
    if size > sizeof(detail.text) - detail.size:
        size = sizeof(detail.text) - detail.size
    memcpy(detail.text + detail.size, text, size)
    detail.size += size


cdef void say_name(Detail* detail, const char* what, Readings readings, Text* name) noexcept:
    """What is wrong and the name that it is wrong with, cut between two characters."""
    cdef const unsigned char* at = text_at(readings, name)
    cdef size_t size = name.size
    if size > MAX_NAME_BYTES:
        size = MAX_NAME_BYTES
        while size and (at[size] & 0xC0) == 0x80:
            size -= 1
    say(detail, what, strlen(what))
    say(detail, b" ", 1)
    say(detail, <const char*>at, size)


cdef void say_number(Detail* detail, const char* what, unsigned long long number) noexcept:
    cdef char[20] digits
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = c"0" + <char>(number % 10)
        number //= 10
        if number == 0:
            break
    say(detail, what, strlen(what))
    say(detail, digits + at, 20 - at)


cdef void explain(Detail* detail, Readings readings, unsigned int named_device, unsigned int named_metric,
                  const char* kind, size_t position, unsigned char reason) noexcept:
    """The detail text of a payload whose first refused reading this is; `position` counts from 0, among its kind."""
    cdef MetricName* metric = &readings.metrics[named_metric]
    if reason == REASON_UNKNOWN_DEVICE or reason == REASON_NOT_BEHIND_GATEWAY:
        if named_device == OWN_DEVICE:
            say(detail, b"sender", 6)
        else:
            say_name(detail, b"device", readings, &readings.devices[named_device].name)
    elif reason == REASON_UNKNOWN_UNIT:
        say_name(detail, b"unit", readings, &metric.unit)
        say_name(detail, b" of metric", readings, &metric.name)
    else:
        say_name(detail, b"metric", readings, &metric.name)
    say_number(detail, kind, position + 1)


cdef inline bint is_device(DeviceIndex index, int slot, const unsigned char* id, size_t size) noexcept:
    cdef size_t known
    cdef const unsigned char* at
    if not 0 <= slot < index.count:
        return False
    at = id_of(index, slot, &known)
    return known == size and same_bytes(at, id, size)


cdef int look_up(Readings readings, DeviceIndex index, DeviceName* name, unsigned int hash) noexcept:
    """The slot of a device by its id, else by its external id; -1: there is none."""
    cdef const unsigned char* at = text_at(readings, &name.name)
    name.slot = index.find_hashed(at, name.name.size, hash)
    if name.slot < 0:
        name.slot = index.find_external(at, name.name.size)
    return name.slot


cdef int look_up_group(Readings readings, DeviceIndex index, DeviceName** names, unsigned int* hashes,
                       int size) noexcept:
    """The slots of several names, their cache misses side by side; returns the last one's."""
    cdef int i, slot = -1
    index.prepare_find(hashes, size)
    for i in range(size):
        slot = look_up(readings, index, names[i], hashes[i])
    return slot


cdef inline void prepare_senders(Readings readings, DeviceIndex index, DeviceStates states, size_t at) noexcept:
    """Ask for what will be read of the senders of spans to come: where their id and their state are, then the id."""
    cdef int sender
    if at + 2 * AHEAD < readings.span_count:
        sender = readings.chunk.frames[readings.spans[at + 2 * AHEAD].frame].sender
        if 0 <= sender < index.count:
            prefetch(&index.id_at[sender])
            prefetch(&index.devices[sender])
            if states is not None and <size_t>sender < states.capacity:
                prefetch(&states.at[sender])
    if at + AHEAD < readings.span_count:
        sender = readings.chunk.frames[readings.spans[at + AHEAD].frame].sender
        if 0 <= sender < index.count:
            prefetch(index.arena + index.id_at[sender])


cdef void locate_devices(Readings readings, DeviceIndex index, DeviceStates states) noexcept:
    """Slots of all devices that the chunk names.

    First guess: the sender, then the slot after the one before, for devices behind a gateway are registered, and sent,
    together. Where that fails twice in a row, names are looked up in groups, because a large index is in no cache.
    """
    cdef unsigned int[GROUP] hashes
    cdef DeviceName* names[GROUP]
    cdef DeviceName* name
    cdef Span* span
    cdef unsigned int hash
    cdef int guess
    cdef int size = 0
    cdef bint was_wrong
    cdef size_t s, i
    for s in range(readings.span_count):
        prepare_senders(readings, index, states, s)
        span = &readings.spans[s]
        guess = readings.chunk.frames[span.frame].sender
        was_wrong = span.devices == 1       # the only one may as well be looked up with those of other spans
        for i in range(span.first_device, span.first_device + span.devices):
            name = &readings.devices[i]
            if is_device(index, guess, text_at(readings, &name.name), name.name.size):
                name.slot = guess
                guess += 1
                was_wrong = False
                continue
            hash = hash_bytes(text_at(readings, &name.name), name.name.size)
            if not was_wrong:
                guess = look_up(readings, index, name, hash) + 1
                was_wrong = True
                continue
            hashes[size] = hash
            names[size] = name
            size += 1
            if size == GROUP:
                guess = look_up_group(readings, index, names, hashes, size) + 1
                size = 0
    look_up_group(readings, index, names, hashes, size)


cdef void resolve_devices(Readings readings, Span* span, Frame* frame, Device* sender, DeviceIndex index) noexcept:
    """The devices that a payload names: below d/ only the sender, below g/ also those registered behind it.

    Where whoever delivered the frame vouches for it, any.
    """
    cdef DeviceName* name
    cdef Device* device
    for i in range(span.first_device, span.first_device + span.devices):
        name = &readings.devices[i]
        device = NULL if name.slot < 0 else &index.devices[name.slot]
        name.device = device
        if device == NULL or not device.flags & DEVICE_ACTIVE or (sender == NULL and not frame.is_trusted):
            name.reason = REASON_UNKNOWN_DEVICE
        elif frame.is_trusted:
            name.reason = REASON_NONE
        elif name.slot == frame.sender or (frame.scope == SCOPE_GATEWAY and device.gateway_num == sender.device_num):
            name.reason = REASON_NONE
        else:
            name.reason = REASON_NOT_BEHIND_GATEWAY


cdef void resolve_metrics(Readings readings, DeviceIndex index) noexcept:
    """All metrics of the chunk, which spans may share."""
    cdef MetricName* name
    cdef int num
    for i in range(readings.metric_count):
        name = &readings.metrics[i]
        num = index.find_metric(text_at(readings, &name.name), name.name.size)
        name.type_num = 0
        name.in_type = NULL
        name.named_num = <unsigned short>num
        if num == 0:
            name.reason = REASON_UNKNOWN_METRIC     # unless it is what a type's payloads call one
            continue
        name.metric_num = <unsigned short>num
        name.conversion = index.unit_of(<unsigned short>num, text_at(readings, &name.unit), name.unit.size)
        name.reason = REASON_NONE if name.conversion != NULL else REASON_UNKNOWN_UNIT


cdef int source_of(Readings readings, unsigned short type_num, MetricName* name, DeviceIndex index,
                   Unit** conversion) noexcept:
    """The metric that payloads of a type call so, or 0. `conversion` is NULL where there is none from its unit."""
    cdef object found = index.decoder_of(type_num)
    cdef TypeDecoder decoder
    cdef Source* source
    cdef int at
    if found is None:
        return 0
    decoder = <TypeDecoder>found
    at = decoder.find_source(text_at(readings, &name.name), name.name.size)
    if at < 0:
        return 0
    source = &decoder.sources[at]
    if name.unit.size:
        conversion[0] = index.unit_of(source.metric_num, text_at(readings, &name.unit), name.unit.size)
    else:
        conversion[0] = index.unit_of(source.metric_num, decoder.names + source.unit.at, source.unit.size)
    return source.metric_num


cdef TypeMetric* look_up_in_type(Readings readings, Device* device, MetricName* metric, DeviceIndex index) noexcept:
    """What the device's type says about a metric, be it by its name or by what payloads call it; NULL: unknown.

    `metric.reason` is then of that metric.
    """
    cdef TypeMetric* in_type
    cdef int num
    in_type = index.metric_of(device.type_num, metric.named_num)
    if in_type != NULL:
        if metric.metric_num != metric.named_num:       # it was a source of the type before
            metric.metric_num = metric.named_num
            metric.conversion = index.unit_of(metric.metric_num, text_at(readings, &metric.unit), metric.unit.size)
            metric.reason = REASON_NONE if metric.conversion != NULL else REASON_UNKNOWN_UNIT
    else:
        num = source_of(readings, device.type_num, metric, index, &metric.conversion)
        in_type = index.metric_of(device.type_num, <unsigned short>num)
        if in_type == NULL:
            metric.in_type = NULL
            return NULL
        metric.metric_num = <unsigned short>num
        metric.reason = REASON_NONE if metric.conversion != NULL else REASON_UNKNOWN_UNIT
    metric.type_num = device.type_num
    metric.in_type = in_type
    return in_type


cdef inline TypeMetric* metric_in_type(Readings readings, Device* device, MetricName* metric,
                                       DeviceIndex index) noexcept:
    """The same for who mostly asks for the type that was asked for before."""
    if metric.in_type != NULL and metric.type_num == device.type_num:
        return metric.in_type
    return look_up_in_type(readings, device, metric, index)


cdef void judge(TypeMetric* in_type, Row* row) noexcept:
    """Quality of the row's value at its time, by the tests that need no other reading."""
    cdef bint is_evaluated = in_type.always.is_given
    cdef unsigned short reasons = against(&in_type.always, row.value, REASON_GROSS_RANGE_FAIL,
                                          REASON_GROSS_RANGE_SUSPECT)
    cdef Expected* month
    if in_type.months != NULL:
        month = &in_type.months[month_of(row.ts_ms)]
        is_evaluated = is_evaluated or month.is_given
        reasons |= against(month, row.value, REASON_CLIMATOLOGY_FAIL, REASON_CLIMATOLOGY_SUSPECT)
    row.quality_reasons = reasons
    if reasons & REASONS_OF_FAIL:
        row.quality = QUALITY_FAIL
    elif reasons:
        row.quality = QUALITY_SUSPECT
    else:
        row.quality = QUALITY_GOOD if is_evaluated else QUALITY_NOT_EVALUATED


cdef inline unsigned char resolve_reading(Readings readings, RawReading* reading, Device* device, MetricName* metric,
                                          DeviceIndex index, long long earliest_ms, long long latest_ms,
                                          Row* row) noexcept:
    """One reading of a device that may send it. Returns REASON_NONE, with everything but the ward in `row`."""
    cdef TypeMetric* in_type = metric_in_type(readings, device, metric, index)
    cdef double value
    if in_type == NULL:
        return REASON_UNKNOWN_METRIC
    if metric.reason:
        return metric.reason
    if reading.time_ms < earliest_ms or reading.time_ms > latest_ms:
        return REASON_TIME_OUT_OF_RANGE
    value = reading.value
    if not metric.conversion.is_identity:
        value = value * metric.conversion.factor / metric.conversion.divisor + metric.conversion.offset
        if not isfinite(value):
            return REASON_VALUE_NOT_FINITE
    row.device_num = device.device_num
    row.metric_num = metric.metric_num
    row.ts_ms = reading.time_ms
    row.value = value
    if in_type.good.low <= value <= in_type.good.high and in_type.months == NULL:
        row.quality = QUALITY_GOOD if in_type.always.is_given else QUALITY_NOT_EVALUATED
        row.quality_reasons = 0
    else:
        judge(in_type, row)
    return REASON_NONE


cdef int put_quarantine(QuarantineBlock block, FrameChunk chunk, size_t at, DeviceIndex index, unsigned char encoding,
                        unsigned char reason, unsigned int count, Detail* detail) except -1:
    cdef Frame* frame = &chunk.frames[at]
    cdef QuarantineRow row
    cdef Topic topic
    row.received_ms = frame.received_ms
    row.device_id = NULL
    row.device_id_size = 0
    if 0 <= frame.sender < index.count:
        row.device_id = id_of(index, frame.sender, &row.device_id_size)
    elif parse_topic(chunk.data + frame.topic_at, frame.topic_size, &topic) != TOPIC_FOREIGN:
        row.device_id = topic.id        # who it says it is: nobody that the index knows
        row.device_id_size = topic.id_size
    row.topic = chunk.data + frame.topic_at
    row.topic_size = frame.topic_size
    row.payload = chunk.data + frame.payload_at
    row.payload_size = frame.payload_size
    row.detail = <const unsigned char*>detail.text
    row.detail_size = detail.size
    row.readings = count
    row.transport = <unsigned short>block.transport_index(chunk.transport)
    row.encoding = encoding
    row.reason = reason
    return block.put(&row)


cdef inline unsigned char device_of(Readings readings, unsigned int named, Device* sender, Device** out) noexcept:
    """The device of a reading and REASON_NONE, or why it must not be stored."""
    if named == OWN_DEVICE:
        out[0] = sender
        return REASON_UNKNOWN_DEVICE if sender == NULL else REASON_NONE
    out[0] = readings.devices[named].device
    return readings.devices[named].reason


cdef unsigned char resolve_text(Readings readings, RawText* text, Device* sender, DeviceIndex index, Frame* frame,
                                long long earliest_ms, long long latest_ms, TextBlock rows,
                                DeviceStates states) except? 255:
    """One text, into the block unless it is refused: REASON_NONE or why it was."""
    cdef unsigned char reason = text.reason
    cdef Device* device = NULL
    cdef MetricName* metric = &readings.metrics[text.metric]
    cdef Ward* ward
    cdef TextRow row
    cdef int ward_at
    if reason == REASON_NONE:
        reason = device_of(readings, text.device, sender, &device)
    if reason:
        return reason
    if metric_in_type(readings, device, metric, index) == NULL:
        return REASON_UNKNOWN_METRIC
    if text.time_ms < earliest_ms or text.time_ms > latest_ms:
        return REASON_TIME_OUT_OF_RANGE
    ward = &index.wards[device.ward_slot]
    ward_at = ward_index(&rows.wards, device.ward_slot, ward.code, ward.size)
    if ward_at < 0:
        raise MemoryError
    row.value = text_at(readings, &text.value)
    row.value_size = text.value.size
    row.ts_ms = text.time_ms
    row.received_ms = frame.received_ms
    row.device_num = device.device_num
    row.metric_num = metric.metric_num
    row.ward = <unsigned short>ward_at
    row.kind = text.kind
    row.quality = QUALITY_NOT_EVALUATED
    if rows.put(&row):
        raise MemoryError
    if states is not None:
        mark_reading(states, <int>(device - index.devices), frame.received_ms)
    return REASON_NONE


cdef int resolve_span(Readings readings, Span* span, DeviceIndex index, long long earliest_ms, long long max_ahead_ms,
                      ReadingsBlock rows, TextBlock texts, QuarantineBlock quarantine,
                      StageCounters counters, DeviceStates states) except -1:
    cdef Frame* frame = &readings.chunk.frames[span.frame]
    cdef Device* sender = NULL
    cdef Device* device = NULL
    cdef Device* ward_of = NULL
    cdef Ward* ward
    cdef RawReading* reading
    cdef RawText* text
    cdef Row row
    cdef Detail detail
    cdef unsigned char reason
    cdef unsigned char first_reason = REASON_NONE
    cdef unsigned int refused = 0
    cdef int ward_at
    cdef long long latest_ms = frame.received_ms + max_ahead_ms
    cdef size_t i
    cdef size_t first_row = rows.count
    if rows.count + span.readings > rows.capacity and rows.reserve(span.readings):
        raise MemoryError
    detail.size = 0
    if 0 <= frame.sender < index.count and index.devices[frame.sender].flags & DEVICE_ACTIVE:
        sender = &index.devices[frame.sender]
    resolve_devices(readings, span, frame, sender, index)
    row.ward = 0
    for i in range(span.readings):
        reading = &readings.readings[span.first_reading + i]
        reason = reading.reason
        if reason == REASON_NONE:
            reason = device_of(readings, reading.device, sender, &device)
        if reason == REASON_NONE:
            reason = resolve_reading(readings, reading, device, &readings.metrics[reading.metric], index, earliest_ms,
                                     latest_ms, &row)
        if reason == REASON_NONE:
            if device != ward_of:
                ward_at = known_ward(&rows.wards, device.ward_slot)
                if ward_at < 0:
                    ward = &index.wards[device.ward_slot]
                    ward_at = ward_index(&rows.wards, device.ward_slot, ward.code, ward.size)
                    if ward_at < 0:
                        raise MemoryError
                row.ward = <unsigned short>ward_at
                ward_of = device
                if states is not None:
                    mark_reading(states, <int>(device - index.devices), frame.received_ms)
            put_row(rows, &row)
        else:
            if refused == 0:
                first_reason = reason
                explain(&detail, readings, reading.device, reading.metric, b", reading ", i, reason)
            refused += 1
            counters.refused_by[reason] += 1
    fill_received(rows, first_row, frame.received_ms)
    if states is not None and sender != NULL and sender != ward_of:     # else its own reading says so
        mark_seen(states, frame.sender, frame.received_ms)
    for i in range(span.texts):
        text = &readings.texts[span.first_text + i]
        reason = resolve_text(readings, text, sender, index, frame, earliest_ms, latest_ms, texts, states)
        if reason:
            if refused == 0:
                first_reason = reason
                explain(&detail, readings, text.device, text.metric, b", text ", i, reason)
            refused += 1
            counters.refused_by[reason] += 1
    counters.items_in += span.readings + span.texts
    counters.items_out += span.readings + span.texts - refused
    if refused:
        put_quarantine(quarantine, readings.chunk, span.frame, index, span.encoding, first_reason, refused, &detail)
    return 0


def resolve_readings(Readings readings not None, DeviceIndex index not None, long long earliest_ms,
                     long long max_ahead_ms, ReadingsBlock rows not None, TextBlock texts not None,
                     QuarantineBlock quarantine not None, StageCounters counters not None,
                     DeviceStates states=None) -> None:
    """Resolve what decode gave: good readings to `rows` and `texts`, the rest to `quarantine`, one row per payload.

    A reading is checked in this order, and the first that fails is its reason: what decode found, device, metric,
    unit, event time, value in the canonical unit. A text has no unit, and its quality is "not evaluated".

    Args:
        earliest_ms: event times before are refused, milliseconds since 1970 UTC.
        max_ahead_ms: event times later than this after their frame was received are refused.
        counters: items in are readings and payloads that decode refused (one each), items out rows.
        states: told which devices are heard, and whose readings are accepted.
    Raises: MemoryError; then all blocks have to be thrown away.
    """
    cdef Refusal* refusal
    cdef Detail detail
    cdef int sender
    cdef size_t i
    if readings.chunk is None:
        return
    locate_devices(readings, index, states)
    resolve_metrics(readings, index)
    for i in range(readings.span_count):
        resolve_span(readings, &readings.spans[i], index, earliest_ms, max_ahead_ms, rows, texts, quarantine,
                     counters, states)
    for i in range(readings.refusal_count):
        refusal = &readings.refusals[i]
        detail.size = 0
        if refusal.detail[0]:
            say(&detail, refusal.detail, strlen(refusal.detail))
            if refusal.offset:
                say_number(&detail, b", byte ", refusal.offset)
        sender = readings.chunk.frames[refusal.frame].sender
        if states is not None and 0 <= sender < index.count and index.devices[sender].flags & DEVICE_ACTIVE:
            mark_seen(states, sender, readings.chunk.frames[refusal.frame].received_ms)
        counters.items_in += 1
        counters.refused_by[refusal.reason] += 1
        put_quarantine(quarantine, readings.chunk, refusal.frame, index, refusal.encoding, refusal.reason, 1, &detail)
    # a second call must not store them again
    readings.clear()
