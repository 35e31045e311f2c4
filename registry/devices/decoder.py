"""How a device type's payloads are decoded: the plain data that a person writes. Fields as in decoder.proto."""

import msgspec


class JsonMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Paths are dotted (`data.temp`, `values[0].v`) and count from a sample."""

    records: str = ""
    time: str = ""
    time_format: str = ""
    device: str = ""


class LayoutBits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`width` bits of an unsigned integer, from `bit` (0: the least significant) up."""

    name: str = ""
    bit: int = 0
    width: int = 0
    is_signed: bool = False
    scale: float = 0.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()
    valid: tuple[float, ...] = ()


class LayoutField(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """value = raw * scale + offset; a scale of 0 counts as 1."""

    name: str = ""
    type: str = ""
    size_bytes: int = 0
    scale: float = 0.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()
    missing_nan: bool = False
    valid: tuple[float, ...] = ()
    time: str = ""
    bits: tuple[LayoutBits, ...] = ()


class LayoutRepeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    fields: tuple[LayoutField, ...] = ()
    count: int = 0
    step_s: float = 0.0
    anchor: str = ""


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    f_ports: tuple[int, ...] = ()
    tags: tuple[int, ...] = ()
    byte_order: str = ""
    fields: tuple[LayoutField, ...] = ()
    repeat: LayoutRepeat = LayoutRepeat()
    may_be_longer: bool = False


class PortDecoder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    f_ports: tuple[int, ...] = ()
    format: str = ""


class Decoder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    json: JsonMapping = JsonMapping()
    layouts: tuple[Layout, ...] = ()
    ports: tuple[PortDecoder, ...] = ()
    ignored: tuple[str, ...] = ()


class ExpectedReading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    numbers: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()


class TestVector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`payload` or `json`, the other is None; `expect` and `times`, or `error`."""

    __test__ = False  # pytest: no test case

    name: str = ""
    payload: bytes | None = None
    json: str | None = None
    f_port: int | None = None
    expect: tuple[ExpectedReading, ...] = ()
    error: str = ""
    times: tuple[str, ...] = ()


FIELD_SIZES = {
    "u8": 1,
    "u16": 2,
    "u24": 3,
    "u32": 4,
    "u64": 8,
    "i8": 1,
    "i16": 2,
    "i24": 3,
    "i32": 4,
    "i64": 8,
    "f32": 4,
    "f64": 8,
}


def size_of(field: LayoutField) -> int:
    """Bytes that a field takes."""
    return (field.size_bytes or 1) if field.type == "skip" else FIELD_SIZES[field.type]
