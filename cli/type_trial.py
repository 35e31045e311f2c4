"""A device type tried out: its test vectors, and single payloads through the code that ingest runs."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from cityfleet.registry.v1 import device_type_pb2 as pb
from cli.errors import CommandError, ExitCode
from ext.telemetry.batch import BatchDecoder
from ext.telemetry.decode import decode_chunk
from ext.telemetry.frames import ENCODING_NAMES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters
from ext.telemetry.type_decoder import TypeDecoder
from registry.api.device_type import spec_of
from registry.devices.catalogue import check_source_units
from registry.devices.decoder_rules import check_decoder
from registry.devices.model import TypeSpec
from registry.devices.quality import Span, flag
from registry.devices.rules import check_type
from registry.devices.vectors import converted, failure
from runtime.units import conversions

# In local time, by which readings have their months.
_EPOCH = datetime(1970, 1, 1, 7, tzinfo=UTC)
_DEVICE, _NETWORK_SERVER = "device", "network-server"


class Trial(msgspec.Struct, frozen=True):
    spec: TypeSpec
    units: dict[str, str]

    def run_vectors(self) -> list[tuple[str, str | None]]:
        """Each vector's name and what is wrong; None: it passes."""
        return [
            (vector.name or f"vectors[{at}]", failure(self.spec, vector, self.units))
            for at, vector in enumerate(self.spec.vectors)
        ]

    def decode(self, payload: bytes, f_port: int | None, *, is_json: bool) -> tuple[list[dict[str, Any]], str]:
        """What a payload becomes, and why it, or the rest of it, is refused; empty: it is not.

        Args:
            f_port: wrap it in a network server's uplink; a JSON document is then what the server has decoded.
        """
        now_ms = time.time_ns() // 1_000_000
        index, chunk, readings = self._index(), FrameChunk("trial"), Readings()
        if f_port is None:
            encoding = ENCODING_NAMES["json"] if is_json else 0
            chunk.add(b"", payload, sender=index.find_device(_DEVICE), encoding=encoding, received_ms=now_ms)
        else:
            uplink: dict[str, Any] = {"deviceInfo": {"devEui": _DEVICE}, "fPort": f_port}
            if is_json:
                uplink["object"] = _document(payload)
            else:
                uplink["data"] = base64.b64encode(payload).decode()
            encoding = ENCODING_NAMES["chirpstack"]
            text = json.dumps(uplink).encode()
            chunk.add(b"", text, sender=index.find_device(_NETWORK_SERVER), encoding=encoding, received_ms=now_ms)
        decode_chunk(chunk, index, BatchDecoder(), readings, StageCounters())
        rows = [
            self._row(metric, value, unit, when, now_ms) | ({"quality": reason} if reason else {})
            for _, _, metric, unit, when, value, reason in readings.rows()
        ]
        rows += [
            self._row(metric, value.decode(errors="replace"), "", when, now_ms)
            for _, _, metric, when, _, value, _ in readings.text_rows()
        ]
        refused = [f"{reason}: {detail}" if detail else reason for _, reason, detail, _ in readings.refusals_list()]
        # without a gateway's reception the frame counter of the wrapping is nobody's
        return [row for row in rows if f_port is None or row["source"] != "f_cnt"], "; ".join(refused)

    def _index(self) -> DeviceIndex:
        index = DeviceIndex(conversions)
        numbers = {metric: number for number, metric in enumerate(self.units, 1)}
        for metric, unit in self.units.items():
            index.put_metric(numbers[metric], metric, unit)
        spec = self.spec
        metrics = [(numbers[entry.metric], entry.min_value, entry.max_value) for entry in spec.metrics]
        sources = [
            (entry.source or entry.metric, entry.metric, entry.source_unit, numbers[entry.metric])
            for entry in spec.metrics
        ]
        decoder = TypeDecoder(sources, spec.decoder, spec.default_encoding)
        index.put_type(1, spec.type_id, False, spec.default_encoding, metrics, decoder)
        index.put_type(2, _NETWORK_SERVER, True, "chirpstack", [])
        index.put_device(1, _DEVICE, 1, "", 2, [], True)
        index.put_device(2, _NETWORK_SERVER, 2, "", 0, [], True)
        return index

    def _row(self, metric: str, value: float | str, unit: str, when: int, now_ms: int) -> dict[str, Any]:
        entry = next((entry for entry in self.spec.metrics if entry.metric == metric), None)
        row: dict[str, Any] = {"metric": metric, "sent": value, "sent_unit": unit}
        row["time"] = "when received" if when == now_ms else _moment(when)
        if entry is None:
            return row | {"value": None, "quality": "unknown_metric", "source": metric}
        row["source"] = entry.source or metric
        if isinstance(value, str):
            return row | {"value": value, "quality": "text"}
        stored = converted(value, unit, self.units[metric])
        sensor = Span(entry.min_value, entry.max_value)
        month = (_EPOCH + timedelta(milliseconds=when)).month
        return row | {"value": stored, "unit": self.units[metric], "quality": flag(entry.tests, sensor, stored, month)}


def trial_of(kind: pb.DeviceType, units: dict[str, str]) -> Trial:
    """Args: units: canonical unit by metric. Raises: CommandError if the registry would refuse the type."""
    spec = spec_of(kind)
    found = check_type(spec, units) or [*check_source_units(spec, units), *check_decoder(spec)]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise CommandError(f"{found[0].field}: {found[0].description}{more}", ExitCode.USAGE)
    return Trial(spec, units)


def _document(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise CommandError(f"--json: not JSON: {exc}", ExitCode.USAGE) from exc


def _moment(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"
