"""Payloads of a device type to readings, in plain Python: what the registry proves test vectors with.

Ingest has the same in Cython (ext/telemetry/{json_map,lpp,layout}.pyx); tests hold the two together.
"""

import json
import math
import re
import struct
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import msgspec

from registry.devices.decoder import Decoder, JsonMapping, Layout, LayoutBits, LayoutField, size_of
from registry.devices.json_path import MISSING, look_up, steps_of
from registry.devices.model import TypeSpec

MAX_DEPTH = 32
NEVER_MS = 2**63 - 1  # out of any window
MAX_MS = 4e18

# Cayenne LPP: type -> name, the parts' names (one part: none), bytes of a part, divisor of each, is signed.
# Names as The Things Stack writes them. Source: Cayenne LPP 2.0, "Data Types" (type = IPSO object id - 3200).
_XYZ = (".x", ".y", ".z")
LPP_TYPES: dict[int, tuple[str, tuple[str, ...], int, tuple[int, ...], bool]] = {
    0: ("digital_in", ("",), 1, (1,), False),
    1: ("digital_out", ("",), 1, (1,), False),
    2: ("analog_in", ("",), 2, (100,), True),
    3: ("analog_out", ("",), 2, (100,), True),
    100: ("generic", ("",), 4, (1,), False),
    101: ("luminosity", ("",), 2, (1,), False),
    102: ("presence", ("",), 1, (1,), False),
    103: ("temperature", ("",), 2, (10,), True),
    104: ("relative_humidity", ("",), 1, (2,), False),
    113: ("accelerometer", _XYZ, 2, (1000, 1000, 1000), True),
    115: ("barometric_pressure", ("",), 2, (10,), False),
    116: ("voltage", ("",), 2, (100,), False),
    117: ("current", ("",), 2, (1000,), False),
    134: ("gyrometer", _XYZ, 2, (100, 100, 100), True),
    136: ("gps", (".latitude", ".longitude", ".altitude"), 3, (10_000, 10_000, 100), True),
}

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FLOATS = {"f32": "f", "f64": "d"}


class Decoded(msgspec.Struct, frozen=True):
    """One reading by the payload's own name; None: the payload's time, the sender. A container's value is NaN."""

    name: str
    value: float | bool | str
    time_ms: int | None = None
    device: str | None = None


class PayloadError(Exception):
    """The payload, or the rest of it, cannot be decoded; `readings` came before."""

    def __init__(self, message: str, readings: tuple[Decoded, ...] = ()) -> None:
        super().__init__(message)
        self.readings = readings


def decode_payload(spec: TypeSpec, payload: bytes, f_port: int | None) -> list[Decoded]:
    """A payload as it comes from the device. Raises: PayloadError."""
    form = format_of(spec, f_port)
    if form == "layout":
        return decode_layout(spec.decoder, payload, f_port)
    if form == "lpp":
        return decode_lpp(payload, spec.decoder.ignored)
    if form == "json":
        return decode_json(spec, payload)
    if form == "network-server":
        raise PayloadError(f"port {f_port}: what the network server has decoded is missing")
    raise PayloadError(f"the type does not decode {form} by itself")


def format_of(spec: TypeSpec, f_port: int | None) -> str:
    """How a payload is decoded; without a port: by the default encoding. Raises: PayloadError."""
    if f_port is None:
        return spec.default_encoding
    for rule in spec.decoder.ports:
        if not rule.f_ports or f_port in rule.f_ports:
            return rule.format
    if spec.decoder.ports:
        raise PayloadError(f"the device type decodes no payload of port {f_port}")
    return spec.default_encoding if spec.default_encoding in ("layout", "lpp") else "network-server"


# --- JSON


def decode_json(spec: TypeSpec, text: bytes | str) -> list[Decoded]:
    """A document by the type's mapping; what is not mapped is left out. Raises: PayloadError."""
    document = _parse(text)
    mapping = spec.decoder.json
    sources = [(entry.source or entry.metric, steps_of(entry.source or entry.metric)) for entry in spec.metrics]
    beside: list[Decoded] = []
    when, device = None, None
    if mapping.records:
        beneath = steps_of(mapping.records)
        samples = look_up(document, beneath)
        if samples is MISSING or samples is None:
            samples = []
        elif not isinstance(samples, list):
            raise PayloadError("the records are not an array")
        outside = [(name, steps) for name, steps in sources if steps[: len(beneath)] != beneath]
        beside = _sample(outside, document)
        beyond = msgspec.structs.replace(
            mapping,
            time="" if steps_of(mapping.time)[: len(beneath)] == beneath else mapping.time,
            device="" if steps_of(mapping.device)[: len(beneath)] == beneath else mapping.device,
        )
        when, device = _time(beyond, document), _device(beyond, document)
    else:
        samples = document if isinstance(document, list) else [document]
    found = [msgspec.structs.replace(one, time_ms=when, device=device) for one in beside]
    for sample in samples:
        own_when, own_device = _time(mapping, sample), _device(mapping, sample)
        found += [
            msgspec.structs.replace(
                one,
                time_ms=when if own_when is None else own_when,
                device=device if own_device is None else own_device,
            )
            for one in _sample(sources, sample)
        ]
    if not found:
        raise PayloadError("nothing in it that the device type maps")
    return found


def _parse(text: bytes | str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON value")

    try:
        document = json.loads(text if isinstance(text, str) else text.decode(), parse_int=float, parse_constant=refuse)
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise PayloadError(f"not JSON: {exc}") from None
    if _depth(document) > MAX_DEPTH:
        raise PayloadError("nested too deep")
    return document


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _sample(sources: list[tuple[str, tuple[str | int, ...]]], sample: Any) -> list[Decoded]:
    found = []
    for name, steps in sources:
        value = look_up(sample, steps)
        if isinstance(value, dict | list):
            value = math.nan
        if value is not MISSING and value is not None:
            found.append(Decoded(name, value))
    return found


def _time(mapping: JsonMapping, sample: Any) -> int | None:
    value = look_up(sample, steps_of(mapping.time)) if mapping.time else None
    if value is MISSING or value is None:
        return None
    if mapping.time_format == "rfc3339":
        if not isinstance(value, str) or (moment := rfc3339_ms(value)) is None:
            raise PayloadError("the time is not RFC 3339")
        return moment
    if not isinstance(value, float):
        raise PayloadError("the time is not a number")
    return unix_ms(value * 1000.0 if mapping.time_format == "unix_s" else value)


def _device(mapping: JsonMapping, sample: Any) -> str | None:
    value = look_up(sample, steps_of(mapping.device)) if mapping.device else None
    if value is MISSING or value is None:
        return None
    if not isinstance(value, str):
        raise PayloadError("the device is not a string")
    return value


def unix_ms(value: float) -> int:
    """Whole milliseconds; NEVER_MS for what is no time at all."""
    if not math.isfinite(value) or abs(value) > MAX_MS:
        return NEVER_MS
    return round(value)


def rfc3339_ms(text: str) -> int | None:
    """Milliseconds since 1970, further digits cut off; None: not RFC 3339, section 5.6."""
    parts = _RFC3339.fullmatch(text)
    if parts is None:
        return None
    year, month, day, hour, minute, second = map(int, parts.group(1, 2, 3, 4, 5, 6))
    leap = second == 60
    away = timedelta(hours=int(parts[9] or 0), minutes=int(parts[10] or 0))
    if int(parts[9] or 0) > 23 or int(parts[10] or 0) > 59:
        return None
    try:
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    except ValueError:
        return None
    since = moment - _EPOCH + timedelta(seconds=int(leap)) + (away if parts[8] == "-" else -away)
    return since // timedelta(milliseconds=1) + int((parts[7] or "")[:3].ljust(3, "0"))


# --- Cayenne LPP


def decode_lpp(payload: bytes, ignored: tuple[str, ...] = ()) -> list[Decoded]:
    """Raises: PayloadError at a type that is not known, because nobody knows its length, and at a cut value."""
    found: list[Decoded] = []
    at = 0
    while at < len(payload):
        if len(payload) - at < 2:
            raise PayloadError(f"cut off within a value at byte {at}", tuple(found))
        channel, kind = payload[at], payload[at + 1]
        if kind not in LPP_TYPES:
            raise PayloadError(f"LPP type {kind} is not known, at byte {at + 1}", tuple(found))
        name, parts, size, divisors, is_signed = LPP_TYPES[kind]
        at += 2
        if len(payload) - at < size * len(parts):
            raise PayloadError(f"cut off within a value at byte {at}", tuple(found))
        for part, divisor in zip(parts, divisors, strict=True):
            raw = int.from_bytes(payload[at : at + size], "big", signed=is_signed)
            if (full := f"{name}_{channel}{part}") not in ignored:
                found.append(Decoded(full, raw / divisor))
            at += size
    return found


# --- declared binary layouts


def decode_layout(decoder: Decoder, payload: bytes, f_port: int | None) -> list[Decoded]:
    """Raises: PayloadError."""
    layout = _layout_for(decoder, payload, f_port)
    start = 1 if layout.tags else 0
    fixed = start + sum(map(size_of, layout.fields))
    group = sum(map(size_of, layout.repeat.fields))
    count = layout.repeat.count if group else 0
    if len(payload) < fixed + count * group:
        raise PayloadError(f"{len(payload)} bytes are shorter than the layout, which has {fixed + count * group}")
    if group and not count:
        count = (len(payload) - fixed) // group
        if len(payload) - fixed - count * group and not layout.may_be_longer:
            raise PayloadError("the payload ends within a sample")
    if len(payload) > fixed + count * group and not layout.may_be_longer:
        raise PayloadError(f"{len(payload)} bytes are longer than the layout, which has {fixed + count * group}")
    order = "<" if layout.byte_order == "little" else ">"
    base, found = _fields(layout.fields, payload, start, order)
    found = [msgspec.structs.replace(one, time_ms=base) for one in found]
    step_ms = round(layout.repeat.step_s * 1000.0)
    anchor = count - 1 if layout.repeat.anchor == "last" else 0
    for sample in range(count):
        when, samples = _fields(layout.repeat.fields, payload, fixed + sample * group, order)
        if when is None and base is not None:
            when = base if base == NEVER_MS else base + (sample - anchor) * step_ms
        elif when is None and step_ms:
            # Relative to the payload's time, which only ingest knows.
            when = Relative((sample - anchor) * step_ms)
        found += [msgspec.structs.replace(one, time_ms=when) for one in samples]
    return found


class Relative(int):
    """Milliseconds after the payload's time."""


def _layout_for(decoder: Decoder, payload: bytes, f_port: int | None) -> Layout:
    for layout in decoder.layouts:
        if f_port is not None and layout.f_ports and f_port not in layout.f_ports:
            continue
        if layout.tags and (not payload or payload[0] not in layout.tags):
            continue
        return layout
    what = f"port {f_port}" if f_port is not None else "a plain payload"
    raise PayloadError(f"no layout is for {what} with this first byte")


def _fields(fields: tuple[LayoutField, ...], payload: bytes, at: int, order: str) -> tuple[int | None, list[Decoded]]:
    when: int | None = None
    found: list[Decoded] = []
    for field in fields:
        size = size_of(field)
        raw = _raw(field.type, payload[at : at + size], order)
        at += size
        if field.bits:
            assert isinstance(raw, int)
            found += [
                Decoded(part.name, value)
                for part in field.bits
                if part.name and (value := _scaled(part, _bits(raw, part))) is not None
            ]
        elif field.time:
            value = _scaled(msgspec.structs.replace(field, scale=0.0, offset=0.0), raw)
            if value is not None:
                when = unix_ms(value * 1000.0 if field.time == "unix_s" else value)
        elif field.name and (value := _scaled(field, raw)) is not None:
            found.append(Decoded(field.name, value))
    return when, found


def _raw(kind: str, data: bytes, order: str) -> int | float:
    if kind in _FLOATS:
        number: float = struct.unpack(order + _FLOATS[kind], data)[0]
        return number
    return int.from_bytes(data, "little" if order == "<" else "big", signed=kind.startswith("i"))


def _bits(raw: int, part: LayoutBits) -> int:
    value = (raw >> part.bit) & ((1 << part.width) - 1)
    if part.is_signed and value >> (part.width - 1):
        value -= 1 << part.width
    return value


def _scaled(field: LayoutField | LayoutBits, raw: int | float) -> float | None:
    """The value in the sender's unit; None: the raw value says that there is none."""
    number = float(raw)
    if number in field.missing:
        return None
    if math.isnan(number) and isinstance(field, LayoutField) and field.missing_nan:
        return None
    if field.valid and not field.valid[0] <= number <= field.valid[1]:
        return None
    scale = field.scale or 1.0
    divisor = float(round(1.0 / scale)) if 1.0 <= abs(1.0 / scale) < 2.0**53 else 1.0
    if divisor > 1.0 and 1.0 / divisor == scale:
        return number / divisor + field.offset
    return number * scale + field.offset
