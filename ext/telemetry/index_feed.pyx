# cython: language_level=3
"""WatchDeviceIndexResponse, applied to a device index from its bytes: its devices need no protobuf object each."""

from ext.telemetry.device_table cimport MAX_TOKENS, PUT_NO_MEMORY, PUT_REVOKED, DeviceEntry
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.protobuf cimport WIRE_BYTES, WIRE_VARINT, Wire, read_bytes, read_tag, read_varint, skip_field
from ext.wire.utf8 cimport is_utf8

from ext.telemetry.device_table import PUT_PROBLEMS

cdef enum:
    FIELD_DEVICES = 5           # of WatchDeviceIndexResponse
    # of IndexDevice
    FIELD_DEVICE_NUM = 1
    FIELD_DEVICE_ID = 2
    FIELD_TYPE_NUM = 3
    FIELD_WARD_CODE = 4
    FIELD_GATEWAY_NUM = 5
    FIELD_TOKEN_SHA256 = 6
    FIELD_IS_ACTIVE = 7
    FIELD_EXTERNAL_ID = 8


cdef bint read_device(Wire* wire, DeviceEntry* entry) noexcept:
    """One IndexDevice; as in the protobuf runtime the last value of a field counts."""
    cdef unsigned int field, wire_type
    cdef unsigned long long number
    cdef Wire inner
    cdef const unsigned char* empty = b""
    entry.device_id = empty
    entry.external_id = empty
    entry.ward_code = empty
    entry.device_id_size = 0
    entry.external_id_size = 0
    entry.ward_code_size = 0
    entry.device_num = 0
    entry.gateway_num = 0
    entry.type_num = 0
    entry.tokens = 0
    entry.is_active = False
    while wire.at < wire.end:
        if not read_tag(wire, &field, &wire_type):
            return False
        if wire_type == WIRE_VARINT and field in (FIELD_DEVICE_NUM, FIELD_TYPE_NUM, FIELD_GATEWAY_NUM, FIELD_IS_ACTIVE):
            if not read_varint(wire, &number):
                return False
            if field == FIELD_DEVICE_NUM:
                entry.device_num = <unsigned int>number
            elif field == FIELD_TYPE_NUM:
                entry.type_num = <unsigned int>number
            elif field == FIELD_GATEWAY_NUM:
                entry.gateway_num = <unsigned int>number
            else:
                entry.is_active = number != 0
        elif wire_type == WIRE_BYTES and field in (FIELD_DEVICE_ID, FIELD_WARD_CODE, FIELD_EXTERNAL_ID):
            if not read_bytes(wire, &inner) or not is_utf8(inner.at, inner.end - inner.at):
                return False
            if field == FIELD_DEVICE_ID:
                entry.device_id = inner.at
                entry.device_id_size = inner.end - inner.at
            elif field == FIELD_WARD_CODE:
                entry.ward_code = inner.at
                entry.ward_code_size = inner.end - inner.at
            else:
                entry.external_id = inner.at
                entry.external_id_size = inner.end - inner.at
        elif wire_type == WIRE_BYTES and field == FIELD_TOKEN_SHA256:
            if not read_bytes(wire, &inner):
                return False
            if entry.tokens < MAX_TOKENS:
                entry.digests[entry.tokens] = inner.at
                entry.digest_sizes[entry.tokens] = inner.end - inner.at
            entry.tokens += 1
        elif not skip_field(wire, field, wire_type, 0):
            return False
    return True


cdef class DeviceStream:
    """The devices of one response, to be applied some at a time.

    Args:
        response: bytes of a cityfleet.registry.v1.WatchDeviceIndexResponse.
    Attributes:
        rest: the same response without its devices, for the protobuf runtime. Apply its metrics and types first.
        refused: devices that the index would not take; `problem` says which was the first and why. The others go on.
    Raises: ValueError if the bytes are not a protobuf message; then nothing of it can be applied.
    """

    cdef bytes response
    cdef readonly bytes rest
    cdef readonly unsigned long long refused
    cdef readonly str problem
    cdef const unsigned char* start
    cdef size_t next_at, left

    def __cinit__(self, bytes response not None):
        cdef Wire wire, device
        cdef DeviceEntry entry
        cdef const unsigned char* field_at
        cdef unsigned int field, wire_type
        cdef list rest = []
        self.response = response
        self.problem = ""
        self.start = response
        wire.at = self.start
        wire.end = wire.at + len(response)
        while wire.at < wire.end:
            field_at = wire.at
            if not read_tag(&wire, &field, &wire_type):
                raise ValueError(f"bad tag at byte {field_at - self.start}")
            if field == FIELD_DEVICES and wire_type == WIRE_BYTES:
                if not read_bytes(&wire, &device) or not read_device(&device, &entry):
                    raise ValueError(f"bad device at byte {field_at - self.start}")
                self.left += 1
                continue
            if not skip_field(&wire, field, wire_type, 0):
                raise ValueError(f"bad field {field} at byte {field_at - self.start}")
            rest.append(field_at[: wire.at - field_at])
        self.rest = b"".join(rest)

    def __len__(self) -> int:
        """Devices that have not been applied yet."""
        return self.left

    def apply(self, DeviceIndex index not None, size_t limit) -> list:
        """Put at most `limit` more devices into the index.

        Returns: the ids of those that lost a token: their connections should end.
        Raises: MemoryError; what was applied by then stays.
        """
        cdef Wire wire, device
        cdef DeviceEntry entry
        cdef unsigned int field, wire_type
        cdef int status
        cdef list revoked = []
        wire.at = self.start + self.next_at
        wire.end = self.start + len(self.response)
        while limit and self.left:
            read_tag(&wire, &field, &wire_type)     # all lengths were checked at the beginning
            if field != FIELD_DEVICES or wire_type != WIRE_BYTES:
                skip_field(&wire, field, wire_type, 0)
                continue
            read_bytes(&wire, &device)
            read_device(&device, &entry)
            self.next_at = wire.at - self.start
            self.left -= 1
            limit -= 1
            status = index.put(&entry)
            if status == PUT_NO_MEMORY:
                raise MemoryError
            if status == PUT_REVOKED:
                revoked.append(entry.device_id[: entry.device_id_size].decode())
            elif status < 0:
                self.refused += 1
                if not self.problem:
                    name = entry.device_id[: entry.device_id_size].decode()
                    self.problem = f"device {name!r}: {PUT_PROBLEMS[status]}"
        return revoked
