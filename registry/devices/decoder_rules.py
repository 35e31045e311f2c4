"""What the decoder of a device type must look like; each violation names the field."""

import math
from collections.abc import Iterable, Iterator

from registry.devices.decoder import FIELD_SIZES, JsonMapping, Layout, LayoutBits, LayoutField
from registry.devices.json_path import steps_of
from registry.devices.model import TypeSpec
from registry.errors import Violation

FORMATS = ("layout", "lpp", "network-server")
TIME_FORMATS = ("unix_s", "unix_ms", "rfc3339")
# Of the device itself; what a gateway hears of others comes in one of the FOREIGN.
PAYLOADS = ("senml-json", "batch", "senml-cbor", "json", "lpp", "layout")
FOREIGN = ("tts", "chirpstack", "chirpstack-protobuf", "sparkplug")
MAX_SOURCE_BYTES = 127
MAX_PATH_STEPS = 31
MAX_LAYOUTS = 64
MAX_FIELDS = 256
MAX_PAYLOAD_BYTES = 65_535
MAX_MISSING = 4
MAX_STEP_S = 31_622_400.0


def check_decoder(spec: TypeSpec) -> Iterator[Violation]:
    """Everything about sources, encodings and the decoder but the test vectors."""
    sources = {entry.source or entry.metric for entry in spec.metrics}
    if spec.default_encoding in FOREIGN and not spec.is_gateway:
        text = f"`{spec.default_encoding}` is what gateways send; set is_gateway"
        yield Violation("default_encoding", "ENCODING_OF_GATEWAYS", text)
    if spec.default_encoding == "layout" and not spec.decoder.layouts:
        yield Violation("decoder.layouts", "LAYOUT_MISSING", "the default encoding is `layout`: give at least one")
    yield from _check_sources(spec)
    yield from _check_json(spec.decoder.json)
    yield from _check_ports(spec)
    if len(spec.decoder.layouts) > MAX_LAYOUTS:
        yield Violation("decoder.layouts", "TOO_MANY_LAYOUTS", f"at most {MAX_LAYOUTS}")
    for at, layout in enumerate(spec.decoder.layouts):
        yield from _check_layout(f"decoder.layouts[{at}]", layout, sources)
    for at, source in enumerate(spec.decoder.ignored):
        if not _is_source(source):
            yield Violation(f"decoder.ignored[{at}]", "SOURCE_INVALID", _SOURCE_TEXT)
        elif source in sources:
            yield Violation(f"decoder.ignored[{at}]", "SOURCE_TWICE", f"`{source}` is a metric's source")


_SOURCE_TEXT = f"1 to {MAX_SOURCE_BYTES} bytes without control characters"


def _is_source(source: str) -> bool:
    return 0 < len(source.encode()) <= MAX_SOURCE_BYTES and source.isprintable()


def _check_sources(spec: TypeSpec) -> Iterator[Violation]:
    names = {entry.metric for entry in spec.metrics}
    seen: set[str] = set()
    for at, entry in enumerate(spec.metrics):
        if not entry.source:
            continue
        field = f"metrics[{at}].source"
        if not _is_source(entry.source):
            yield Violation(field, "SOURCE_INVALID", _SOURCE_TEXT)
            continue
        if entry.source in seen:
            yield Violation(field, "SOURCE_TWICE", f"`{entry.source}` is the source of two metrics")
        if entry.source in names and entry.source != entry.metric:
            yield Violation(field, "SOURCE_IS_METRIC", f"`{entry.source}` is the name of another metric of the type")
        seen.add(entry.source)
        if spec.default_encoding == "json" or _uses_network_server(spec):
            yield from _check_path(field, entry.source)


def _uses_network_server(spec: TypeSpec) -> bool:
    return any(rule.format == "network-server" for rule in spec.decoder.ports)


def _check_path(field: str, path: str) -> Iterator[Violation]:
    try:
        steps = steps_of(path)
    except ValueError as exc:
        yield Violation(field, "PATH_INVALID", str(exc))
        return
    if len(steps) > MAX_PATH_STEPS or len(path.encode()) > MAX_SOURCE_BYTES:
        text = f"at most {MAX_PATH_STEPS} labels and {MAX_SOURCE_BYTES} bytes"
        yield Violation(field, "PATH_TOO_LONG", text)


def _check_json(mapping: JsonMapping) -> Iterator[Violation]:
    for name in ("records", "time", "device"):
        yield from _check_path(f"decoder.json.{name}", getattr(mapping, name))
    if mapping.time and mapping.time_format not in TIME_FORMATS:
        text = f"`{mapping.time_format}` is not a time format; one of {', '.join(TIME_FORMATS)}"
        yield Violation("decoder.json.time_format", "TIME_FORMAT_UNKNOWN", text)
    if mapping.time_format and not mapping.time:
        yield Violation("decoder.json.time", "TIME_PATH_MISSING", "time_format is given, but not the path of the time")


def _check_ports(spec: TypeSpec) -> Iterator[Violation]:
    for at, rule in enumerate(spec.decoder.ports):
        field = f"decoder.ports[{at}]"
        if rule.format not in FORMATS:
            text = f"`{rule.format}` is not a format of LoRaWAN payloads; one of {', '.join(FORMATS)}"
            yield Violation(f"{field}.format", "FORMAT_UNKNOWN", text)
        if rule.format == "layout" and not spec.decoder.layouts:
            yield Violation("decoder.layouts", "LAYOUT_MISSING", f"{field} decodes by layout: give at least one")
        yield from _check_port_numbers(f"{field}.f_ports", rule.f_ports)


def _check_port_numbers(field: str, ports: Iterable[int]) -> Iterator[Violation]:
    for port in ports:
        if not 1 <= port <= 255:
            yield Violation(field, "PORT_INVALID", f"{port} is not a LoRaWAN port, 1 to 255")


def _check_layout(field: str, layout: Layout, sources: set[str]) -> Iterator[Violation]:
    yield from _check_port_numbers(f"{field}.f_ports", layout.f_ports)
    if len(set(layout.tags)) != len(layout.tags) or not all(0 <= tag <= 255 for tag in layout.tags):
        yield Violation(f"{field}.tags", "TAG_INVALID", "values of one byte, each once")
    if layout.byte_order not in ("", "big", "little"):
        yield Violation(f"{field}.byte_order", "BYTE_ORDER_UNKNOWN", f"`{layout.byte_order}`: `big` or `little`")
    if not layout.fields and not layout.repeat.fields:
        yield Violation(f"{field}.fields", "LAYOUT_EMPTY", "a layout has at least one field")
    found = list(_check_fields(f"{field}.fields", layout.fields, sources))
    repeat = layout.repeat
    found += _check_fields(f"{field}.repeat.fields", repeat.fields, sources)
    if not (math.isfinite(repeat.step_s) and abs(repeat.step_s) <= MAX_STEP_S):
        found.append(Violation(f"{field}.repeat.step_s", "STEP_TOO_LONG", "seconds, at most a year"))
    if repeat.anchor not in ("", "first", "last"):
        found.append(Violation(f"{field}.repeat.anchor", "ANCHOR_UNKNOWN", f"`{repeat.anchor}`: `first` or `last`"))
    if (repeat.count or repeat.step_s or repeat.anchor) and not repeat.fields:
        found.append(Violation(f"{field}.repeat.fields", "LAYOUT_EMPTY", "what is repeated has at least one field"))
    if not found and _size(layout.fields) + _size(repeat.fields) * max(1, repeat.count) > MAX_PAYLOAD_BYTES:
        found.append(Violation(field, "LAYOUT_TOO_LONG", f"at most {MAX_PAYLOAD_BYTES} bytes"))
    yield from found


def _size(fields: tuple[LayoutField, ...]) -> int:
    return sum(field.size_bytes or FIELD_SIZES.get(field.type, 1) for field in fields)


def _check_fields(where: str, fields: tuple[LayoutField, ...], sources: set[str]) -> Iterator[Violation]:
    if len(fields) > MAX_FIELDS:
        yield Violation(where, "TOO_MANY_FIELDS", f"at most {MAX_FIELDS}")
    for at, field in enumerate(fields):
        yield from _check_field(f"{where}[{at}]", field, sources)


def _check_field(where: str, field: LayoutField, sources: set[str]) -> Iterator[Violation]:
    if field.type != "skip" and field.type not in FIELD_SIZES:
        text = f"`{field.type}` is not a type; one of {', '.join(FIELD_SIZES)}, skip"
        yield Violation(f"{where}.type", "FIELD_TYPE_UNKNOWN", text)
        return
    if field.type == "skip" and (field.name or field.bits or field.time):
        yield Violation(where, "FIELD_CONTRADICTS", "skipped bytes have no name, bits or time")
    if field.type != "skip" and field.size_bytes:
        yield Violation(f"{where}.size_bytes", "FIELD_CONTRADICTS", "only `skip` has a size of its own")
    if not 0 <= field.size_bytes <= MAX_PAYLOAD_BYTES:
        yield Violation(f"{where}.size_bytes", "LAYOUT_TOO_LONG", f"at most {MAX_PAYLOAD_BYTES} bytes")
    if sum(map(bool, (field.name, field.bits, field.time))) > 1:
        yield Violation(where, "FIELD_CONTRADICTS", "a field has a name, or bits, or is the time")
    if field.time not in ("", "unix_s", "unix_ms"):
        yield Violation(f"{where}.time", "TIME_FORMAT_UNKNOWN", f"`{field.time}`: `unix_s` or `unix_ms`")
    if field.missing_nan and field.type not in ("f32", "f64"):
        yield Violation(f"{where}.missing_nan", "FIELD_CONTRADICTS", "only f32 and f64 can be NaN")
    yield from _check_numbers(where, field, sources)
    if field.bits and field.type not in ("u8", "u16", "u24", "u32", "u64"):
        yield Violation(f"{where}.bits", "FIELD_CONTRADICTS", "bits are parts of an unsigned integer")
        return
    for at, part in enumerate(field.bits):
        within = f"{where}.bits[{at}]"
        if part.width < 1 or part.bit < 0 or part.bit + part.width > 8 * FIELD_SIZES[field.type]:
            text = f"bit {part.bit} and width {part.width} do not lie within {field.type}"
            yield Violation(within, "BITS_OUTSIDE", text)
        yield from _check_numbers(within, part, sources)


def _check_numbers(where: str, field: LayoutField | LayoutBits, sources: set[str]) -> Iterator[Violation]:
    if field.name and field.name not in sources:
        text = f"`{field.name}` is no metric's source; leave the name out to skip the field"
        yield Violation(f"{where}.name", "SOURCE_UNKNOWN", text)
    numbers = (field.scale, field.offset, *field.missing, *field.valid)
    if not all(map(math.isfinite, numbers)):
        yield Violation(where, "NUMBER_NOT_FINITE", "scale, offset, missing and valid are finite numbers")
    elif field.scale and not math.isfinite(1.0 / field.scale):
        yield Violation(f"{where}.scale", "NUMBER_NOT_FINITE", f"{field.scale:g} is too small")
    if len(field.missing) > MAX_MISSING:
        yield Violation(f"{where}.missing", "TOO_MANY_MISSING", f"at most {MAX_MISSING} values")
    if field.valid and (len(field.valid) != 2 or field.valid[0] > field.valid[1]):
        yield Violation(f"{where}.valid", "RANGE_EMPTY", "the lowest and the highest raw value, as in [0, 4095]")
