"""Device types that say how their payloads are decoded, in an index, and what both decoders make of a payload."""

import math
from typing import Any

from ext.telemetry.batch import BatchDecoder
from ext.telemetry.decode import decode_chunk
from ext.telemetry.frames import ENCODING_NAMES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters
from ext.telemetry.type_decoder import TypeDecoder
from registry.devices.model import TypeMetric, TypeSpec
from registry.devices.payload import NEVER_MS, Decoded, Relative
from runtime.units import conversions
from tests.support.resolve_twin import NOW_MS

UNITS = {
    "water_level_m": "m",
    "temperature_cel": "Cel",
    "rain_mm": "mm",
    "battery_pct": "%",
    "humidity_pct": "%",
    "pressure_hpa": "hPa",
    "rssi_dbm": "dBm",
    "snr_db": "dB",
    "frames": "1",
    "status": "1",
}
DEVICE, EUI, GATEWAY = "lora-1", "70b3d57ed0051234", "ns-1"


def metrics(**sources: str) -> tuple[TypeMetric, ...]:
    """`metrics(water_level_m="data.level cm")`: metric, source and, behind a space, the unit it comes in."""
    return tuple(TypeMetric(metric, None, None, *text.split(" ")) for metric, text in sources.items())


def type_decoder(spec: TypeSpec) -> TypeDecoder:
    numbers = {metric: num for num, metric in enumerate(UNITS, 1)}
    entries = [(entry.source or entry.metric, entry.metric, entry.source_unit) for entry in spec.metrics]
    return TypeDecoder([(*entry, numbers[entry[1]]) for entry in entries], spec.decoder, spec.default_encoding)


def make_index(spec: TypeSpec, network_server: str = "chirpstack") -> DeviceIndex:
    """The device `lora-1` of this type, known elsewhere by a DevEUI, behind the gateway `ns-1`."""
    index = DeviceIndex(conversions)
    for num, (metric, unit) in enumerate(UNITS.items(), 1):
        index.put_metric(num, metric, unit)
    numbers = {metric: num for num, metric in enumerate(UNITS, 1)}
    ranges: list[tuple[int, float | None, float | None]] = [
        (numbers[entry.metric], entry.min_value, entry.max_value) for entry in spec.metrics
    ]
    index.put_type(1, spec.type_id, spec.is_gateway, spec.default_encoding, ranges, type_decoder(spec))
    index.put_type(2, "network-server", True, network_server, [])
    index.put_device(1, DEVICE, 1, "00070", 2, [bytes(32)], True, EUI)
    index.put_device(2, GATEWAY, 2, "", 0, [bytes(32)], True)
    index.put_device(3, "lora-2", 1, "00070", 0, [bytes(32)], True, "70b3d57ed0059999")
    return index


class Answer:
    """What decode gives for one frame: `rows` of numbers, `texts`, `refusals`."""

    def __init__(self, index: DeviceIndex, payload: bytes, encoding: str, sender: str = DEVICE) -> None:
        chunk = FrameChunk("mqtt")
        chunk.add(b"x", payload, sender=index.find_device(sender), encoding=ENCODING_NAMES[encoding], scope=1,
                  received_ms=NOW_MS)  # fmt: skip
        readings = Readings()
        decode_chunk(chunk, index, BatchDecoder(), readings, StageCounters())
        self.rows = [row[1:] for row in readings.rows()]
        self.texts = [row[1:] for row in readings.text_rows()]
        self.refusals = [row[1:] for row in readings.refusals_list()]

    @property
    def values(self) -> list[tuple[str, float]]:
        return [(metric, value) for _, metric, _, _, value, reason in self.rows if not reason]

    @property
    def reason(self) -> str:
        return self.refusals[0][0] if self.refusals else ""

    @property
    def detail(self) -> str:
        return self.refusals[0][1] if self.refusals else ""

    def comparable(self) -> list[tuple[Any, ...]]:
        """Readings as `comparable_twin` gives them."""
        found: list[tuple[Any, ...]] = [
            (metric, device, when, ("refused",) if reason else ("number", value))
            for device, metric, _, when, value, reason in self.rows
        ]
        found += [(metric, device, when, (kind, value)) for device, metric, when, kind, value, _ in self.texts]
        return sorted(found, key=repr)


def comparable_twin(spec: TypeSpec, decoded: list[Decoded], base_ms: int = NOW_MS, device: str | None = None) -> Any:
    """The twin's readings as (metric, device, time, value), sorted."""
    metric_of = {entry.source or entry.metric: entry.metric for entry in spec.metrics}
    found: list[tuple[Any, ...]] = []
    for one in decoded:
        when = base_ms if one.time_ms is None else int(one.time_ms)
        if isinstance(one.time_ms, Relative):
            when += base_ms
        value: tuple[Any, ...]
        if isinstance(one.value, bool):
            value = ("boolean", b"true" if one.value else b"false")
        elif isinstance(one.value, str):
            value = ("string", one.value.encode())
        else:
            value = ("number", one.value) if math.isfinite(one.value) else ("refused",)
        found.append(
            (
                metric_of.get(one.name, one.name),
                device if one.device is None else one.device,
                min(when, NEVER_MS),
                value,
            )
        )
    return sorted(found, key=repr)
