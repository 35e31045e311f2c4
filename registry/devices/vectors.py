"""Test vectors of a device type: each payload must decode to exactly what the type says it does."""

import math
from collections.abc import Iterator, Mapping

from registry.devices.decoder import TestVector
from registry.devices.model import TypeSpec
from registry.devices.payload import Decoded, PayloadError, Relative, decode_json, decode_payload, format_of, rfc3339_ms
from registry.errors import Violation
from runtime.units import conversions

MAX_VECTORS = 64
MAX_VECTOR_BYTES = 65_536


def check_vectors(spec: TypeSpec, units: Mapping[str, str]) -> Iterator[Violation]:
    """Decode every vector. Args: units: canonical unit by metric, of the whole catalogue."""
    if len(spec.vectors) > MAX_VECTORS:
        yield Violation("vectors", "TOO_MANY_VECTORS", f"at most {MAX_VECTORS}")
        return
    for at, vector in enumerate(spec.vectors):
        field = f"vectors[{at}]"
        problem = _shape(vector) or failure(spec, vector, units)
        if problem:
            reason = "VECTOR_FAILED" if _shape(vector) is None else "VECTOR_INVALID"
            title = f"`{vector.name}`: " if vector.name else ""
            yield Violation(field, reason, title + problem)


def _shape(vector: TestVector) -> str | None:
    if (vector.payload is None) == (vector.json is None):
        return "give a payload or a json document, one of the two"
    if len(vector.payload or vector.json or "") > MAX_VECTOR_BYTES:
        return f"at most {MAX_VECTOR_BYTES} bytes"
    if vector.f_port is not None and not 1 <= vector.f_port <= 255:
        return f"f_port {vector.f_port} is not a LoRaWAN port, 1 to 255"
    if not vector.expect and not vector.error:
        return "says neither what it decodes to (expect) nor why it is refused (error)"
    if any(rfc3339_ms(text) is None for text in vector.times):
        return "times are RFC 3339, as in 2026-07-01T06:00:00Z"
    return None


def decode_vector(spec: TypeSpec, vector: TestVector) -> list[Decoded]:
    """Raises: PayloadError."""
    if vector.json is None:
        return decode_payload(spec, vector.payload or b"", vector.f_port)
    form = format_of(spec, vector.f_port) if vector.f_port is not None else "network-server"
    if form != "network-server":
        raise PayloadError(f"port {vector.f_port} is decoded as {form}, not by the network server")
    return decode_json(spec, vector.json)


def failure(spec: TypeSpec, vector: TestVector, units: Mapping[str, str]) -> str | None:
    """What a vector's payload decodes to otherwise than it says, in words; None: it passes."""
    try:
        found, error = decode_vector(spec, vector), ""
    except PayloadError as exc:
        found, error = list(exc.readings), str(exc)
    if error and (not vector.error or vector.error not in error):
        return f"expected {f'the error {vector.error!r}' if vector.error else 'readings'}, got the error: {error}"
    if vector.error and not error:
        return f"expected the error {vector.error!r}, got {_names(found)}"
    left = list(found)
    for expected in vector.expect:
        values, rest = _values(spec, expected.name, left, units)
        wanted: list[float | str] = [*expected.numbers, *expected.texts]
        if len(values) != len(wanted) or not all(map(_same, values, wanted)):
            return f"{expected.name}: expected {_text(wanted)}, got {_text(values) if values else 'no reading'}"
        left = rest
    if left and (vector.expect or not vector.error):
        return f"{left[0].name}: expected no reading, got {_text([left[0].value])}"
    return _time_failure(vector, found)


def _time_failure(vector: TestVector, found: list[Decoded]) -> str | None:
    if not vector.times:
        return None
    got: list[str] = []
    for one in found:
        text = "no time of its own" if one.time_ms is None else str(int(one.time_ms))
        if isinstance(one.time_ms, Relative):
            text = f"{int(one.time_ms):+d} ms"
        if not got or got[-1] != text:
            got.append(text)
    wanted = [str(rfc3339_ms(text)) for text in vector.times]
    if got != wanted:
        return f"times: expected {', '.join(wanted)}, got {', '.join(got)} (milliseconds since 1970)"
    return None


def _values(
    spec: TypeSpec, name: str, found: list[Decoded], units: Mapping[str, str]
) -> tuple[list[float | str], list[Decoded]]:
    """The values of a metric or source, in the metric's unit or as sent; and the readings that are others'."""
    metric = next((entry for entry in spec.metrics if entry.metric == name), None)
    source = metric.source or metric.metric if metric else name
    values: list[float | str] = []
    for one in found:
        if one.name != source:
            continue
        if isinstance(one.value, bool):
            values.append("true" if one.value else "false")
        elif metric and isinstance(one.value, float):
            values.append(converted(one.value, metric.source_unit, units.get(metric.metric, "")))
        else:
            values.append(one.value)
    return values, [one for one in found if one.name != source]


def converted(value: float, unit: str, canonical: str) -> float:
    """The value in the canonical unit; NaN: there is no conversion."""
    if unit in ("", canonical):
        return value
    for other, factor, offset in conversions(canonical):
        if other == unit:
            return value * factor + offset
    return math.nan


def _same(got: float | str, wanted: float | str) -> bool:
    if isinstance(got, str) or isinstance(wanted, str):
        return got == wanted
    return math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-12)


def _text(values: list[float | str]) -> str:
    return ", ".join(f"{value:.12g}" if isinstance(value, float) else str(value) for value in values)


def _names(found: list[Decoded]) -> str:
    return f"readings of {', '.join(dict.fromkeys(one.name for one in found))}" if found else "no readings"
