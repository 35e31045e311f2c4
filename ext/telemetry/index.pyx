# cython: language_level=3
"""The device index: a read-only copy of the registry's devices, updated in place by the thread that also reads it."""

import re
from collections import namedtuple
from hashlib import sha256
from hmac import compare_digest

from libc.math cimport INFINITY, isfinite, rint
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from ext.telemetry.byte_hash cimport hash_bytes
from ext.telemetry.device_table cimport (
    DEVICE_ACTIVE,
    DEVICE_GATEWAY,
    MAX_TOKENS,
    PUT_NO_MEMORY,
    PUT_REVOKED,
    DeviceEntry,
    external_id_of,
    id_of,
)
from ext.telemetry.frames cimport ENCODING_UNKNOWN
from ext.telemetry.quality cimport Expected, Span, anything

from ext.telemetry.device_table import PUT_PROBLEMS
from ext.telemetry.frames import ENCODING_NAMES

AUTH_UNKNOWN_DEVICE = -1
AUTH_WRONG_TOKEN = -2
AUTH_DECOMMISSIONED = -3
AUTH_NOT_LOADED = -4

METRIC = re.compile(rb"[a-z0-9_]{1,63}")
MAX_UNIT_BYTES = 15

Operator = namedtuple("Operator", ("name", "subscribe_filters", "publish_filters"))
Operator.__doc__ = "An account that is no device: its name, and bytes of the MQTT filters it may use."


cdef int no_slot(HashEntry* table, unsigned int mask) noexcept nogil:
    """Fill a table of mask + 1 entries with free ones (slot -1)."""
    memset(table, 0xFF, (<size_t>mask + 1) * sizeof(HashEntry))
    return 0


cdef void add_entry(HashEntry* table, unsigned int mask, unsigned int hash, int slot) noexcept nogil:
    cdef unsigned int at = hash & mask
    while table[at].slot >= 0:
        at = (at + 1) & mask
    table[at].hash = hash
    table[at].slot = slot


cdef HashEntry* with_room(HashEntry* table, unsigned int* mask, int count) except NULL:
    """The table, twice as large if `count` entries would fill half of it."""
    cdef unsigned int wide
    cdef HashEntry* wider
    if <unsigned int>count * 2 <= mask[0]:
        return table
    wide = mask[0] * 2 + 1
    wider = <HashEntry*>malloc((<size_t>wide + 1) * sizeof(HashEntry))
    if wider == NULL:
        raise MemoryError
    no_slot(wider, wide)
    for i in range(mask[0] + 1):
        if table[i].slot >= 0:
            add_entry(wider, wide, table[i].hash, table[i].slot)
    free(table)
    mask[0] = wide
    return wider


cdef Span span_of(tuple bounds):
    """Of (low, high), each a number or None. Raises ValueError for NaN."""
    cdef Span span
    low, high = bounds
    span.low = -INFINITY if low is None else low
    span.high = INFINITY if high is None else high
    if span.low != span.low or span.high != span.high:
        raise ValueError("a bound is not a number")
    return span


cdef Expected expected_of(tuple fail, tuple suspect):
    cdef Expected expected
    expected.fail = span_of(fail)
    expected.suspect = span_of(suspect)
    expected.is_given = fail != (None, None) or suspect != (None, None)
    return expected


cdef TypeMetric* table_of(list metrics, dict spans, unsigned int mask) except NULL:
    """mask + 1 metrics, open addressing, and behind them the months of those that have a climatology; for free()."""
    cdef TypeMetric* table
    cdef TypeMetric* entry
    cdef Expected* months
    cdef unsigned int at
    cdef int month
    cdef list given = [(metric_num, (low, high), *spans.get(metric_num, ((None, None), {})))
                       for metric_num, low, high in metrics]
    seasonal = sum(bool(climatology) for _, _, _, climatology in given)
    table = <TypeMetric*>calloc(1, (<size_t>mask + 1) * sizeof(TypeMetric) + <size_t>seasonal * 12 * sizeof(Expected))
    if table == NULL:
        raise MemoryError
    months = <Expected*>(table + mask + 1)
    try:
        for metric_num, fail, suspect, climatology in given:
            at = metric_num & mask
            while table[at].metric_num not in (0, metric_num):
                at = (at + 1) & mask
            entry = &table[at]
            entry.metric_num = metric_num
            entry.always = expected_of(fail, suspect)
            entry.good.low = max(entry.always.fail.low, entry.always.suspect.low)
            entry.good.high = min(entry.always.fail.high, entry.always.suspect.high)
            entry.months = NULL
            if climatology:
                entry.months = months
                months += 12
                for month in range(12):
                    entry.months[month] = anything()
                for month, (month_fail, month_suspect) in climatology.items():
                    if not 1 <= month <= 12:
                        raise ValueError(f"month {month} is not in 1..12")
                    entry.months[month - 1] = expected_of(month_fail, month_suspect)
    except BaseException:
        free(table)
        raise
    return table


cdef bytes as_bytes(object text):
    return text.encode() if isinstance(text, str) else bytes(text)


cdef class DeviceIndex(DeviceTable):
    """Device ids to slots, (type, metric name) to numbers and ranges, (metric, unit) to a conversion.

    Args:
        conversions: canonical UCUM unit -> iterable of (unit, factor, offset), asked once for every metric that is
            put; canonical value = value * factor + offset. None: a metric knows its canonical unit only.
    """

    def __cinit__(self, object conversions=None):
        self.conversions = conversions
        self.type_names = {}
        self.decoders = []
        self.metric_units = {}
        self.operators = {}
        self.generation = 1
        self.metric_mask = 255
        self.metric_table = <HashEntry*>malloc((self.metric_mask + 1) * sizeof(HashEntry))
        if self.metric_table == NULL:
            raise MemoryError
        no_slot(self.metric_table, self.metric_mask)

    def __dealloc__(self):
        for i in range(self.metric_count):
            free(self.metrics[i].units)
        for i in range(self.type_count):
            free(self.types[i].metrics)
        free(self.metrics)
        free(self.metric_table)
        free(self.types)

    # --- lookups in C

    cdef int find_metric(self, const unsigned char* metric, size_t size) noexcept:
        cdef unsigned int hash = hash_bytes(metric, size)
        cdef unsigned int at = hash & self.metric_mask
        cdef HashEntry* entry = &self.metric_table[at]
        cdef Key* key
        while entry.slot >= 0:
            if entry.hash == hash:
                key = &self.metrics[entry.slot].name
                if key.size == size and memcmp(self.arena + key.at, metric, size) == 0:
                    return entry.slot
            at = (at + 1) & self.metric_mask
            entry = &self.metric_table[at]
        return 0

    cdef TypeMetric* metric_of(self, unsigned short type_num, unsigned short metric_num) noexcept:
        cdef DeviceType* type_
        cdef unsigned int at
        if type_num >= self.type_count or metric_num == 0:
            return NULL
        type_ = &self.types[type_num]
        if type_.metrics == NULL:
            return NULL
        at = metric_num & type_.mask
        while type_.metrics[at].metric_num != 0:
            if type_.metrics[at].metric_num == metric_num:
                return &type_.metrics[at]
            at = (at + 1) & type_.mask
        return NULL

    cdef object decoder_of(self, unsigned short type_num):
        return self.decoders[type_num] if type_num < self.type_count else None

    cdef Unit* unit_of(self, unsigned short metric_num, const unsigned char* unit, size_t size) noexcept:
        cdef Metric* metric
        cdef unsigned long long name[2]
        if metric_num >= self.metric_count or size > 15:
            return NULL
        metric = &self.metrics[metric_num]
        if size == 0:
            return metric.units
        name[0] = 0
        name[1] = 0
        memcpy(name, unit, size)
        for i in range(metric.unit_count):
            if metric.units[i].name[0] == name[0] and metric.units[i].name[1] == name[1]:
                return &metric.units[i]
        return NULL

    # --- who is this?

    def authenticate(self, bytes device_id not None, bytes token not None) -> int:
        """Slot of the device whose token this is.

        Returns: the slot; AUTH_UNKNOWN_DEVICE (-1), AUTH_WRONG_TOKEN (-2), AUTH_DECOMMISSIONED (-3), or
            AUTH_NOT_LOADED (-4): unknown while the first snapshot is awaited. A decommissioned device has no tokens
            left, so -3 says nothing about the token.
        """
        cdef int slot = self.find(device_id, len(device_id))
        cdef bytes digest
        if slot < 0:
            return AUTH_NOT_LOADED if self.awaits_snapshot else AUTH_UNKNOWN_DEVICE
        if not self.devices[slot].flags & DEVICE_ACTIVE:
            return AUTH_DECOMMISSIONED
        digest = sha256(token).digest()
        return slot if self.has_token(slot, digest) else AUTH_WRONG_TOKEN

    def authenticate_operator(self, bytes name not None, bytes token not None):
        """The operator whose token this is, or None. While `awaits_snapshot`, None may mean not yet known."""
        found = self.operators.get(name)
        digest = sha256(token).digest()
        if found is None or not compare_digest(found[0], digest):
            return None
        return found[1]

    def find_external_id(self, external_id: str | bytes) -> int:
        """Slot of the device that others call so; -1: none."""
        cdef bytes name = as_bytes(external_id)
        return self.find_external(name, len(name))

    def find_device(self, device_id: str | bytes) -> int:
        """Slot of a device, decommissioned or not; -1 if the index never heard of it."""
        cdef bytes name = as_bytes(device_id)
        return self.find(name, len(name))

    def device_id(self, int slot) -> str:
        """Raises IndexError for a slot that was never given."""
        cdef const unsigned char* name
        cdef size_t size
        if not 0 <= slot < self.count:
            raise IndexError(slot)
        name = id_of(self, slot, &size)
        return name[:size].decode()

    def device(self, int slot) -> dict:
        """The device as plain values: for logs and tests. Raises IndexError for a slot that was never given."""
        cdef Device* device
        cdef Ward* ward
        cdef const unsigned char* external_id
        cdef size_t external_size
        device_id = self.device_id(slot)
        external_id = external_id_of(self, slot, &external_size)
        device = &self.devices[slot]
        ward = &self.wards[device.ward_slot]
        return {
            "device_id": device_id,
            "device_num": device.device_num,
            "gateway_num": device.gateway_num,
            "type_num": device.type_num,
            "device_type": self.type_names.get(device.type_num, ""),
            "external_id": external_id[:external_size].decode(),
            "ward_code": ward.code[: ward.size].decode(),
            "is_active": bool(device.flags & DEVICE_ACTIVE),
            "is_gateway": bool(device.flags & DEVICE_GATEWAY),
            "default_encoding": device.default_encoding,
        }

    # --- updates; what is put twice is replaced

    def begin_snapshot(self) -> None:
        """From here on what is put is remembered, until end_snapshot() retires the rest. Lookups go on as before."""
        self.begin_devices()
        self.generation += 1

    def end_snapshot(self) -> list:
        """Devices that the snapshot did not name become inactive and lose their tokens; the rest is gone.

        Returns: the MQTT user names of those who could connect so far: their connections should end.
        Raises: RuntimeError without begin_snapshot().
        """
        cdef list retired = self.end_devices()
        self.awaits_snapshot = False
        for name in [name for name, (_, _, generation) in self.operators.items() if generation != self.generation]:
            del self.operators[name]
            retired.append(f"operator:{name.decode()}")
        for type_num in range(self.type_count):
            if self.types[type_num].is_known and self.types[type_num].generation != self.generation:
                free(self.types[type_num].metrics)
                memset(&self.types[type_num], 0, sizeof(DeviceType))
                self.type_names.pop(type_num, None)
                self.decoders[type_num] = None
        for num in range(self.metric_count):
            if self.metrics[num].units != NULL and self.metrics[num].name.generation != self.generation:
                self.forget_metric(num)
        return retired

    def put_metric(self, int metric_num, str metric not None, str unit not None) -> None:
        """Add a metric of the catalogue with its canonical UCUM unit.

        Raises: ValueError if the number is not in 1..65535, the name is not [a-z0-9_]{1,63}, the unit is longer than
            15 bytes or empty, or the name belongs to another metric.
        """
        cdef bytes name = metric.encode()
        cdef bytes unit_name = unit.encode()
        cdef int holder = self.find_metric(name, len(name))
        cdef int room
        cdef void* grown
        cdef Metric* entry
        if not 1 <= metric_num <= 65535:
            raise ValueError(f"metric_num {metric_num} is not in 1..65535")
        if not METRIC.fullmatch(name):
            raise ValueError(f"metric {metric!r} is not [a-z0-9_]{{1,63}}")
        if not 1 <= len(unit_name) <= MAX_UNIT_BYTES:
            raise ValueError(f"unit {unit!r} of {metric} is not of 1 to {MAX_UNIT_BYTES} bytes")
        if holder not in (0, metric_num):
            raise ValueError(f"metric {metric!r} is already number {holder}")
        if metric_num >= self.metric_count:
            room = metric_num + 1
            grown = realloc(self.metrics, room * sizeof(Metric))
            if grown == NULL:
                raise MemoryError
            self.metrics = <Metric*>grown
            memset(self.metrics + self.metric_count, 0, (room - self.metric_count) * sizeof(Metric))
            self.metric_count = room
        entry = &self.metrics[metric_num]
        if holder == metric_num and self.metric_units.get(metric_num) == unit:
            entry.name.generation = self.generation
            return
        if entry.units != NULL:
            self.forget_metric(metric_num)
        self.metric_table = with_room(self.metric_table, &self.metric_mask, len(self.metric_units) + 1)
        self.intern(name, len(name), &entry.name)
        self.add_unit(metric_num, unit_name, 1.0, 0.0)
        add_entry(self.metric_table, self.metric_mask, hash_bytes(name, len(name)), metric_num)
        self.metric_units[metric_num] = unit
        if self.conversions is not None:
            for other, factor, offset in self.conversions(unit):
                if other != unit:
                    self.add_unit(metric_num, as_bytes(other), factor, offset)

    def put_unit(self, int metric_num, str unit not None, double factor, double offset) -> None:
        """Let senders give the metric in this unit too: canonical value = value * factor + offset.

        A factor that is one over an integer is carried out as a division, which rounds once less.

        Raises: KeyError for a metric that was not put; ValueError if the unit is empty, longer than 15 bytes or the
            canonical one, or a number is not finite.
        """
        if metric_num not in self.metric_units:
            raise KeyError(metric_num)
        if unit == self.metric_units[metric_num]:
            raise ValueError(f"{unit!r} is the canonical unit of metric {metric_num}")
        self.add_unit(metric_num, unit.encode(), factor, offset)

    def put_type(self, int type_num, str device_type not None, bint is_gateway, str default_encoding not None,
                 list metrics not None, decoder=None, dict spans=None) -> None:
        """Add a device type with its metrics.

        Args:
            default_encoding: a name of ENCODING_NAMES; another name makes telemetry without an encoding go to
                quarantine.
            metrics: (metric_num, min or None, max or None), bounds in the canonical unit: what is outside fails.
            spans: by metric_num, (suspect, climatology): a span, and by month (1 to 12) a pair of spans, fail and
                suspect; a span is (low or None, high or None).
            decoder: its ext.telemetry.type_decoder.TypeDecoder; None: what comes in the sender's own names and layouts
                goes to quarantine.
        Raises: ValueError if a number is not in 1..65535, a month not in 1..12, or a bound is NaN.
        """
        cdef TypeMetric* table
        cdef DeviceType* type_
        cdef unsigned int mask = 1
        cdef bint is_same
        cdef int slot
        cdef int room, encoding
        cdef void* grown
        if not 1 <= type_num <= 65535:
            raise ValueError(f"type_num {type_num} is not in 1..65535")
        if any(not 1 <= metric_num <= 65535 for metric_num, _, _ in metrics):
            raise ValueError(f"type {device_type} has a metric_num outside 1..65535")
        while mask < <unsigned int>len(metrics) * 2:
            mask = mask * 2 + 1
        if type_num >= self.type_count:
            room = type_num + 1
            grown = realloc(self.types, room * sizeof(DeviceType))
            if grown == NULL:
                raise MemoryError
            self.types = <DeviceType*>grown
            memset(self.types + self.type_count, 0, (room - self.type_count) * sizeof(DeviceType))
            self.decoders += [None] * (room - self.type_count)
            self.type_count = room
        try:
            table = table_of(metrics, spans or {}, mask)
        except ValueError as exc:
            raise ValueError(f"type {device_type}: {exc}") from exc
        type_ = &self.types[type_num]
        free(type_.metrics)
        encoding = ENCODING_NAMES.get(default_encoding, ENCODING_UNKNOWN)
        type_.metrics = table
        type_.mask = mask
        type_.generation = self.generation
        is_same = type_.is_known and type_.is_gateway == is_gateway and type_.default_encoding == encoding
        type_.is_gateway = is_gateway
        type_.default_encoding = <unsigned char>encoding
        type_.is_known = 1
        self.decoders[type_num] = decoder
        self.type_names[type_num] = device_type
        if is_same:                     # a look at a million devices takes a while
            return
        for slot in range(self.count):
            if self.devices[slot].type_num == type_num:
                self.take_from_type(slot)

    def put_device(self, device_num, str device_id not None, type_num, str ward_code not None, gateway_num,
                   list token_sha256 not None, bint is_active, str external_id not None="") -> bool:
        """Add or change a device. Its type should have been put before: until it is, the device has no metrics.

        Args:
            gateway_num: device_num of the gateway it is registered behind; 0: none.
            token_sha256: 32 bytes each, one for every valid token.
            external_id: what payloads may call it too, at most 191 bytes; a device that had it before loses it.
        Returns: whether a token that was valid is so no more: then its connections should end.
        Raises: ValueError if the id is not [a-z0-9-]{1,63}, a number or the ward code is out of range, or a hash is
            not of 32 bytes or one of more than 8; MemoryError.
        """
        cdef bytes name = device_id.encode()
        cdef bytes external = external_id.encode()
        cdef bytes ward = ward_code.encode()
        cdef bytes digest
        cdef DeviceEntry entry
        cdef int status
        cdef size_t i
        entry.device_id = name
        entry.device_id_size = len(name)
        entry.external_id = external
        entry.external_id_size = len(external)
        entry.ward_code = ward
        entry.ward_code_size = len(ward)
        if device_num < 0 or gateway_num < 0 or type_num < 0:
            raise ValueError(f"device {device_id!r}: a number is negative")
        entry.device_num = min(device_num, 1 << 63)
        entry.gateway_num = min(gateway_num, 1 << 63)
        entry.type_num = min(type_num, 1 << 63)
        entry.tokens = len(token_sha256)
        for i in range(min(entry.tokens, <size_t>MAX_TOKENS)):
            digest = token_sha256[i]        # the list keeps it alive
            entry.digests[i] = digest
            entry.digest_sizes[i] = len(digest)
        entry.is_active = is_active
        status = self.put(&entry)
        if status == PUT_NO_MEMORY:
            raise MemoryError
        if status < 0:
            raise ValueError(f"device {device_id!r}: {PUT_PROBLEMS[status]}")
        return status == PUT_REVOKED

    def put_operator(self, str operator not None, bytes token_sha256 not None, list subscribe_filters not None,
                     list publish_filters not None, bint is_active) -> bool:
        """Add, change or (not active) take away an operator.

        Args:
            subscribe_filters, publish_filters: MQTT topic filters as str.
        Returns: whether it was there and is another now: then its connections should end.
        """
        cdef bytes name = operator.encode()
        before = self.operators.pop(name, None)
        if is_active:
            account = Operator(operator, tuple(map(as_bytes, subscribe_filters)), tuple(map(as_bytes, publish_filters)))
            self.operators[name] = (token_sha256, account, self.generation)
        return before is not None and before[:2] != self.operators.get(name, (b"", None, 0))[:2]

    # --- the parts that allocate

    cdef void take_from_type(self, int slot) noexcept:
        """Copy what a device has from its type to where transports read it."""
        cdef Device* device = &self.devices[slot]
        cdef bint known = device.type_num < self.type_count and self.types[device.type_num].is_known
        device.flags &= <unsigned char>~DEVICE_GATEWAY
        if known and self.types[device.type_num].is_gateway:
            device.flags |= DEVICE_GATEWAY
        device.default_encoding = self.types[device.type_num].default_encoding if known else ENCODING_UNKNOWN

    cdef int forget_metric(self, int metric_num) except -1:
        """Take a metric out of the catalogue; its name's bytes stay in the arena (this is rare)."""
        cdef unsigned int mask = self.metric_mask
        cdef Key* name
        free(self.metrics[metric_num].units)
        memset(&self.metrics[metric_num], 0, sizeof(Metric))
        del self.metric_units[metric_num]
        no_slot(self.metric_table, mask)
        for num in self.metric_units:
            name = &self.metrics[num].name
            add_entry(self.metric_table, mask, hash_bytes(self.arena + name.at, name.size), num)
        return 0

    cdef unsigned char* intern(self, const unsigned char* name, size_t size, Key* key) except NULL:
        if self.reserve_arena(size):
            raise MemoryError
        memcpy(self.arena + self.arena_size, name, size)
        key.at = self.arena_size
        key.size = <unsigned char>size
        key.generation = self.generation
        self.arena_size += size
        return self.arena + key.at

    cdef Unit* add_unit(self, int metric_num, bytes unit, double factor, double offset) except NULL:
        cdef Metric* metric = &self.metrics[metric_num]
        cdef Unit* entry
        cdef void* grown
        cdef double divisor
        if not 1 <= len(unit) <= MAX_UNIT_BYTES or b"\0" in unit:
            raise ValueError(f"unit {unit!r} is not of 1 to {MAX_UNIT_BYTES} bytes")
        if not isfinite(factor) or not isfinite(offset) or factor == 0.0:
            raise ValueError(f"the conversion of unit {unit!r} is not finite")
        entry = self.unit_of(metric_num, unit, len(unit))
        if entry == NULL:
            grown = realloc(metric.units, (metric.unit_count + 1) * sizeof(Unit))
            if grown == NULL:
                raise MemoryError
            metric.units = <Unit*>grown
            entry = &metric.units[metric.unit_count]
            metric.unit_count += 1
        memset(entry, 0, sizeof(Unit))
        memcpy(entry.name, <const unsigned char*>unit, len(unit))
        entry.factor = factor
        entry.divisor = 1.0
        divisor = rint(1.0 / factor)
        if divisor > 1.0 and 1.0 / divisor == factor:
            entry.factor = 1.0
            entry.divisor = divisor
        entry.offset = offset
        entry.is_identity = factor == 1.0 and offset == 0.0
        return entry
