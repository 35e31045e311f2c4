# cython: language_level=3
"""JSON documents to readings by the mapping of a device type: one pass, what is not mapped is stepped over.

A sample's time and device may come after its values, so readings get them when their sample, or the document, ends.
"""

from libc.string cimport memcmp, strlen

from ext.telemetry.frames cimport REASON_NONE, REASON_VALUE_NOT_NUMERIC
from ext.telemetry.json_scan cimport (
    MAX_DEPTH,
    Scanner,
    String,
    fail,
    scan_literal,
    scan_number,
    scan_string,
    skip_space,
    skip_value,
    take,
)
from ext.telemetry.readings cimport TEXT_BOOLEAN, TEXT_STRING, OWN_DEVICE, RawText, Text
from ext.telemetry.type_decoder cimport (
    LINK_COUNT,
    NO_NODE,
    NODE_DEVICE,
    NODE_INNER,
    NODE_METRIC,
    NODE_RECORDS,
    NODE_TIME,
    ROOT,
    TIME_RFC3339,
    Node,
    add_number,
    ms_of,
)
from ext.wire.rfc3339 cimport read_rfc3339

cdef long long PENDING_MS = <long long>0x8000000000000000ULL


cdef void open_sample(Sample* sample, Readings readings, bint is_inside, bint is_uplink) noexcept:
    sample.time_ms = PENDING_MS
    sample.device = PENDING_DEVICE
    sample.has_time = False
    sample.is_inside = is_inside
    sample.is_uplink = is_uplink
    sample.first_reading = readings.count
    sample.first_text = readings.text_count


cdef void close_sample(Sample* sample, Readings readings) noexcept:
    cdef size_t i
    if sample.has_time:
        for i in range(sample.first_reading, readings.count):
            if readings.readings[i].time_ms == PENDING_MS:
                readings.readings[i].time_ms = sample.time_ms
        for i in range(sample.first_text, readings.text_count):
            if readings.texts[i].time_ms == PENDING_MS:
                readings.texts[i].time_ms = sample.time_ms
    if sample.device != PENDING_DEVICE:
        for i in range(sample.first_reading, readings.count):
            if readings.readings[i].device == PENDING_DEVICE:
                readings.readings[i].device = sample.device
        for i in range(sample.first_text, readings.text_count):
            if readings.texts[i].device == PENDING_DEVICE:
                readings.texts[i].device = sample.device


cdef void close_document(Sample* document, Readings readings, long long base_ms, unsigned int device) noexcept:
    if not document.has_time:
        document.has_time = True
        document.time_ms = base_ms
    if document.device == PENDING_DEVICE:
        document.device = device
    close_sample(document, readings)


cdef bint is_mapped(TypeDecoder decoder, int node, Sample* sample) noexcept:
    cdef Node* at = &decoder.nodes[node]
    cdef int i
    if not at.flags & NODE_METRIC:
        return False
    if sample.is_uplink:
        for i in range(<int>LINK_COUNT):
            if decoder.link_sources[i] == at.source:
                return False
    return True


cdef bint put_refused(Readings readings, TypeDecoder decoder, int node, const char** detail) noexcept:
    """A reading of a metric that holds what cannot be stored."""
    cdef long long metric = decoder.metric_of(readings, decoder.nodes[node].source)
    if metric < 0 or not add_number(readings, metric, PENDING_DEVICE, PENDING_MS, 0.0):
        detail[0] = b"out of memory"
        return False
    readings.readings[readings.count - 1].reason = REASON_VALUE_NOT_NUMERIC
    return True


cdef bint put_container(Readings readings, TypeDecoder decoder, int node, Sample* sample, const char** detail) noexcept:
    cdef unsigned char flags = decoder.nodes[node].flags
    if flags & NODE_TIME:
        detail[0] = b"the time is not RFC 3339" if decoder.time_format == TIME_RFC3339 else b"the time is not a number"
        return False
    if flags & NODE_DEVICE:
        detail[0] = b"the device is not a string"
        return False
    return not is_mapped(decoder, node, sample) or put_refused(readings, decoder, node, detail)


cdef bint put_number(Readings readings, TypeDecoder decoder, int node, Sample* sample, double value,
                     const char** detail) noexcept:
    cdef unsigned char flags = decoder.nodes[node].flags
    cdef long long metric
    if flags & NODE_TIME:
        if decoder.time_format == TIME_RFC3339:
            detail[0] = b"the time is not RFC 3339"
            return False
        sample.time_ms = ms_of(value, decoder.time_format)
        sample.has_time = True
    if flags & NODE_DEVICE:
        detail[0] = b"the device is not a string"
        return False
    if is_mapped(decoder, node, sample):
        metric = decoder.metric_of(readings, decoder.nodes[node].source)
        if metric < 0 or not add_number(readings, metric, PENDING_DEVICE, PENDING_MS, value):
            detail[0] = b"out of memory"
            return False
    return True


cdef bint put_text(Readings readings, TypeDecoder decoder, int node, Text* value, unsigned char kind,
                   const char** detail) noexcept:
    cdef RawText text
    cdef long long metric = decoder.metric_of(readings, decoder.nodes[node].source)
    text.time_ms = PENDING_MS
    text.value = value[0]
    text.device = PENDING_DEVICE
    text.metric = <unsigned int>metric
    text.kind = kind
    text.reason = REASON_NONE
    if metric < 0 or readings.add_text(&text):
        detail[0] = b"out of memory"
        return False
    return True


cdef bint put_boolean(Readings readings, TypeDecoder decoder, int node, Sample* sample, bint value,
                      const char** detail) noexcept:
    cdef Text text
    cdef const char* word = b"true"
    if decoder.nodes[node].flags & (NODE_TIME | NODE_DEVICE):
        return put_container(readings, decoder, node, sample, detail)
    if not is_mapped(decoder, node, sample):
        return True
    if not value:
        word = b"false"
    if readings.put_own(word, strlen(word), &text):
        detail[0] = b"out of memory"
        return False
    return put_text(readings, decoder, node, &text, TEXT_BOOLEAN, detail)


cdef bint put_string(Readings readings, TypeDecoder decoder, int node, Sample* sample, Text* value,
                     const char** detail) noexcept:
    cdef unsigned char flags = decoder.nodes[node].flags
    cdef Text* last
    if flags & NODE_TIME:
        if decoder.time_format != TIME_RFC3339:
            detail[0] = b"the time is not a number"
            return False
        if not read_rfc3339(readings.bytes_of(value), value.size, &sample.time_ms):
            detail[0] = b"the time is not RFC 3339"
            return False
        sample.has_time = True
    if flags & NODE_DEVICE:
        # samples of one device mostly follow each other
        if readings.device_count > readings.spans[readings.span_count - 1].first_device:
            last = &readings.devices[readings.device_count - 1].name
            if last.size == value.size \
                    and memcmp(readings.bytes_of(last), readings.bytes_of(value), value.size) == 0:
                sample.device = <unsigned int>(readings.device_count - 1)
                return True
        if readings.add_device(value):
            detail[0] = b"out of memory"
            return False
        sample.device = <unsigned int>(readings.device_count - 1)
    if is_mapped(decoder, node, sample):
        return put_text(readings, decoder, node, value, TEXT_STRING, detail)
    return True


cdef bint walk_sample(Scanner* scan, Readings readings, TypeDecoder decoder, bint is_uplink, int depth) noexcept:
    cdef Sample sample
    open_sample(&sample, readings, True, is_uplink)
    if not walk(scan, readings, decoder, ROOT, &sample, depth):
        return False
    close_sample(&sample, readings)
    return True


cdef bint walk_samples(Scanner* scan, Readings readings, TypeDecoder decoder, bint is_uplink, int depth) noexcept:
    """An array of samples, `at` behind its bracket; `depth` is its elements'."""
    skip_space(scan)
    if take(scan, c"]"):
        return True
    while True:
        if not walk_sample(scan, readings, decoder, is_uplink, depth):
            return False
        skip_space(scan)
        if take(scan, c"]"):
            return True
        if not take(scan, c","):
            return fail(scan, b"comma missing")
        skip_space(scan)


cdef bint walk_members(Scanner* scan, Readings readings, TypeDecoder decoder, int node, Sample* sample, bint is_object,
                       int depth) noexcept:
    """An object or array, `at` behind its bracket; `depth` is its members'."""
    cdef unsigned char closing = c"}" if is_object else c"]"
    cdef String label
    cdef size_t arena_size
    cdef unsigned int position = 0
    cdef int inner
    skip_space(scan)
    if take(scan, closing):
        return True
    while True:
        if is_object:
            if not take(scan, c'"'):
                return fail(scan, b"label missing")
            arena_size = readings.arena_size
            if not scan_string(scan, readings, &label):
                return False
            inner = decoder.child(node, readings.bytes_of(&label.text), label.text.size)
            readings.arena_size = arena_size
            skip_space(scan)
            if not take(scan, c":"):
                return fail(scan, b"colon missing")
            skip_space(scan)
        else:
            inner = decoder.child_at(node, position)
            position += 1
        if inner == NO_NODE:
            if not skip_value(scan, readings, depth):
                return False
        elif not walk(scan, readings, decoder, inner, sample, depth):
            return False
        skip_space(scan)
        if take(scan, closing):
            return True
        if not take(scan, c","):
            return fail(scan, b"comma missing")
        skip_space(scan)


cdef bint walk(Scanner* scan, Readings readings, TypeDecoder decoder, int node, Sample* sample, int depth) noexcept:
    """The value at a node of the mapping; `depth` containers are round it."""
    cdef unsigned char flags = decoder.nodes[node].flags
    cdef unsigned char c
    cdef double number
    cdef String string
    cdef size_t arena_size
    if scan.at == scan.end:
        return fail(scan, b"value missing")
    c = scan.at[0]
    if flags & NODE_RECORDS and not sample.is_inside:
        if c == c"n":
            return scan_literal(scan, b"null", 4)
        if c != c"[":
            return fail(scan, b"the records are not an array")
        if depth >= MAX_DEPTH:
            return fail(scan, b"nested too deep")
        scan.at += 1
        return walk_samples(scan, readings, decoder, sample.is_uplink, depth + 1)
    if c == c"{" or c == c"[":
        if depth >= MAX_DEPTH:
            return fail(scan, b"nested too deep")
        if not put_container(readings, decoder, node, sample, &scan.detail):
            return False
        if not flags & NODE_INNER:
            return skip_value(scan, readings, depth)
        scan.at += 1
        return walk_members(scan, readings, decoder, node, sample, c == c"{", depth + 1)
    if c == c'"':
        arena_size = readings.arena_size
        scan.at += 1
        if not scan_string(scan, readings, &string):
            return False
        if not put_string(readings, decoder, node, sample, &string.text, &scan.detail):
            return False
        if not flags & (NODE_METRIC | NODE_DEVICE):
            readings.arena_size = arena_size        # nobody will look at it
        return True
    if c == c"t":
        return scan_literal(scan, b"true", 4) and put_boolean(readings, decoder, node, sample, True, &scan.detail)
    if c == c"f":
        return scan_literal(scan, b"false", 5) and put_boolean(readings, decoder, node, sample, False, &scan.detail)
    if c == c"n":
        return scan_literal(scan, b"null", 4)
    if not scan_number(scan, &number):
        return False
    return put_number(readings, decoder, node, sample, number, &scan.detail)


cdef bint map_json(Scanner* scan, Readings readings, TypeDecoder decoder, long long base_ms, unsigned int device,
                   bint is_uplink) noexcept:
    cdef Sample document
    open_sample(&document, readings, False, is_uplink)
    if decoder.has_records:
        if not walk(scan, readings, decoder, ROOT, &document, 0):
            return False
    elif take(scan, c"["):
        if not walk_samples(scan, readings, decoder, is_uplink, 1):
            return False
    elif not walk_sample(scan, readings, decoder, is_uplink, 0):
        return False
    close_document(&document, readings, base_ms, device)
    return True


cdef bint decode_json(Scanner* scan, Readings readings, TypeDecoder decoder, long long received_ms) noexcept:
    cdef size_t before = readings.count + readings.text_count
    skip_space(scan)
    if not map_json(scan, readings, decoder, received_ms, OWN_DEVICE, False):
        return False
    skip_space(scan)
    if scan.at != scan.end:
        return fail(scan, b"text after the end")
    if readings.count + readings.text_count == before:
        scan.at = scan.start
        return fail(scan, b"nothing in it that the device type maps")
    return True
