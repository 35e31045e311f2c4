# cython: language_level=3
"""SenML JSON (RFC 8428) to readings by name, in one pass over the bytes."""

from libc.math cimport floor, isfinite, rint
from libc.string cimport memcpy

from ext.telemetry.base64url cimport decode_base64url
from ext.telemetry.frames cimport REASON_NONE, REASON_SUM_WITHOUT_VALUE, REASON_VALUE_NOT_FINITE
from ext.telemetry.json_scan cimport (
    BITS_OF,
    HAS_ALPHANUMERIC,
    HAS_NOT_NAME,
    HAS_SEPARATOR,
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
from ext.telemetry.readings cimport (
    OWN_DEVICE,
    TEXT_BOOLEAN,
    TEXT_DATA,
    TEXT_STRING,
    RawReading,
    RawText,
    Span,
    Text,
)

cdef enum Label:
    LABEL_BN = 1
    LABEL_BT = 2
    LABEL_BU = 4
    LABEL_BV = 8
    LABEL_BS = 16
    LABEL_BVER = 32
    LABEL_N = 64
    LABEL_U = 128
    LABEL_V = 256
    LABEL_VS = 512
    LABEL_VB = 1024
    LABEL_VD = 2048
    LABEL_S = 4096
    LABEL_T = 8192
    LABEL_UT = 16384
    LABEL_OTHER = 0             # unknown: to be ignored
    LABEL_MUST = -1             # unknown, ends in "_": must not be ignored
    ANY_BASE = 1 + 2 + 4 + 8 + 16 + 32
    ANY_VALUE = 256 + 512 + 1024 + 2048
    ANY_STRING = 1 + 4 + 64 + 128 + 512 + 2048

cdef double RELATIVE_BELOW_S = 268_435_456.0        # 2**28, RFC 8428 section 4.5.3
cdef double MAX_MS = 9e18
cdef long long NEVER_MS = 0x7FFFFFFFFFFFFFFF        # out of any window


cdef struct Pack:               # base fields: hold from their record on
    String bn
    String bu
    double bt
    double bv
    double bver
    unsigned char has_bv

cdef struct Record:
    String n
    String u
    double v
    double t
    Text text                   # of vs, vb or vd
    int seen                    # Label bits


cdef int label_of(const unsigned char* at, unsigned int size) noexcept:
    if size == 1:
        if at[0] == c"n":
            return LABEL_N
        if at[0] == c"u":
            return LABEL_U
        if at[0] == c"v":
            return LABEL_V
        if at[0] == c"t":
            return LABEL_T
        if at[0] == c"s":
            return LABEL_S
    elif size == 2:
        if at[0] == c"b":
            if at[1] == c"n":
                return LABEL_BN
            if at[1] == c"t":
                return LABEL_BT
            if at[1] == c"u":
                return LABEL_BU
            if at[1] == c"v":
                return LABEL_BV
            if at[1] == c"s":
                return LABEL_BS
        elif at[0] == c"v":
            if at[1] == c"s":
                return LABEL_VS
            if at[1] == c"b":
                return LABEL_VB
            if at[1] == c"d":
                return LABEL_VD
        elif at[0] == c"u" and at[1] == c"t":
            return LABEL_UT
    elif size == 4 and at[0] == c"b" and at[1] == c"v" and at[2] == c"e" and at[3] == c"r":
        return LABEL_BVER
    if size and at[size - 1] == c"_":
        return LABEL_MUST
    return LABEL_OTHER


cdef bint scan_member(Scanner* scan, Readings readings, Pack* pack, Record* record) noexcept:
    """One label and its value; `at` is at the label's opening quote."""
    cdef String string
    cdef double number
    cdef int label
    cdef const unsigned char* at = scan.at
    if not take(scan, c'"'):
        return fail(scan, b"label missing")
    if not scan_string(scan, readings, &string):
        return False
    label = label_of(readings.bytes_of(&string.text), string.text.size)
    if label == LABEL_MUST:
        scan.at = at
        return fail(scan, b"unknown label that ends in _")
    if record.seen & label:
        scan.at = at
        return fail(scan, b"label given twice in one record")
    skip_space(scan)
    if not take(scan, c":"):
        return fail(scan, b"colon missing")
    skip_space(scan)
    if label == LABEL_OTHER:
        return skip_value(scan, readings, 0)
    record.seen |= label
    if label & ANY_STRING:
        if not take(scan, c'"'):
            return fail(scan, b"string expected")
        if not scan_string(scan, readings, &string):
            return False
        if label == LABEL_N:
            record.n = string
        elif label == LABEL_U:
            record.u = string
        elif label == LABEL_BN:
            pack.bn = string
        elif label == LABEL_BU:
            pack.bu = string
        else:
            record.text = string.text
        return True
    if label == LABEL_VB:
        record.text.at = scan.at - scan.chunk
        record.text.is_own = 0
        if scan.at < scan.end and scan.at[0] == c"t":
            record.text.size = 4
            return scan_literal(scan, b"true", 4)
        if scan.at < scan.end and scan.at[0] == c"f":
            record.text.size = 5
            return scan_literal(scan, b"false", 5)
        return fail(scan, b"boolean expected")
    at = scan.at
    if not scan_number(scan, &number):
        return False
    if label == LABEL_V:
        record.v = number
    elif label == LABEL_T:
        record.t = number
    elif label == LABEL_BT:
        pack.bt = number
    elif label == LABEL_BV:
        pack.bv = number
        pack.has_bv = True
    elif label == LABEL_BVER:
        # RFC 9100 section 4: 10 is what RFC 8428 defines, bit 4 adds the secondary units of RFC 8798.
        if number != floor(number) or not (1 <= number <= 10 or number == 26):
            scan.at = at
            return fail(scan, b"version not supported")
        if pack.bver != 0 and pack.bver != number:
            scan.at = at
            return fail(scan, b"records of different versions")
        pack.bver = number
    return True


cdef Py_ssize_t last_separator(const unsigned char* name, Py_ssize_t size) noexcept:
    while size > 0:
        size -= 1
        if BITS_OF[name[size]] & HAS_SEPARATOR:
            return size
    return -1


cdef Text part(Text* whole, size_t begin, size_t end) noexcept:
    cdef Text found
    found.at = whole.at + begin
    found.size = <unsigned int>(end - begin)
    found.is_own = whole.is_own
    return found


cdef bint split_name(Scanner* scan, Readings readings, String* bn, String* n, Text* device, Text* metric,
                     bint* has_device) noexcept:
    """The resolved name as a metric and the device before it, if any; see docs/flow.md, "Names inside SenML"."""
    cdef String* one
    cdef Text whole
    cdef const unsigned char* name
    cdef Py_ssize_t last
    if (bn.bits | n.bits) & HAS_NOT_NAME:
        return fail(scan, b"name holds characters other than A-Z a-z 0-9 - : . / _")
    one = bn if bn.text.size else n
    if one.text.size == 0:
        return fail(scan, b"record without a name")
    if not BITS_OF[readings.bytes_of(&one.text)[0]] & HAS_ALPHANUMERIC:
        return fail(scan, b"name does not start with a letter or digit")
    has_device[0] = bool((bn.bits | n.bits) & HAS_SEPARATOR)
    if bn.text.size and n.text.size:
        name = readings.bytes_of(&bn.text)
        if not n.bits & HAS_SEPARATOR and BITS_OF[name[bn.text.size - 1]] & HAS_SEPARATOR:
            # the usual case: nothing has to be joined
            metric[0] = n.text
            last = bn.text.size - 1
            device[0] = part(&bn.text, last_separator(name, last) + 1, last)
            return True
        if readings.reserve_arena(bn.text.size + n.text.size):
            return fail(scan, b"out of memory")
        whole.at = readings.arena_size
        whole.size = bn.text.size + n.text.size
        whole.is_own = 1
        memcpy(readings.arena + whole.at, readings.bytes_of(&bn.text), bn.text.size)
        memcpy(readings.arena + whole.at + bn.text.size, readings.bytes_of(&n.text), n.text.size)
        readings.arena_size += whole.size
    else:
        whole = one.text
    if not has_device[0]:
        metric[0] = whole
        return True
    name = readings.bytes_of(&whole)
    last = last_separator(name, whole.size)
    metric[0] = part(&whole, last + 1, whole.size)
    device[0] = part(&whole, last_separator(name, last) + 1, last)
    return True


cdef long long time_of(double seconds, long long received_ms) noexcept:
    """Milliseconds since 1970; below 2**28 s the time is relative to now (RFC 8428 section 4.5.3)."""
    cdef double ms = rint(seconds * 1000.0)
    if not isfinite(seconds) or ms > MAX_MS or ms < -MAX_MS:
        return NEVER_MS
    if seconds < RELATIVE_BELOW_S:
        return received_ms + <long long>ms
    return <long long>ms


cdef bint add_text(Scanner* scan, Readings readings, int label, Text* value, RawReading* like) noexcept:
    """A string, boolean or blob, with the names and the time of `like`."""
    cdef RawText text
    cdef Py_ssize_t size
    text.time_ms = like.time_ms
    text.device = like.device
    text.metric = like.metric
    text.reason = REASON_NONE
    text.value = value[0]
    text.kind = TEXT_STRING if label == LABEL_VS else TEXT_BOOLEAN if label == LABEL_VB else TEXT_DATA
    if label == LABEL_VD:
        if readings.reserve_arena(value.size):
            return fail(scan, b"out of memory")
        size = decode_base64url(readings.bytes_of(value), value.size, readings.arena + readings.arena_size)
        if size < 0:
            return fail(scan, b"vd is not base64url without padding")
        text.value.at = readings.arena_size
        text.value.size = <unsigned int>size
        text.value.is_own = 1
        readings.arena_size += size
    if readings.add_text(&text):
        return fail(scan, b"out of memory")
    return True


cdef bint add_record(Scanner* scan, Readings readings, Pack* pack, Record* record, long long received_ms) noexcept:
    cdef int values = record.seen & ANY_VALUE
    cdef RawReading reading
    cdef Text device, metric
    cdef Text* known
    cdef bint has_device
    if values & (values - 1):
        return fail(scan, b"record with more than one value")
    if values == 0 and not record.seen & LABEL_S:
        # base fields alone are for the records to come (the example of RFC 8428 section 5.1.7)
        if record.seen and not record.seen & ~ANY_BASE:
            return True
        return fail(scan, b"record without a value")
    if not split_name(scan, readings, &pack.bn, &record.n, &device, &metric, &has_device):
        return False
    reading.device = OWN_DEVICE
    if has_device:
        # records of one device mostly follow each other and share their base name
        known = NULL
        if readings.device_count > readings.spans[readings.span_count - 1].first_device:
            known = &readings.devices[readings.device_count - 1].name
        if known == NULL or known.at != device.at or known.size != device.size or known.is_own != device.is_own:
            if readings.add_device(&device):
                return fail(scan, b"out of memory")
        reading.device = <unsigned int>(readings.device_count - 1)
    reading.metric = <unsigned int>readings.metric_count
    if readings.add_metric(&metric, &record.u.text if record.seen & LABEL_U else &pack.bu.text):
        return fail(scan, b"out of memory")
    reading.time_ms = time_of(pack.bt + record.t, received_ms)
    reading.reason = REASON_NONE
    reading.value = 0.0
    if values == LABEL_V:
        reading.value = record.v + pack.bv if pack.has_bv else record.v
        if not isfinite(reading.value):
            reading.reason = REASON_VALUE_NOT_FINITE
    elif values:
        return add_text(scan, readings, values, &record.text, &reading)
    else:
        reading.reason = REASON_SUM_WITHOUT_VALUE
    if readings.reserve_readings(1):
        return fail(scan, b"out of memory")
    readings.readings[readings.count] = reading
    readings.count += 1
    return True


cdef bint decode_senml(Scanner* scan, Readings readings, long long received_ms) noexcept:
    cdef Pack pack
    cdef Record record
    cdef Span* span
    cdef String empty
    empty.text.at = 0
    empty.text.size = 0
    empty.text.is_own = 1
    empty.bits = 0
    pack.bn = empty
    pack.bu = empty
    pack.bt = 0.0
    pack.bv = 0.0
    pack.has_bv = False
    pack.bver = 0.0
    skip_space(scan)
    if not take(scan, c"["):
        return fail(scan, b"not an array")
    while True:
        skip_space(scan)
        if not take(scan, c"{"):
            return fail(scan, b"record missing")
        record.n = empty
        record.u = empty
        record.v = 0.0
        record.t = 0.0
        record.seen = 0
        skip_space(scan)
        if not take(scan, c"}"):
            while True:
                if not scan_member(scan, readings, &pack, &record):
                    return False
                skip_space(scan)
                if take(scan, c"}"):
                    break
                if not take(scan, c","):
                    return fail(scan, b"comma missing")
                skip_space(scan)
        if pack.bver == 0:
            pack.bver = 10
        if not add_record(scan, readings, &pack, &record, received_ms):
            return False
        skip_space(scan)
        if take(scan, c"]"):
            break
        if not take(scan, c","):
            return fail(scan, b"comma missing")
    skip_space(scan)
    if scan.at != scan.end:
        return fail(scan, b"text after the end")
    span = &readings.spans[readings.span_count - 1]
    if readings.count == span.first_reading and readings.text_count == span.first_text:
        return fail(scan, b"no record with a value")
    return True
