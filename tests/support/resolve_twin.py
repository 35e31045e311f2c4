"""Resolving with dicts: the plain twin of ext/telemetry/resolve.pyx, and the city that tests resolve against."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ext.telemetry.index import DeviceIndex
from runtime.units import conversions
from tests.support.senml_twin import Reading, Text

NOW_MS = 1_700_000_000_000
EARLIEST_MS = 946_684_800_000
AHEAD_MS = 86_400_000


class TwinDevice(NamedTuple):
    num: int
    type_num: int
    ward: str
    gateway_num: int
    is_active: bool


# metric_num: name, canonical unit
METRICS = {
    1: ("water_level_m", "m"),
    2: ("temperature_cel", "Cel"),
    3: ("vehicle_count", "{count}"),
    4: ("rain_mm", "mm"),
    5: ("humidity_pct", "%"),
}
# type_num: name, is gateway, encoding, metrics with their ranges
TYPES: dict[int, tuple[str, bool, str, list[tuple[int, float | None, float | None]]]] = {
    1: ("gauge", False, "senml-json", [(1, -2.0, 12.5), (2, None, None), (4, 0.0, None), (5, 0.0, 100.0)]),
    2: ("counter", False, "batch", [(3, None, 100.0)]),
    3: ("gateway", True, "batch", [(2, -40.0, 85.0)]),
}
Span = tuple[float | None, float | None]
# type_num: metric_num: what is suspect, and by month what fails and what is suspect
SPANS: dict[int, dict[int, tuple[Span, dict[int, tuple[Span, Span]]]]] = {
    1: {
        5: (
            (5.0, 99.0),
            {2: ((20.0, None), (40.0, 95.0)), 11: ((None, None), (30.0, 90.0)), 12: ((10.0, 98.0), (None, None))},
        )
    },
}
DEVICES = {
    "wl-1": TwinDevice(11, 1, "00070", 31, True),
    "wl-2": TwinDevice(12, 1, "00004", 0, True),
    "wl-old": TwinDevice(13, 1, "00070", 31, False),
    "tc-1": TwinDevice(21, 2, "", 31, True),
    "gw-1": TwinDevice(31, 3, "00004", 0, True),
    "gw-2": TwinDevice(32, 3, "00007", 0, True),
}


def make_index() -> DeviceIndex:
    index = DeviceIndex(conversions)
    for num, (metric, unit) in METRICS.items():
        index.put_metric(num, metric, unit)
    for num, (name, is_gateway, encoding, metrics) in TYPES.items():
        index.put_type(num, name, is_gateway, encoding, metrics, None, SPANS.get(num))
    for device_id, device in DEVICES.items():
        tokens = [bytes(32)] if device.is_active else []
        index.put_device(
            device.num, device_id, device.type_num, device.ward, device.gateway_num, tokens, device.is_active
        )
    return index


def converted(value: float, unit: str, canonical: str) -> float | None:
    """The value in the canonical unit; None: no conversion."""
    if unit in ("", canonical):
        return value
    for name, factor, offset in conversions(canonical):
        if name == unit:
            divisor = round(1 / factor)
            if divisor > 1 and 1 / divisor == factor:
                return value / divisor + offset
            return value * factor + offset
    return None


def is_outside(value: float, span: Span) -> bool:
    low, high = span
    return (low is not None and value < low) or (high is not None and value > high)


def resolve_one(sender: str | None, scope: str, reading: Reading, received_ms: int) -> dict[str, Any] | str:
    """One row, or the reason why there is none."""
    named, metric, unit, when, value, reason = reading
    if reason:
        return reason
    own = DEVICES.get(sender or "")
    if own is None or not own.is_active:
        return "unknown_device"
    device = own
    if named is not None and named != sender:
        other = DEVICES.get(named)
        if other is None or not other.is_active:
            return "unknown_device"
        if scope != "gateway" or other.gateway_num != own.num:
            return "not_behind_gateway"
        device = other
    metric_num = next((num for num, (name, _) in METRICS.items() if name == metric), 0)
    ranges = {num: (low, high) for num, low, high in TYPES[device.type_num][3]}
    if metric_num not in ranges:
        return "unknown_metric"
    if isinstance(value, Text):
        if not EARLIEST_MS <= when <= received_ms + AHEAD_MS:
            return "time_out_of_range"
        return {
            "device_num": device.num,
            "metric_num": metric_num,
            "ts": when,
            "kind": value.kind,
            "value": value.value,
            "quality": 2,
            "ward_code": device.ward,
            "received_at": received_ms,
        }
    result = converted(value, unit, METRICS[metric_num][1])
    if result is None:
        return "unknown_unit"
    if not EARLIEST_MS <= when <= received_ms + AHEAD_MS:
        return "time_out_of_range"
    if not math.isfinite(result):
        return "value_not_finite"
    month = (datetime(1970, 1, 1, 7, tzinfo=UTC) + timedelta(milliseconds=when)).month
    suspect, climatology = SPANS.get(device.type_num, {}).get(metric_num, ((None, None), {}))
    tests = (ranges[metric_num], suspect), climatology.get(month, ((None, None), (None, None)))
    reasons = sum(bit for bit, spans in zip((1, 4), tests, strict=True) if is_outside(result, spans[0]))
    reasons += sum(
        bit
        for bit, spans in zip((2, 8), tests, strict=True)
        if is_outside(result, spans[1]) and not is_outside(result, spans[0])
    )
    is_evaluated = any(bound is not None for spans in tests for span in spans for bound in span)
    quality = 4 if reasons & 5 else 3 if reasons else 1 if is_evaluated else 2
    return {
        "device_num": device.num,
        "metric_num": metric_num,
        "ts": when,
        "value": result,
        "quality": quality,
        "quality_reasons": reasons,
        "ward_code": device.ward,
        "received_at": received_ms,
    }
