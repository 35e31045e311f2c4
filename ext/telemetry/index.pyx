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
from ext.telemetry.frames cimport ENCODING_UNKNOWN

from ext.telemetry.frames import ENCODING_NAMES

AUTH_UNKNOWN_DEVICE = -1
AUTH_WRONG_TOKEN = -2
AUTH_DECOMMISSIONED = -3
AUTH_NOT_LOADED = -4

DEVICE_ID = re.compile(rb"[a-z0-9-]{1,63}")
METRIC = re.compile(rb"[a-z0-9_]{1,63}")
MAX_UNIT_BYTES = 15
MAX_EXTERNAL_ID_BYTES = 191

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


cdef bytes as_bytes(object text):
    return text.encode() if isinstance(text, str) else bytes(text)


cdef class DeviceIndex:
    """Device ids to slots, (type, metric name) to numbers and ranges, (metric, unit) to a conversion.

    Args:
        conversions: canonical UCUM unit -> iterable of (unit, factor, offset), asked once for every metric that is
            put; canonical value = value * factor + offset. None: a metric knows its canonical unit only.
    """

    def __cinit__(self, object conversions=None):
        self.conversions = conversions
        self.ward_slots = {}
        self.type_names = {}
        self.decoders = []
        self.metric_units = {}
        self.tokens = []
        self.external_slots = {}
        self.external_ids = {}
        self.operators = {}
        self.generation = 1
        self.device_mask = 1023
        self.metric_mask = 255
        self.device_table = <HashEntry*>malloc((self.device_mask + 1) * sizeof(HashEntry))
        self.metric_table = <HashEntry*>malloc((self.metric_mask + 1) * sizeof(HashEntry))
        if self.device_table == NULL or self.metric_table == NULL:
            raise MemoryError
        no_slot(self.device_table, self.device_mask)
        no_slot(self.metric_table, self.metric_mask)
        self.ward_slot("")

    def __dealloc__(self):
        for i in range(self.metric_count):
            free(self.metrics[i].units)
        for i in range(self.type_count):
            free(self.types[i].metrics)
        free(self.devices)
        free(self.keys)
        free(self.device_table)
        free(self.metrics)
        free(self.metric_table)
        free(self.types)
        free(self.wards)
        free(self.arena)

    def __len__(self) -> int:
        """Devices that were ever put, decommissioned ones included: one more than the highest slot."""
        return self.count

    # --- lookups in C

    cdef int find(self, const unsigned char* device_id, size_t size) noexcept:
        return self.find_hashed(device_id, size, hash_bytes(device_id, size))

    cdef int find_hashed(self, const unsigned char* device_id, size_t size, unsigned int hash) noexcept:
        cdef unsigned int at = hash & self.device_mask
        cdef HashEntry* entry = &self.device_table[at]
        cdef Key* key
        while entry.slot >= 0:
            if entry.hash == hash:
                key = &self.keys[entry.slot]
                if key.size == size and memcmp(self.arena + key.at, device_id, size) == 0:
                    return entry.slot
            at = (at + 1) & self.device_mask
            entry = &self.device_table[at]
        return -1

    cdef int find_external(self, const unsigned char* external_id, size_t size) noexcept:
        if not self.external_slots or size == 0 or size > MAX_EXTERNAL_ID_BYTES:
            return -1
        return self.external_slots.get(external_id[:size], -1)

    cdef bint is_device(self, int slot, const unsigned char* device_id, size_t size) noexcept:
        cdef Key* key
        if slot >= self.count:
            return False
        key = &self.keys[slot]
        return key.size == size and memcmp(self.arena + key.at, device_id, size) == 0

    cdef Device* at(self, int slot) noexcept:
        return &self.devices[slot]

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
        cdef bytes valid, digest
        cdef bint matches = False
        if slot < 0:
            return AUTH_NOT_LOADED if self.awaits_snapshot else AUTH_UNKNOWN_DEVICE
        if not self.devices[slot].flags & DEVICE_ACTIVE:
            return AUTH_DECOMMISSIONED
        digest = sha256(token).digest()
        valid = self.tokens[slot]
        for i in range(len(valid) // 32):
            if compare_digest(valid[i * 32 : i * 32 + 32], digest):
                matches = True
        return slot if matches else AUTH_WRONG_TOKEN

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
        if not 0 <= slot < self.count:
            raise IndexError(slot)
        return (self.arena + self.keys[slot].at)[: self.keys[slot].size].decode()

    def device(self, int slot) -> dict:
        """The device as plain values: for logs and tests. Raises IndexError for a slot that was never given."""
        cdef Device* device
        cdef Ward* ward
        device_id = self.device_id(slot)
        device = &self.devices[slot]
        ward = &self.wards[device.ward_slot]
        return {
            "device_id": device_id,
            "device_num": device.device_num,
            "gateway_num": device.gateway_num,
            "type_num": device.type_num,
            "device_type": self.type_names.get(device.type_num, ""),
            "external_id": self.external_ids.get(slot, b"").decode(),
            "ward_code": ward.code[: ward.size].decode(),
            "is_active": bool(device.flags & DEVICE_ACTIVE),
            "is_gateway": bool(device.flags & DEVICE_GATEWAY),
            "default_encoding": device.default_encoding,
        }

    # --- updates; what is put twice is replaced

    def begin_snapshot(self) -> None:
        """From here on what is put is remembered, until end_snapshot() retires the rest. Lookups go on as before."""
        self.generation += 1
        self.in_snapshot = 1

    def end_snapshot(self) -> None:
        """Devices that the snapshot did not name become inactive and lose their tokens; the rest is gone.

        Raises RuntimeError without begin_snapshot().
        """
        if not self.in_snapshot:
            raise RuntimeError("end_snapshot without begin_snapshot")
        self.in_snapshot = 0
        self.awaits_snapshot = False
        for slot in range(self.count):
            if self.keys[slot].generation != self.generation:
                self.devices[slot].flags &= <unsigned char>~DEVICE_ACTIVE
                self.tokens[slot] = b""
                self.name_external(slot, b"")
        for name in [name for name, (_, _, generation) in self.operators.items() if generation != self.generation]:
            del self.operators[name]
        for type_num in range(self.type_count):
            if self.types[type_num].is_known and self.types[type_num].generation != self.generation:
                free(self.types[type_num].metrics)
                memset(&self.types[type_num], 0, sizeof(DeviceType))
                self.type_names.pop(type_num, None)
                self.decoders[type_num] = None
        for num in range(self.metric_count):
            if self.metrics[num].units != NULL and self.metrics[num].name.generation != self.generation:
                self.forget_metric(num)

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
                 list metrics not None, decoder=None) -> None:
        """Add a device type with its metrics.

        Args:
            default_encoding: a name of ENCODING_NAMES; another name makes telemetry without an encoding go to
                quarantine.
            metrics: (metric_num, min or None, max or None), bounds in the canonical unit.
            decoder: its ext.telemetry.type_decoder.TypeDecoder; None: what comes in the sender's own names and layouts
                goes to quarantine.
        Raises: ValueError if a number is not in 1..65535 or a bound is NaN.
        """
        cdef TypeMetric* table
        cdef TypeMetric* entry
        cdef DeviceType* type_
        cdef unsigned int mask = 1
        cdef unsigned int at
        cdef int room, encoding
        cdef void* grown
        if not 1 <= type_num <= 65535:
            raise ValueError(f"type_num {type_num} is not in 1..65535")
        if any(not 1 <= metric_num <= 65535 for metric_num, _, _ in metrics):
            raise ValueError(f"type {device_type} has a metric_num outside 1..65535")
        if any(low != low or high != high for _, low, high in metrics):
            raise ValueError(f"type {device_type} has a bound that is not a number")
        if type_num >= self.type_count:
            room = type_num + 1
            grown = realloc(self.types, room * sizeof(DeviceType))
            if grown == NULL:
                raise MemoryError
            self.types = <DeviceType*>grown
            memset(self.types + self.type_count, 0, (room - self.type_count) * sizeof(DeviceType))
            self.decoders += [None] * (room - self.type_count)
            self.type_count = room
        while mask < <unsigned int>len(metrics) * 2:
            mask = mask * 2 + 1
        table = <TypeMetric*>calloc(mask + 1, sizeof(TypeMetric))
        if table == NULL:
            raise MemoryError
        for metric_num, low, high in metrics:
            at = metric_num & mask
            while table[at].metric_num not in (0, metric_num):
                at = (at + 1) & mask
            entry = &table[at]
            entry.metric_num = metric_num
            entry.min_value = -INFINITY if low is None else low
            entry.max_value = INFINITY if high is None else high
            entry.has_range = low is not None or high is not None
        type_ = &self.types[type_num]
        free(type_.metrics)
        encoding = ENCODING_NAMES.get(default_encoding, ENCODING_UNKNOWN)
        type_.metrics = table
        type_.mask = mask
        type_.generation = self.generation
        type_.is_gateway = is_gateway
        type_.default_encoding = <unsigned char>encoding
        type_.is_known = 1
        self.decoders[type_num] = decoder
        self.type_names[type_num] = device_type
        for slot in range(self.count):
            if self.devices[slot].type_num == type_num:
                self.take_from_type(slot)

    def put_device(self, device_num, str device_id not None, int type_num, str ward_code not None, gateway_num,
                   list token_sha256 not None, bint is_active, str external_id not None="") -> bool:
        """Add or change a device. Its type should have been put before: until it is, the device has no metrics.

        Args:
            gateway_num: device_num of the gateway it is registered behind; 0: none.
            token_sha256: 32 bytes each, one for every valid token.
            external_id: what payloads may call it too, at most 191 bytes; a device that had it before loses it.
        Returns: whether a token that was valid is so no more: then its connections should end.
        Raises: ValueError if the id is not [a-z0-9-]{1,63}, a number or the ward code is out of range, or a hash is
            not of 32 bytes.
        """
        cdef bytes name = device_id.encode()
        cdef bytes external = external_id.encode()
        cdef int slot = self.find(name, len(name))
        cdef int room
        cdef int ward_slot
        cdef void* grown
        cdef Device* device
        if not DEVICE_ID.fullmatch(name):
            raise ValueError(f"device id {device_id!r} is not [a-z0-9-]{{1,63}}")
        if not 1 <= device_num <= 0xFFFFFFFF or not 0 <= gateway_num <= 0xFFFFFFFF or not 0 <= type_num <= 65535:
            raise ValueError(f"a number of device {device_id} is out of range")
        if any(len(digest) != 32 for digest in token_sha256):
            raise ValueError(f"a token hash of device {device_id} is not of 32 bytes")
        if len(external) > MAX_EXTERNAL_ID_BYTES:
            raise ValueError(f"the external id of device {device_id} is longer than {MAX_EXTERNAL_ID_BYTES} bytes")
        ward_slot = self.ward_slot(ward_code)
        if slot < 0:
            if self.count == self.capacity:
                room = max(self.capacity * 2, 1024)
                grown = realloc(self.devices, room * sizeof(Device))
                if grown == NULL:
                    raise MemoryError
                self.devices = <Device*>grown
                grown = realloc(self.keys, room * sizeof(Key))
                if grown == NULL:
                    raise MemoryError
                self.keys = <Key*>grown
                self.capacity = room
            self.device_table = with_room(self.device_table, &self.device_mask, self.count + 1)
            slot = self.count
            self.intern(name, len(name), &self.keys[slot])
            self.tokens.append(b"")
            memset(&self.devices[slot], 0, sizeof(Device))
            self.count += 1
            add_entry(self.device_table, self.device_mask, hash_bytes(name, len(name)), slot)
        self.keys[slot].generation = self.generation
        device = &self.devices[slot]
        device.device_num = device_num
        device.gateway_num = gateway_num
        device.type_num = <unsigned short>type_num
        device.ward_slot = <unsigned short>ward_slot
        device.flags = DEVICE_ACTIVE if is_active else 0
        self.take_from_type(slot)
        self.name_external(slot, external)
        before = self.tokens[slot]
        self.tokens[slot] = b"".join(token_sha256) if is_active else b""
        return any(before[at : at + 32] not in token_sha256 or not is_active for at in range(0, len(before), 32))

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

    cdef int name_external(self, int slot, bytes external_id) except -1:
        cdef bytes before = self.external_ids.get(slot, b"")
        if before == external_id:
            return 0
        if before and self.external_slots.get(before) == slot:
            del self.external_slots[before]
        self.external_ids.pop(slot, None)
        if external_id:
            self.external_ids.pop(self.external_slots.get(external_id, -1), None)
            self.external_slots[external_id] = slot
            self.external_ids[slot] = external_id
        return 0

    cdef int ward_slot(self, str ward_code) except -1:
        """Slot of a ward code in the index; a new code gets a new slot. Raises ValueError above 15 bytes."""
        cdef bytes code
        cdef void* grown
        slot = self.ward_slots.get(ward_code)
        if slot is not None:
            return slot
        code = ward_code.encode()
        if len(code) > 15:
            raise ValueError(f"ward code {ward_code!r} is longer than 15 bytes")
        if self.ward_count == 65536:
            raise ValueError("more than 65536 ward codes")
        grown = realloc(self.wards, (self.ward_count + 1) * sizeof(Ward))
        if grown == NULL:
            raise MemoryError
        self.wards = <Ward*>grown
        memset(&self.wards[self.ward_count], 0, sizeof(Ward))
        memcpy(self.wards[self.ward_count].code, <const unsigned char*>code, len(code))
        self.wards[self.ward_count].size = <unsigned char>len(code)
        self.ward_slots[ward_code] = self.ward_count
        self.ward_count += 1
        return self.ward_count - 1

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
        cdef size_t room
        cdef void* grown
        if self.arena_size + size > self.arena_capacity:
            room = max(self.arena_capacity * 2, <size_t>65536)
            grown = realloc(self.arena, room)
            if grown == NULL:
                raise MemoryError
            self.arena = <unsigned char*>grown
            self.arena_capacity = room
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
