# cython: language_level=3
"""SenML (RFC 8428) without its syntax: base fields applied, names taken apart, one reading for each record."""

from libc.math cimport floor, rint
from libc.string cimport memcpy

from ext.telemetry.byte_hash cimport same_bytes
from ext.telemetry.frames cimport REASON_NONE, REASON_SUM_WITHOUT_VALUE, REASON_VALUE_NOT_FINITE
from ext.telemetry.readings cimport (
    OWN_DEVICE,
    TEXT_BOOLEAN,
    TEXT_DATA,
    TEXT_STRING,
    DeviceName,
    MetricName,
    RawReading,
    RawText,
    Readings,
    Text,
    recent_metric,
    text_at,
)
from ext.wire.utf8 cimport is_utf8

cdef enum NameBits:                 # what a name holds, OR-ed over its bytes
    HAS_NOT_NAME = 1                # outside A-Z a-z 0-9 - : . / _
    HAS_SEPARATOR = 2               # : or /
    HAS_ALPHANUMERIC = 4            # A-Z a-z 0-9
    HAS_NOT_ASCII = 8

cdef double RELATIVE_BELOW_S = 268_435_456.0        # 2**28, RFC 8428 section 4.5.3
cdef double MAX_MS = 9e18
cdef long long NEVER_MS = 0x7FFFFFFFFFFFFFFF        # out of any window
cdef double ROUNDING = 6755399441055744.0           # 1.5 * 2**52: what is added to it is rounded to a whole number
cdef double ROUNDED_BELOW = 1125899906842624.0      # 2**50

cdef unsigned char[256] BITS_OF


cdef void fill_bits() noexcept:
    cdef int c
    for c in range(256):
        if c > 127:
            BITS_OF[c] = HAS_NOT_NAME | HAS_NOT_ASCII
        elif c"a" <= c <= c"z" or c"A" <= c <= c"Z" or c"0" <= c <= c"9":
            BITS_OF[c] = HAS_ALPHANUMERIC
        elif c == c":" or c == c"/":
            BITS_OF[c] = HAS_SEPARATOR
        elif c == c"-" or c == c"." or c == c"_":
            BITS_OF[c] = 0
        else:
            BITS_OF[c] = HAS_NOT_NAME


fill_bits()


cdef inline unsigned char bits_of(const unsigned char* at, size_t size) noexcept nogil:
    cdef unsigned char bits = 0
    cdef size_t i
    for i in range(size):
        bits |= BITS_OF[at[i]]
    return bits


cdef inline unsigned long long in_range(unsigned long long word, unsigned long long low,
                                        unsigned long long high) noexcept nogil:
    """The high bit of each byte that is in a range; all bytes have to be below 128."""
    return (word + (128 - low) * 0x0101010101010101ULL) & ~(word + (127 - high) * 0x0101010101010101ULL)


cdef inline bint is_plain_word(unsigned long long word) noexcept nogil:
    """Eight bytes of a name without a separator: A-Z a-z 0-9 - . _"""
    cdef unsigned long long good = in_range(word, c"-", c"9") & ~in_range(word, c"/", c"/")
    good |= in_range(word | 0x20 * 0x0101010101010101ULL, c"a", c"z") | in_range(word, c"_", c"_")
    return good & ~word & 0x8080808080808080ULL == 0x8080808080808080ULL


cdef inline bint is_plain(const unsigned char* at, size_t size) noexcept nogil:
    """Whether at least eight bytes are of a name without a separator; False may also mean fewer."""
    cdef unsigned long long word
    cdef size_t i = 0
    if size < 8:
        return False
    while i + 8 < size:
        memcpy(&word, at + i, 8)
        if not is_plain_word(word):
            return False
        i += 8
    memcpy(&word, at + size - 8, 8)
    return is_plain_word(word)


cdef int label_of(const unsigned char* at, size_t size) noexcept:
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


cdef inline Py_ssize_t last_separator(const unsigned char* name, Py_ssize_t size) noexcept:
    while size > 0:
        size -= 1
        if BITS_OF[name[size]] & HAS_SEPARATOR:
            return size
    return -1


cdef inline void part(Text* whole, size_t begin, size_t end, Text* out) noexcept:
    out.at = whole.at + begin
    out.size = <unsigned int>(end - begin)
    out.is_own = whole.is_own


cdef const char* set_base_name(Readings readings, Pack* pack) noexcept:
    cdef const unsigned char* at = text_at(readings, &pack.bn)
    cdef size_t size = pack.bn.size
    cdef unsigned char inside
    pack.is_split = False
    pack.device_at = OWN_DEVICE
    pack.bn_bits = 0
    if size == 0:
        return NULL
    inside = HAS_ALPHANUMERIC if is_plain(at, size - 1) else bits_of(at, size - 1)
    pack.bn_bits = inside | BITS_OF[at[size - 1]]
    if pack.bn_bits & HAS_NOT_ASCII and not is_utf8(at, size):
        return b"not UTF-8"
    if BITS_OF[at[size - 1]] & HAS_SEPARATOR and not pack.bn_bits & HAS_NOT_NAME and BITS_OF[at[0]] & HAS_ALPHANUMERIC:
        pack.is_split = True
        part(&pack.bn, last_separator(at, size - 1) + 1 if inside & HAS_SEPARATOR else 0, size - 1, &pack.device)
    return NULL


cdef const char* set_version(Pack* pack, double version) noexcept:
    # RFC 9100 section 4: 10 is what RFC 8428 defines, bit 4 adds the secondary units of RFC 8798.
    if version != floor(version) or not (1 <= version <= 10 or version == 26):
        return b"version not supported"
    if pack.bver != 0 and pack.bver != version:
        return b"records of different versions"
    pack.bver = version
    return NULL


cdef inline int use_device(Readings readings, Text* name, unsigned int* out) noexcept:
    """The place of a device in the open span; records of one device mostly follow each other."""
    cdef Text* known
    cdef DeviceName* entry
    if readings.device_count > readings.spans[readings.span_count - 1].first_device:
        known = &readings.devices[readings.device_count - 1].name
        if known.size == name.size and same_bytes(text_at(readings, known), text_at(readings, name), name.size):
            out[0] = <unsigned int>(readings.device_count - 1)
            return 0
    if readings.device_count == readings.device_capacity and readings.reserve_devices(1):
        return -1
    entry = &readings.devices[readings.device_count]
    # field by field: a struct that was just written in parts is slow to copy as one
    entry.name.at = name.at
    entry.name.size = name.size
    entry.name.is_own = name.is_own
    entry.reason = REASON_NONE
    entry.device = NULL
    out[0] = <unsigned int>readings.device_count
    readings.device_count += 1
    return 0


cdef const char* join_name(Readings readings, Pack* pack, Text* n, Text* out) noexcept:
    """bn and n as one name, checked."""
    cdef unsigned char bits = pack.bn_bits | bits_of(text_at(readings, n), n.size)
    cdef const unsigned char* first
    if bits & HAS_NOT_ASCII and not is_utf8(text_at(readings, n), n.size):
        return b"not UTF-8"
    if bits & HAS_NOT_NAME:
        return b"name holds characters other than A-Z a-z 0-9 - : . / _"
    if pack.bn.size == 0:
        out[0] = n[0]
    elif n.size == 0:
        out[0] = pack.bn
    else:
        if readings.reserve_arena(pack.bn.size + n.size):
            return b"out of memory"
        out.at = readings.arena_size
        out.size = pack.bn.size + n.size
        out.is_own = 1
        memcpy(readings.arena + out.at, text_at(readings, &pack.bn), pack.bn.size)
        memcpy(readings.arena + out.at + pack.bn.size, text_at(readings, n), n.size)
        readings.arena_size += out.size
    if out.size == 0:
        return b"record without a name"
    first = text_at(readings, out)
    if not BITS_OF[first[0]] & HAS_ALPHANUMERIC:
        return b"name does not start with a letter or digit"
    return NULL


cdef const char* split_name(Readings readings, Pack* pack, Text* n, Text* metric, unsigned int* device) noexcept:
    """The resolved name as a metric and the device before it, if any; see docs/flow.md, "Names inside SenML"."""
    cdef Text whole
    cdef Text named
    cdef const unsigned char* name
    cdef const char* wrong
    cdef Py_ssize_t last
    wrong = join_name(readings, pack, n, &whole)
    if wrong != NULL:
        return wrong
    name = text_at(readings, &whole)
    last = last_separator(name, whole.size)
    if last < 0:
        metric[0] = whole
        device[0] = OWN_DEVICE
        return NULL
    part(&whole, last + 1, whole.size, metric)
    part(&whole, last_separator(name, last) + 1, last, &named)
    if use_device(readings, &named, device):
        return b"out of memory"
    return NULL


cdef inline long long time_of(double seconds, long long received_ms) noexcept:
    """Milliseconds since 1970; below 2**28 s the time is relative to now (RFC 8428 section 4.5.3)."""
    cdef double ms = seconds * 1000.0
    if -ROUNDED_BELOW < ms < ROUNDED_BELOW:
        ms = (ms + ROUNDING) - ROUNDING
    elif -MAX_MS <= ms <= MAX_MS:
        ms = rint(ms)
    else:
        return NEVER_MS         # also what is no number at all
    if seconds < RELATIVE_BELOW_S:
        return received_ms + <long long>ms
    return <long long>ms


cdef inline Py_ssize_t plain_metric(Readings readings, Text* name, Text* unit) noexcept:
    """The place of a metric, if its name begins as names do and has no separator; else -1."""
    cdef MetricName* known = recent_metric(readings, name, unit)
    cdef Py_ssize_t added
    if known != NULL and known.is_plain:
        return known - readings.metrics
    if bits_of(text_at(readings, name), name.size) & (HAS_NOT_NAME | HAS_SEPARATOR):
        return -1
    if not BITS_OF[text_at(readings, name)[0]] & HAS_ALPHANUMERIC:
        return -1
    if known != NULL:
        known.is_plain = True
        return known - readings.metrics
    added = readings.add_recent(name, unit)
    if added >= 0:
        readings.metrics[added].is_plain = True
    return added


cdef const char* add_text(Readings readings, int label, Text* value, RawReading* like) noexcept:
    """A string, boolean or blob, with the names and the time of `like`."""
    cdef RawText text
    text.time_ms = like.time_ms
    text.device = like.device
    text.metric = like.metric
    text.reason = REASON_NONE
    text.value = value[0]
    text.kind = TEXT_STRING if label == LABEL_VS else TEXT_BOOLEAN if label == LABEL_VB else TEXT_DATA
    if readings.add_text(&text):
        return b"out of memory"
    return NULL


cdef const char* add_record(Readings readings, Pack* pack, Record* record, long long received_ms) noexcept:
    cdef int values = record.seen & ANY_VALUE
    cdef RawReading* reading
    cdef Text joined
    cdef Text* unit = &record.u if record.seen & LABEL_U else &pack.bu
    cdef Py_ssize_t metric_at = -1
    cdef const char* wrong
    if pack.bver == 0:
        pack.bver = 10
    if values != LABEL_V:
        if values & (values - 1):
            return b"record with more than one value"
        if values == 0 and not record.seen & LABEL_S:
            # base fields alone are for the records to come (the example of RFC 8428 section 5.1.7)
            if record.seen and not record.seen & ~ANY_BASE:
                return NULL
            return b"record without a value"
    if readings.count == readings.capacity and readings.reserve_readings(1):
        return b"out of memory"
    reading = &readings.readings[readings.count]
    if record.n.size and (pack.is_split or pack.bn.size == 0):
        metric_at = plain_metric(readings, &record.n, unit)
    if metric_at >= 0 and pack.bn.size == 0:
        reading.device = OWN_DEVICE
    elif metric_at >= 0:
        # the usual case: nothing has to be joined
        if pack.device_at == OWN_DEVICE and use_device(readings, &pack.device, &pack.device_at):
            return b"out of memory"
        reading.device = pack.device_at
    else:
        wrong = split_name(readings, pack, &record.n, &joined, &reading.device)
        if wrong != NULL:
            return wrong
        metric_at = readings.use_metric(&joined, unit)
        if metric_at < 0:
            return b"out of memory"
    reading.metric = <unsigned int>metric_at
    reading.time_ms = time_of(pack.bt + record.t, received_ms)
    reading.reason = REASON_NONE
    reading.value = 0.0
    if values == LABEL_V:
        reading.value = record.v + pack.bv if pack.has_bv else record.v
        if reading.value - reading.value != 0.0:    # infinity or not a number
            reading.reason = REASON_VALUE_NOT_FINITE
    elif values:
        return add_text(readings, values, &record.text, reading)
    else:
        reading.reason = REASON_SUM_WITHOUT_VALUE
    readings.count += 1
    return NULL
