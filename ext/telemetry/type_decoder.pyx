# cython: language_level=3
"""How the payloads of one device type are decoded, compiled from what the registry says into flat C arrays."""

from libc.math cimport fabs, isfinite, rint
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from ext.telemetry.byte_hash cimport hash_bytes, mix
from ext.telemetry.frames cimport REASON_NONE, REASON_VALUE_NOT_FINITE
from ext.telemetry.readings cimport RawReading

MAX_PAYLOAD_BYTES = 65_535
MAX_NAMES_BYTES = 1 << 20
TIME_FORMATS = {"": TIME_NONE, "unix_s": TIME_UNIX_S, "unix_ms": TIME_UNIX_MS, "rfc3339": TIME_RFC3339}
PORT_FORMATS = {"layout": PORT_LAYOUT, "lpp": PORT_LPP, "network-server": PORT_NETWORK_SERVER}
# size in bytes, is signed, is float
FIELD_TYPES = {
    "u8": (1, False, False),
    "u16": (2, False, False),
    "u24": (3, False, False),
    "u32": (4, False, False),
    "u64": (8, False, False),
    "i8": (1, True, False),
    "i16": (2, True, False),
    "i24": (3, True, False),
    "i32": (4, True, False),
    "i64": (8, True, False),
    "f32": (4, True, True),
    "f64": (8, True, True),
}

cdef double MAX_MS = 4e18
cdef long long NEVER_MS = 0x7FFFFFFFFFFFFFFF        # out of any window


cdef long long ms_of(double number, unsigned char time_format) noexcept nogil:
    cdef double ms = number * 1000.0 if time_format == TIME_UNIX_S else number
    if not isfinite(ms) or fabs(ms) > MAX_MS:
        return NEVER_MS
    return <long long>rint(ms)


cdef bint add_number(Readings readings, size_t metric, unsigned int device, long long time_ms, double value) noexcept:
    cdef RawReading* reading
    if readings.reserve_readings(1):
        return False
    reading = &readings.readings[readings.count]
    reading.value = value
    reading.time_ms = time_ms
    reading.device = device
    reading.metric = <unsigned int>metric
    reading.reason = REASON_NONE
    if not isfinite(value):
        reading.value = 0.0
        reading.reason = REASON_VALUE_NOT_FINITE
    readings.count += 1
    return True


cdef unsigned int hash_label(int parent, const unsigned char* label, size_t size) noexcept nogil:
    return hash_bytes(label, size) ^ <unsigned int>mix(<unsigned long long>parent + 1)


cdef unsigned int hash_position(int parent, unsigned int position) noexcept nogil:
    return <unsigned int>(mix((<unsigned long long>position << 32) ^ <unsigned long long>(parent + 0x51ED270B)) >> 7)


cdef int* empty_table(int entries, unsigned int* mask) except NULL:
    """A table of free places, at most half of which will be taken."""
    cdef unsigned int wide = 3
    cdef int* table
    while wide < <unsigned int>entries * 2:
        wide = wide * 2 + 1
    table = <int*>malloc((<size_t>wide + 1) * sizeof(int))
    if table == NULL:
        raise MemoryError
    memset(table, 0xFF, (<size_t>wide + 1) * sizeof(int))
    mask[0] = wide
    return table


cdef void* more(void* array, size_t count, size_t item_bytes) except NULL:
    """The array with room for `count` items."""
    cdef void* grown = realloc(array, count * item_bytes)
    if grown == NULL:
        raise MemoryError
    return grown


def steps_of(str path not None) -> list:
    """Labels and array positions of a path: `values[0].v`; a backslash before a dot, bracket or backslash of a label.

    Raises: ValueError if it is none.
    """
    steps = []
    at = 0
    while at < len(path):
        if path[at] == "[":
            end = path.find("]", at)
            digits = path[at + 1 : end]
            if end < 0 or not (digits.isascii() and digits.isdecimal()) or len(digits) > 4:
                raise ValueError(f"bad position in {path!r}")
            steps.append(int(digits))
            at = end + 1
            continue
        if path[at] == "." and at > 0:
            at += 1
        label = ""
        while at < len(path) and path[at] not in ".[":
            if path[at] == "\\":
                at += 1
                if at == len(path) or path[at] not in ".[]\\":
                    raise ValueError(f"bad backslash in {path!r}")
            label += path[at]
            at += 1
        if not label:
            raise ValueError(f"empty label in {path!r}")
        steps.append(label)
    if path.endswith(".") and not path.endswith("\\."):
        raise ValueError(f"empty label in {path!r}")
    return steps


cdef class TypeDecoder:
    """The decoder of one device type.

    Args:
        metrics: (source, metric, unit, metric_num) of every metric of the type; the source is what payloads call it,
            the unit what they send it in, empty: the metric's own.
        decoder: the fields of cityfleet.registry.v1.Decoder.
        default_encoding: of the type; how LoRaWAN payloads are decoded where `decoder.ports` says nothing.
    Raises: ValueError for what the registry would have refused.
    """

    def __cinit__(self, list metrics not None, decoder, str default_encoding not None):
        cdef int port
        cdef int fallback
        for link in range(<int>LINK_COUNT):
            self.link_sources[link] = NO_SOURCE
        self.add_nodes()
        self.add_sources(metrics, list(decoder.ignored))
        for at, path in ((NODE_RECORDS, decoder.json.records), (NODE_TIME, decoder.json.time),
                         (NODE_DEVICE, decoder.json.device)):
            if path:
                self.add_path(path, at, NO_SOURCE)
        self.has_records = bool(decoder.json.records)
        if decoder.json.time_format not in TIME_FORMATS or bool(decoder.json.time) != bool(decoder.json.time_format):
            raise ValueError(f"time format {decoder.json.time_format!r}")
        self.time_format = <unsigned char><int>TIME_FORMATS[decoder.json.time_format]
        for source in range(self.source_count):
            self.map_path(source)
        self.index_nodes()
        sources = {bytes(self.names[self.sources[i].name.at : self.sources[i].name.at + self.sources[i].name.size]): i
                   for i in range(self.source_count) if self.sources[i].metric.size}
        for layout in decoder.layouts:
            self.add_layout(layout, sources)
        fallback = PORT_NETWORK_SERVER
        if decoder.ports:
            fallback = PORT_NONE
        elif default_encoding in PORT_FORMATS:
            fallback = PORT_FORMATS[default_encoding]
        for port in range(256):
            self.port_formats[port] = <unsigned char>fallback
            for rule in decoder.ports:
                if not rule.f_ports or port in rule.f_ports:
                    self.port_formats[port] = <unsigned char><int>PORT_FORMATS[rule.format]
                    break

    def __dealloc__(self):
        free(self.names)
        free(self.sources)
        free(self.source_table)
        free(self.nodes)
        free(self.node_table)
        free(self.fields)
        free(self.layouts)

    # --- lookups in C

    cdef int find_source(self, const unsigned char* name, size_t size) noexcept:
        cdef unsigned int hash = hash_bytes(name, size)
        cdef unsigned int at = hash & self.source_mask
        cdef Source* source
        while self.source_table[at] >= 0:
            source = &self.sources[self.source_table[at]]
            if source.hash == hash and source.name.size == size \
                    and memcmp(self.names + source.name.at, name, size) == 0:
                return self.source_table[at] if source.metric.size else IGNORED
            at = (at + 1) & self.source_mask
        return NO_SOURCE

    cdef int child(self, int parent, const unsigned char* label, size_t size) noexcept:
        cdef unsigned int hash = hash_label(parent, label, size)
        cdef unsigned int at = hash & self.node_mask
        cdef Node* node
        while self.node_table[at] >= 0:
            node = &self.nodes[self.node_table[at]]
            if node.hash == hash and node.parent == <unsigned int>parent and not node.is_position \
                    and node.label.size == size and memcmp(self.names + node.label.at, label, size) == 0:
                return self.node_table[at]
            at = (at + 1) & self.node_mask
        return NO_NODE

    cdef int child_at(self, int parent, unsigned int position) noexcept:
        cdef unsigned int hash = hash_position(parent, position)
        cdef unsigned int at = hash & self.node_mask
        cdef Node* node
        while self.node_table[at] >= 0:
            node = &self.nodes[self.node_table[at]]
            if node.hash == hash and node.parent == <unsigned int>parent and node.is_position \
                    and node.position == position:
                return self.node_table[at]
            at = (at + 1) & self.node_mask
        return NO_NODE

    cdef void begin(self) noexcept:
        self.payload += 1

    cdef long long metric_of(self, Readings readings, int source) noexcept:
        cdef Source* entry = &self.sources[source]
        cdef Text metric, unit
        cdef Py_ssize_t found
        cdef size_t arena_size = readings.arena_size
        cdef size_t metric_count = readings.metric_count
        if entry.payload == self.payload:
            return entry.in_readings
        if readings.put_own(self.names + entry.metric.at, entry.metric.size, &metric) \
                or readings.put_own(self.names + entry.unit.at, entry.unit.size, &unit):
            return -1
        found = readings.use_metric(&metric, &unit)
        if found < 0:
            return -1
        if readings.metric_count == metric_count:
            readings.arena_size = arena_size    # a payload before used the same
        entry.payload = self.payload
        entry.in_readings = <unsigned int>found
        return entry.in_readings

    # --- compilation

    cdef int put_name(self, object text, Name* out) except -1:
        cdef bytes data = text.encode()
        if self.names_size + len(data) > <size_t>MAX_NAMES_BYTES:
            raise ValueError("names are too long")
        self.names = <unsigned char*>more(self.names, self.names_size + len(data) + 1, 1)
        memcpy(self.names + self.names_size, <const unsigned char*>data, len(data))
        out.at = <unsigned int>self.names_size
        out.size = <unsigned int>len(data)
        self.names_size += len(data)
        return 0

    cdef int add_source(self, object name, object metric, object unit, int metric_num) except -1:
        cdef Source* entry
        self.sources = <Source*>more(self.sources, self.source_count + 1, sizeof(Source))
        entry = &self.sources[self.source_count]
        memset(entry, 0, sizeof(Source))
        self.put_name(name, &entry.name)
        self.put_name(metric, &entry.metric)
        self.put_name(unit, &entry.unit)
        entry.metric_num = <unsigned short>metric_num
        entry.hash = hash_bytes(self.names + entry.name.at, entry.name.size)
        self.source_count += 1
        return 0

    def add_sources(self, list metrics, list ignored) -> None:
        cdef unsigned int at
        for name, metric, unit, metric_num in metrics:
            if not metric or not 1 <= metric_num <= 65535:
                raise ValueError(f"source {name!r} without a metric")
            self.add_source(name, metric, unit, metric_num)
        for name in ignored:
            self.add_source(name, "", "", 0)
        self.source_table = empty_table(self.source_count, &self.source_mask)
        for i in range(self.source_count):
            at = self.sources[i].hash & self.source_mask
            while self.source_table[at] >= 0:
                at = (at + 1) & self.source_mask
            self.source_table[at] = i
        self.link_sources[<int>LINK_RSSI] = self.find_source(b"rssi", 4)
        self.link_sources[<int>LINK_SNR] = self.find_source(b"snr", 3)
        self.link_sources[<int>LINK_F_CNT] = self.find_source(b"f_cnt", 5)

    def add_nodes(self) -> None:
        self.nodes = <Node*>more(NULL, 1, sizeof(Node))
        memset(self.nodes, 0, sizeof(Node))
        self.nodes[<int>ROOT].source = NO_SOURCE
        self.node_count = 1

    def map_path(self, int source) -> None:
        """A source that is no path belongs to another encoding."""
        cdef Name* name = &self.sources[source].name
        if self.sources[source].metric.size == 0:
            return
        try:
            self.add_path(self.names[name.at : name.at + name.size].decode(), NODE_METRIC, source)
        except ValueError:
            pass

    cdef int add_path(self, object path, unsigned char flag, int source) except -1:
        cdef int parent = ROOT
        cdef int found
        cdef Node* node
        for step in steps_of(path):
            found = NO_NODE
            for i in range(1, self.node_count):
                node = &self.nodes[i]
                if node.parent != <unsigned int>parent or node.is_position != isinstance(step, int):
                    continue
                if node.is_position:
                    if node.position == <unsigned int>step:
                        found = i
                elif self.names[node.label.at : node.label.at + node.label.size] == step.encode():
                    found = i
            if found == NO_NODE:
                self.nodes = <Node*>more(self.nodes, self.node_count + 1, sizeof(Node))
                node = &self.nodes[self.node_count]
                memset(node, 0, sizeof(Node))
                node.parent = parent
                node.source = NO_SOURCE
                node.is_position = isinstance(step, int)
                if node.is_position:
                    node.position = step
                    node.hash = hash_position(parent, node.position)
                else:
                    self.put_name(step, &node.label)
                    node.hash = hash_label(parent, self.names + node.label.at, node.label.size)
                found = self.node_count
                self.node_count += 1
            self.nodes[parent].flags |= NODE_INNER
            parent = found
        self.nodes[parent].flags |= flag
        if source != NO_SOURCE:
            self.nodes[parent].source = source
        return 0

    def index_nodes(self) -> None:
        cdef unsigned int at
        self.node_table = empty_table(self.node_count, &self.node_mask)
        for i in range(1, self.node_count):
            at = self.nodes[i].hash & self.node_mask
            while self.node_table[at] >= 0:
                at = (at + 1) & self.node_mask
            self.node_table[at] = i

    cdef int add_field(self, object given, object sources) except -1:
        """One field; its bits are fields of their own over the same bytes."""
        cdef Field* field
        cdef bint is_part
        parts = list(given.bits) or [given]
        for at, part in enumerate(parts):
            is_part = part is not given
            self.fields = <Field*>more(self.fields, self.field_count + 1, sizeof(Field))
            field = &self.fields[self.field_count]
            memset(field, 0, sizeof(Field))
            self.field_count += 1
            field.source = NO_SOURCE
            field.factor = field.divisor = 1.0
            field.stays = at + 1 < len(parts)
            if given.type == "skip":
                field.size = given.size_bytes or 1
                continue
            field.size, field.is_signed, field.is_float = FIELD_TYPES[given.type]
            if is_part:
                if field.is_float or part.width < 1 or part.bit < 0 or part.bit + part.width > 8 * field.size:
                    raise ValueError(f"bits {part.bit} + {part.width} of {given.type}")
                field.bit = part.bit
                field.width = part.width
                field.is_signed = part.is_signed
            else:
                field.time = <unsigned char><int>TIME_FORMATS[given.time]
                field.missing_nan = given.missing_nan
            if part.name:
                field.source = sources.get(part.name.encode(), NO_SOURCE)
            self.set_numbers(field, part)
            if field.time:
                field.factor = field.divisor = 1.0
                field.offset = 0.0
        return 0

    cdef int set_numbers(self, Field* field, object given) except -1:
        cdef double scale = given.scale or 1.0
        cdef double divisor = rint(1.0 / scale)
        if len(given.missing) > 4 or len(given.valid) not in (0, 2):
            raise ValueError("missing has at most four values, valid none or two")
        field.offset = given.offset
        field.factor = scale
        if divisor > 1.0 and divisor < 9007199254740992.0 and 1.0 / divisor == scale:
            field.factor = 1.0
            field.divisor = divisor
        for at, number in enumerate(given.missing):
            field.missing[<int>at] = number
        field.missing_count = len(given.missing)
        if given.valid:
            field.has_valid = True
            field.valid_low, field.valid_high = given.valid
        return 0

    cdef int add_layout(self, object given, object sources) except -1:
        cdef Layout* layout
        cdef int port
        self.layouts = <Layout*>more(self.layouts, self.layout_count + 1, sizeof(Layout))
        layout = &self.layouts[self.layout_count]
        memset(layout, 0, sizeof(Layout))
        layout.is_little = given.byte_order == "little"
        layout.may_be_longer = given.may_be_longer
        layout.anchor_last = given.repeat.anchor == "last"
        for port in given.f_ports:
            if not 0 <= port <= 255:
                raise ValueError(f"port {port}")
            layout.ports[port >> 3] |= 1 << (port & 7)
            layout.has_ports = True
        for port in given.tags:
            if not 0 <= port <= 255:
                raise ValueError(f"tag {port}")
            layout.tags[port >> 3] |= 1 << (port & 7)
            layout.has_tags = True
        layout.first = self.field_count
        for field in given.fields:
            self.add_field(field, sources)
        layout.count = self.field_count - layout.first
        layout.group_first = self.field_count
        for field in given.repeat.fields:
            self.add_field(field, sources)
        layout.group_count = self.field_count - layout.group_first
        layout.fixed_size = layout.has_tags
        for i in range(layout.first, layout.first + layout.count):
            layout.fixed_size += 0 if self.fields[i].stays else self.fields[i].size
        for i in range(layout.group_first, layout.group_first + layout.group_count):
            layout.group_size += 0 if self.fields[i].stays else self.fields[i].size
        layout.repeat = given.repeat.count
        if not abs(given.repeat.step_s) <= 31_622_400:
            raise ValueError(f"step {given.repeat.step_s}")
        layout.step_ms = <long long>rint(<double>given.repeat.step_s * 1000.0)
        if layout.fixed_size + layout.group_size * max(layout.repeat, <size_t>1) > <size_t>MAX_PAYLOAD_BYTES:
            raise ValueError("the layout is too long")
        self.layout_count += 1
        return 0
