# cython: language_level=3
"""Sparkplug B 3.0 as a host application: births, data and deaths of edge nodes to readings by name."""

from libc.limits cimport LLONG_MAX, LLONG_MIN
from libc.math cimport isfinite
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcmp, memcpy, strlen

from ext.telemetry.frames cimport (
    ENCODING_SPARKPLUG,
    REASON_MALFORMED_PAYLOAD,
    REASON_NONE,
    REASON_TYPE_MISMATCH,
    REASON_UNKNOWN_ALIAS,
    REASON_UNKNOWN_DEVICE,
    REASON_UNKNOWN_METRIC,
    REASON_UNSUPPORTED_DATATYPE,
    REASON_UNSUPPORTED_TOPIC,
    REASON_VALUE_NOT_FINITE,
    Frame,
    FrameChunk,
)
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.protobuf cimport Wire, read_bytes, read_tag, read_varint, skip_field
from ext.telemetry.readings cimport (
    TEXT_BOOLEAN,
    TEXT_DATA,
    TEXT_STRING,
    RawReading,
    RawText,
    Readings,
    Span,
    Text,
)
from ext.telemetry.sparkplug_births cimport (
    BIRTH_BORN,
    BIRTH_RESTORED,
    WANT_ALIAS,
    WANT_CONFIRMATION,
    WANT_UNBORN,
    Birth,
    Births,
)
from ext.telemetry.sparkplug_metric cimport (
    VALUE_INT,
    VALUE_LONG,
    VALUE_NONE,
    WORTH_BOOLEAN,
    WORTH_MISMATCH,
    WORTH_NUMBER,
    WORTH_STRING,
    WORTH_UNSUPPORTED,
    Metric,
    Worth,
    find_unit,
    is_control_name,
    read_metric,
    worth_of,
)
from ext.telemetry.sparkplug_sequence cimport begin_sequence
from ext.telemetry.sparkplug_table cimport Announced, BornMetric, find_alias, find_name
from ext.wire.utf8 cimport is_utf8

cdef enum:
    TAG_TIMESTAMP = 0x08
    TAG_METRIC = 0x12
    TAG_SEQ = 0x18
    NO_NAME = 0xFFFFFFFF
    MAX_UNIT_BYTES = 64             # of engUnit that are kept; units that are known are shorter

# A reading without a time of its own has the time LLONG_MIN until the payload is read; no sender can give that.

VERBS = ("other", "nbirth", "dbirth", "ndata", "ddata", "ndeath", "ddeath")

cdef Verb verb_of(const unsigned char* at, size_t size) noexcept nogil:
    if size == 5 and memcmp(at, b"NDATA", 5) == 0:
        return VERB_NDATA
    if size == 5 and memcmp(at, b"DDATA", 5) == 0:
        return VERB_DDATA
    if size != 6:
        return VERB_OTHER
    if memcmp(at, b"NBIRTH", 6) == 0:
        return VERB_NBIRTH
    if memcmp(at, b"DBIRTH", 6) == 0:
        return VERB_DBIRTH
    if memcmp(at, b"NDEATH", 6) == 0:
        return VERB_NDEATH
    if memcmp(at, b"DDEATH", 6) == 0:
        return VERB_DDEATH
    return VERB_OTHER


cdef bint parse_path(const unsigned char* at, size_t size, Path* out) noexcept nogil:
    """False if it is no topic of Sparkplug's. Commands and states are VERB_OTHER, whatever follows."""
    cdef const unsigned char* end = at + size
    cdef const unsigned char* slash
    out.device = NULL
    out.device_size = 0
    out.verb = VERB_OTHER
    if size < 8 or memcmp(at, b"spBv1.0/", 8) != 0:
        return False
    at += 8
    out.group = at
    slash = <const unsigned char*>memchr(at, b"/", end - at)
    if slash == NULL or slash == at:
        return False
    out.group_size = slash - at
    if out.group_size == 5 and memcmp(at, b"STATE", 5) == 0:
        return True
    at = slash + 1
    slash = <const unsigned char*>memchr(at, b"/", end - at)
    if slash == NULL:
        return False
    if slash - at == 4 and (memcmp(at, b"NCMD", 4) == 0 or memcmp(at, b"DCMD", 4) == 0):
        return True
    out.verb = verb_of(at, slash - at)
    at = slash + 1
    out.edge = at
    slash = <const unsigned char*>memchr(at, b"/", end - at)
    out.edge_size = (end if slash == NULL else slash) - at
    if slash != NULL:
        out.device = slash + 1
        out.device_size = end - out.device
    if out.verb == VERB_OTHER or out.edge_size == 0:
        return False
    if out.verb == VERB_DBIRTH or out.verb == VERB_DDATA or out.verb == VERB_DDEATH:
        return out.device_size > 0 and memchr(out.device, b"/", out.device_size) == NULL
    return out.device == NULL


cdef class SparkplugDecoder:
    """Decodes the payloads of all edge nodes; `births` holds what it knows of them. One per thread."""

    def __cinit__(self, Births births not None):
        self.births = births
        self.detail = b""

    def __dealloc__(self):
        free(self.staged)

    cdef void begin(self) noexcept:
        self.round += 1
        if self.round == 0:
            self.round = 1

    def counters(self) -> dict:
        """Counts since the start by name."""
        counts = {f"messages.{VERBS[i]}": self.messages[i] for i in range(1, 7)}
        counts["messages.other"] = self.other_messages
        counts["readings.null"] = self.nulls
        counts["readings.transient"] = self.transient
        counts["readings.historical"] = self.historical
        counts["readings.unknown_alias"] = self.unknown_aliases
        counts["metrics.control"] = self.controls
        return counts

    cdef SparkplugResult refuse(self, unsigned char reason, const char* detail, size_t offset) noexcept:
        self.reason = reason
        self.detail = detail
        self.offset = offset
        return SPARKPLUG_REFUSED

    cdef SparkplugResult decode(self, FrameChunk chunk, size_t at, DeviceIndex index, Readings readings) except *:
        cdef Frame* frame = &chunk.frames[at]
        cdef Path path
        cdef Scene scene
        cdef unsigned int owner = 0
        cdef Text key
        cdef long long seq = -1, time_ms = LLONG_MIN
        cdef size_t before
        cdef unsigned long long transient
        cdef int slot
        cdef Span* span
        if not parse_path(chunk.data + frame.topic_at, frame.topic_size, &path):
            return self.refuse(REASON_UNSUPPORTED_TOPIC, b"not a topic of Sparkplug's", 0)
        if path.verb == VERB_OTHER:
            self.other_messages += 1
            return SPARKPLUG_NOTHING
        if 0 <= frame.sender < len(index):
            owner = index.at(frame.sender).device_num
        elif not frame.is_trusted:
            return self.refuse(REASON_UNKNOWN_DEVICE, b"", 0)
        self.put_key(&path, readings, &key)
        scene.key_at = key.at
        scene.key_size = key.size
        scene.is_birth = path.verb == VERB_NBIRTH or path.verb == VERB_DBIRTH
        scene.birth = NULL
        scene.next_metric = 0
        scene.unnamed = NO_NAME
        scene.lacks_time = False
        scene.has_bd_seq = False
        scene.bd_seq = 0
        scene.wants = 0
        if not scene.is_birth:
            slot = self.births.find(owner, readings.arena + key.at, key.size)
            if slot >= 0 and self.births.births[slot].flags & BIRTH_BORN:
                scene.birth = &self.births.births[slot]
        self.staged_count = 0
        transient = self.transient
        before = readings.count + readings.text_count
        span = readings.open_span(at, ENCODING_SPARKPLUG)
        if span == NULL:
            raise MemoryError
        if not self.read_payload(chunk, frame, &path, &scene, readings, &seq, &time_ms):
            readings.drop_span()
            if readings.ran_out:
                raise MemoryError
            self.transient = transient      # the payload is one refused item, whatever was in it
            return SPARKPLUG_REFUSED
        if readings.count + readings.text_count == before:
            readings.drop_span()
        else:
            if scene.lacks_time:
                give_time(readings, span, frame.received_ms if time_ms == LLONG_MIN else time_ms)
            self.name_device(&path, frame, &key, index, readings)
            readings.close_span()
        self.messages[<int>path.verb] += 1
        self.take_note(&path, &scene, owner, readings.arena + key.at, key.size, seq, frame.received_ms)
        return SPARKPLUG_NOTHING if readings.count + readings.text_count == before else SPARKPLUG_READINGS

    cdef int put_key(self, Path* path, Readings readings, Text* key) except -1:
        """{group}/{edge}[/{device}] in the arena."""
        cdef size_t size = path.group_size + 1 + path.edge_size
        cdef unsigned char* to
        if path.device != NULL:
            size += 1 + path.device_size
        if readings.reserve_arena(size):
            raise MemoryError
        to = readings.arena + readings.arena_size
        memcpy(to, path.group, path.group_size)
        to[path.group_size] = c"/"
        memcpy(to + path.group_size + 1, path.edge, path.edge_size)
        if path.device != NULL:
            to += path.group_size + 1 + path.edge_size
            to[0] = c"/"
            memcpy(to + 1, path.device, path.device_size)
        key.at = readings.arena_size
        key.size = <unsigned int>size
        key.is_own = 1
        readings.arena_size += size
        return 0

    cdef int name_device(self, Path* path, Frame* frame, Text* key, DeviceIndex index, Readings readings) except -1:
        """Whose readings these are: of who has the key as external id, else of who is named so behind the gateway.

        The gateway is who sent the frame; through a broker it is the edge node.
        """
        cdef const unsigned char* id = path.edge
        cdef size_t id_size = path.edge_size
        cdef Text name = key[0]
        cdef int slot, gateway = frame.sender
        if index.find_external(readings.arena + key.at, key.size) < 0:
            if path.device != NULL:
                id = path.device
                id_size = path.device_size
                if gateway < 0:
                    gateway = index.find_external(readings.arena + key.at, path.group_size + 1 + path.edge_size)
                if gateway < 0:
                    gateway = index.find(path.edge, path.edge_size)
            slot = index.find(id, id_size)
            if slot >= 0 and (slot == gateway
                              or (gateway >= 0 and index.at(slot).gateway_num == index.at(gateway).device_num)
                              or (path.device == NULL and frame.is_trusted)):
                name.at = id - readings.chunk.data
                name.size = <unsigned int>id_size
                name.is_own = 0
        if readings.add_device(&name):
            raise MemoryError
        return 0

    cdef int take_note(self, Path* path, Scene* scene, unsigned int owner, const unsigned char* key, size_t key_size,
                       long long seq, long long now_ms) except -1:
        """A payload that was decoded whole changes what is known of its node."""
        cdef Births births = self.births
        cdef size_t node_size = path.group_size + 1 + path.edge_size
        cdef int slot, node
        if scene.is_birth or (path.verb != VERB_NDEATH and path.verb != VERB_DDEATH):
            if not scene.is_birth:
                key_size = node_size
            slot = births.enter(owner, key, key_size, path.group_size, node_size, now_ms)
        else:
            slot = births.find(owner, key, key_size)
        if path.verb == VERB_NBIRTH:
            if slot >= 0:
                births.bear(slot, self.staged, self.staged_count, scene.has_bd_seq, scene.bd_seq, now_ms)
                if 0 <= seq <= 255:
                    begin_sequence(&births.births[slot].sequence, <unsigned int>seq)
            return 0
        if path.verb == VERB_NDEATH:
            if slot >= 0:
                births.bury(slot, scene.has_bd_seq, scene.bd_seq, now_ms)
            return 0
        if path.verb == VERB_DBIRTH and slot >= 0:
            births.bear(slot, self.staged, self.staged_count, False, 0, now_ms)
        elif path.verb == VERB_DDEATH and slot >= 0:
            births.bury(slot, False, 0, now_ms)
        node = births.find(owner, key, node_size)
        if node < 0:
            return 0
        if not births.births[node].flags & BIRTH_BORN:
            scene.wants |= WANT_UNBORN
        elif births.births[node].flags & BIRTH_RESTORED:
            scene.wants |= WANT_CONFIRMATION
        elif scene.birth == NULL and path.verb == VERB_DDATA:
            scene.wants |= WANT_UNBORN
        births.step(node, <unsigned long long>seq, now_ms)
        if scene.wants:
            births.want(node, scene.wants)
        return 0

    cdef bint read_payload(self, FrameChunk chunk, Frame* frame, Path* path, Scene* scene, Readings readings,
                           long long* seq, long long* time_ms) except *:
        cdef const unsigned char* start = chunk.data + frame.payload_at
        cdef Wire wire, inner, unit
        cdef Metric metric
        cdef unsigned int field, wire_type
        cdef unsigned long long raw = 0
        wire.at = start
        wire.end = start + frame.payload_size
        scene.device = <unsigned int>readings.device_count
        while wire.at < wire.end:
            if not read_tag(&wire, &field, &wire_type):
                return self.is_malformed(b"not a protobuf message", wire.at - start)
            if field << 3 | wire_type == TAG_METRIC:
                if not read_bytes(&wire, &inner):
                    return self.is_malformed(b"not a protobuf message", wire.at - start)
                raw = inner.at - start
                if not read_metric(&inner, &metric):
                    return self.is_malformed(b"not a metric", inner.at - start)
                unit.at = NULL
                unit.end = NULL
                if metric.has_properties and find_unit(start + raw, wire.at, &unit) < 0:
                    return self.is_malformed(b"malformed properties", raw)
                if metric.name != NULL and not is_utf8(metric.name, metric.name_size):
                    return self.is_malformed(b"metric name not UTF-8", raw)
                if path.verb == VERB_NDEATH or path.verb == VERB_DDEATH:
                    self.take_bd_seq(&metric, scene)
                elif scene.is_birth:
                    self.take_born(&metric, &unit, chunk, scene, readings)
                else:
                    self.take_data(&metric, chunk, scene, readings)
            elif field << 3 | wire_type == TAG_TIMESTAMP:
                if not read_varint(&wire, &raw):
                    return self.is_malformed(b"not a protobuf message", wire.at - start)
                time_ms[0] = clamped(raw)
            elif field << 3 | wire_type == TAG_SEQ:
                if not read_varint(&wire, &raw):
                    return self.is_malformed(b"not a protobuf message", wire.at - start)
                seq[0] = clamped(raw)
            elif not skip_field(&wire, field, wire_type, 0):
                return self.is_malformed(b"not a protobuf message", wire.at - start)
        return True

    cdef bint is_malformed(self, const char* detail, size_t offset) noexcept:
        self.refuse(REASON_MALFORMED_PAYLOAD, detail, offset)
        return False

    cdef void take_bd_seq(self, Metric* metric, Scene* scene) noexcept:
        if metric.name != NULL and metric.name_size == 5 and memcmp(metric.name, b"bdSeq", 5) == 0 \
                and (metric.kind == VALUE_INT or metric.kind == VALUE_LONG) and not metric.is_null:
            scene.has_bd_seq = True
            scene.bd_seq = metric.bits

    cdef int take_born(self, Metric* metric, Wire* unit, FrameChunk chunk, Scene* scene,
                       Readings readings) except -1:
        """A metric of a birth: what it announces, and its value."""
        cdef Announced* announced
        cdef Text name, unit_text
        cdef void* grown
        cdef size_t room
        if unit.at != NULL:
            if not is_utf8(unit.at, unit.end - unit.at):
                unit.at = <const unsigned char*>b"?"        # no unit that anything converts from
                unit.end = unit.at + 1
            if unit.end - unit.at > MAX_UNIT_BYTES:
                unit.end = unit.at + MAX_UNIT_BYTES
                while (unit.end[0] & 0xC0) == 0x80:
                    unit.end -= 1
        if metric.name != NULL:
            if self.staged_count == self.staged_capacity:
                room = max(self.staged_capacity * 2, <size_t>256)
                grown = realloc(self.staged, room * sizeof(Announced))
                if grown == NULL:
                    raise MemoryError
                self.staged = <Announced*>grown
                self.staged_capacity = room
            announced = &self.staged[self.staged_count]
            self.staged_count += 1
            announced.name = metric.name
            announced.name_size = metric.name_size
            announced.unit = unit.at
            announced.unit_size = <unsigned char>(unit.end - unit.at)
            announced.alias = metric.alias
            announced.has_alias = metric.has_alias
            announced.datatype = <unsigned char>min(metric.datatype, <unsigned int>255)
            announced.is_control = is_control_name(metric.name, metric.name_size)
            self.take_bd_seq(metric, scene)
            if announced.is_control:
                self.controls += 1
                return 0
        if self.passes(metric):
            return 0
        if metric.name == NULL:
            return self.refuse_unnamed(metric, chunk, scene, readings)
        name.at = metric.name - chunk.data
        name.size = metric.name_size
        name.is_own = 0
        if readings.put_own(unit.at, unit.end - unit.at, &unit_text):
            raise MemoryError
        return self.put_reading(metric, metric.datatype, &name, &unit_text, chunk, scene, readings)

    cdef int take_data(self, Metric* metric, FrameChunk chunk, Scene* scene, Readings readings) except -1:
        cdef Birth* birth = scene.birth
        cdef BornMetric* born = NULL
        cdef Text name, unit
        cdef unsigned int datatype = metric.datatype
        if metric.name == NULL:
            if birth != NULL and metric.has_alias:
                born = find_alias(&birth.table, metric.alias)
            if born == NULL:
                if metric.has_alias:
                    scene.wants |= WANT_ALIAS
                if self.passes(metric):
                    return 0
                return self.refuse_unnamed(metric, chunk, scene, readings)
        elif birth != NULL:
            if scene.next_metric < birth.table.metric_count:
                born = &birth.table.metrics[scene.next_metric]
                if born.is_shadowed or born.name_size != metric.name_size \
                        or memcmp(birth.table.text + born.name_at, metric.name, metric.name_size) != 0:
                    born = NULL
            if born == NULL:
                born = find_name(&birth.table, metric.name, metric.name_size)
            if born != NULL:
                scene.next_metric = <unsigned int>(born - birth.table.metrics) + 1
        if born != NULL:
            if born.is_control:
                self.controls += 1
                return 0
            if datatype == 0:
                datatype = born.datatype
            if born.own_round != self.round:
                if readings.put_own(birth.table.text + born.name_at, born.name_size + born.unit_size, &name):
                    raise MemoryError
                born.own_round = self.round
                born.own_at = <unsigned int>name.at
            name.at = born.own_at
            name.size = born.name_size
            name.is_own = 1
            unit.at = name.at + born.name_size
            unit.size = born.unit_size
            unit.is_own = 1
        else:
            if is_control_name(metric.name, metric.name_size):
                self.controls += 1
                return 0
            name.at = metric.name - chunk.data
            name.size = metric.name_size
            name.is_own = 0
            unit.at = 0
            unit.size = 0
            unit.is_own = 1
        if metric.is_null or metric.is_transient or metric.kind == VALUE_NONE:
            self.passes(metric)
            return 0
        return self.put_reading(metric, datatype, &name, &unit, chunk, scene, readings)

    cdef bint passes(self, Metric* metric) noexcept:
        """Whether a metric is no reading to store: without a value, or not meant to be stored."""
        if metric.is_transient:
            self.transient += 1
            return True
        if metric.is_null or metric.kind == VALUE_NONE:
            self.nulls += 1
            return True
        return False

    cdef int put_reading(self, Metric* metric, unsigned int datatype, Text* name, Text* unit, FrameChunk chunk,
                         Scene* scene, Readings readings) except -1:
        cdef RawReading* reading
        cdef RawText text
        cdef double number = 0.0
        cdef Worth worth = worth_of(metric, datatype, &number)
        cdef unsigned char reason = REASON_NONE
        cdef long long time_ms
        if metric.has_timestamp:
            time_ms = clamped(metric.timestamp)
        else:
            time_ms = LLONG_MIN
            scene.lacks_time = True
        if metric.is_historical:
            self.historical += 1
        if readings.add_metric(name, unit):
            raise MemoryError
        if worth == WORTH_NUMBER:
            if not isfinite(number):
                reason = REASON_VALUE_NOT_FINITE
        elif worth == WORTH_UNSUPPORTED:
            reason = REASON_UNSUPPORTED_DATATYPE
        elif worth == WORTH_MISMATCH:
            reason = REASON_TYPE_MISMATCH
        else:
            if worth == WORTH_BOOLEAN:
                self.put_boolean(metric.bits != 0, readings, &text.value)
                text.kind = TEXT_BOOLEAN
            else:
                text.value.at = metric.text - chunk.data
                text.value.size = metric.text_size
                text.value.is_own = 0
                text.kind = TEXT_DATA
                if worth == WORTH_STRING:
                    text.kind = TEXT_STRING
                    if not is_utf8(metric.text, metric.text_size):
                        reason = REASON_TYPE_MISMATCH
            text.time_ms = time_ms
            text.device = scene.device
            text.metric = <unsigned int>readings.metric_count - 1
            text.reason = reason
            if readings.add_text(&text):
                raise MemoryError
            return 0
        if readings.count == readings.capacity and readings.reserve_readings(1):
            raise MemoryError
        reading = &readings.readings[readings.count]
        readings.count += 1
        reading.value = number
        reading.time_ms = time_ms
        reading.device = scene.device
        reading.metric = <unsigned int>readings.metric_count - 1
        reading.reason = reason
        return 0

    cdef int put_boolean(self, bint value, Readings readings, Text* out) except -1:
        """`true` or `false`, once for all in a chunk."""
        if value:
            if self.true_round != self.round:
                if readings.put_own(<const char*>b"true", 4, out):
                    raise MemoryError
                self.true_round = self.round
                self.true_at = out.at
            out.at = self.true_at
            out.size = 4
        else:
            if self.false_round != self.round:
                if readings.put_own(<const char*>b"false", 5, out):
                    raise MemoryError
                self.false_round = self.round
                self.false_at = out.at
            out.at = self.false_at
            out.size = 5
        out.is_own = 1
        return 0

    cdef int refuse_unnamed(self, Metric* metric, FrameChunk chunk, Scene* scene, Readings readings) except -1:
        """A value of nobody knows what: to quarantine, with what there is to name it by."""
        cdef RawReading* reading
        cdef Text name, unit
        cdef size_t start, room
        if metric.has_alias:
            self.unknown_aliases += 1
        if scene.unnamed == NO_NAME:
            room = 32 + scene.key_size
            if readings.reserve_arena(room):
                raise MemoryError
            name.at = readings.arena_size
            name.is_own = 1
            if metric.has_alias:
                start = say_alias(readings.arena + name.at, metric.alias)
            else:
                start = strlen(b"without name or alias of ")
                memcpy(readings.arena + name.at, <const char*>b"without name or alias of ", start)
            memcpy(readings.arena + name.at + start, readings.arena + scene.key_at, scene.key_size)
            name.size = <unsigned int>(start + scene.key_size)
            readings.arena_size += name.size
            unit.at = 0
            unit.size = 0
            unit.is_own = 1
            if readings.add_metric(&name, &unit):
                raise MemoryError
            scene.unnamed = <unsigned int>readings.metric_count - 1
        if readings.count == readings.capacity and readings.reserve_readings(1):
            raise MemoryError
        reading = &readings.readings[readings.count]
        readings.count += 1
        reading.value = 0.0
        reading.time_ms = 0
        reading.device = scene.device
        reading.metric = scene.unnamed
        reading.reason = REASON_UNKNOWN_ALIAS if metric.has_alias else REASON_UNKNOWN_METRIC
        return 0


cdef inline long long clamped(unsigned long long raw) noexcept nogil:
    return LLONG_MAX if raw > <unsigned long long>LLONG_MAX else <long long>raw


cdef size_t say_alias(unsigned char* to, unsigned long long alias) noexcept nogil:
    """`alias 57 of `, at most 30 bytes. Returns the size."""
    cdef unsigned char[20] digits
    cdef size_t at = 20
    while True:
        at -= 1
        digits[at] = <unsigned char>(c"0" + alias % 10)
        alias //= 10
        if alias == 0:
            break
    memcpy(to, <const char*>b"alias ", 6)
    memcpy(to + 6, digits + at, 20 - at)
    memcpy(to + 26 - at, <const char*>b" of ", 4)
    return 30 - at


cdef void give_time(Readings readings, Span* span, long long time_ms) noexcept:
    """To the readings that had no time of their own."""
    cdef size_t i
    for i in range(span.first_reading, readings.count):
        if readings.readings[i].time_ms == LLONG_MIN:
            readings.readings[i].time_ms = time_ms
    for i in range(span.first_text, readings.text_count):
        if readings.texts[i].time_ms == LLONG_MIN:
            readings.texts[i].time_ms = time_ms
