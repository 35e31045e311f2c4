"""What goes wrong in a city: devices that fall silent, and devices that send what nobody can store."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cityfleet.telemetry.v1 import telemetry_pb2
from loadtest.fleet.devices import GATEWAY, STREET, TRAFFIC, CityDevice
from loadtest.fleet.noise import key_of, spread, unit
from loadtest.fleet.weather import HOUR_MS
from loadtest.payload import Encoding, Reading, encode

_SILENT_SHARE = 0.02
_PICK = key_of("faults")


class BadHabit(StrEnum):
    WRONG_METRIC = "a metric that its type does not have"
    NEVER_SET_CLOCK = "a clock that starts in 1970"
    BROKEN_JSON = "JSON that breaks off"


@dataclass(frozen=True, slots=True)
class BadMessage:
    """`readings`: how many readings it stands for in quarantine."""

    payload: bytes
    encoding: Encoding
    readings: int


@dataclass(frozen=True, slots=True)
class Faults:
    """`silent_since_ms`: after this a device says nothing. `habits`: what a device sends beside its good readings."""

    silent_since_ms: dict[str, int]
    habits: dict[str, BadHabit]

    @staticmethod
    def of(seed: int, devices: Sequence[CityDevice], anchor_ms: int) -> "Faults":
        """Silent: two in a hundred devices, and one gateway with all behind it. Two devices have each bad habit."""
        ranked = sorted(devices, key=lambda device: unit(seed, device.key, _PICK))
        gateways = [device for device in ranked if device.device_type == GATEWAY]
        sensors = [device for device in ranked if device.device_type != GATEWAY]
        chosen = sensors[: max(1, round(len(sensors) * _SILENT_SHARE))]
        silent = {
            device.device_id: anchor_ms - int(spread(seed, device.key, 201, 0.7, 9.0) * HOUR_MS) for device in chosen
        }
        if len(gateways) > 2:
            since = anchor_ms - 2 * HOUR_MS
            lost = gateways[0].device_id
            silent |= {device.device_id: since for device in devices if lost in (device.device_id, device.gateway)}
        talkers = [
            device for device in sensors if device.device_type in (STREET, TRAFFIC) and device.device_id not in silent
        ]
        habits = {
            device.device_id: habit
            for device, habit in zip(talkers, [habit for habit in BadHabit for _ in range(2)], strict=False)
        }
        return Faults(silent, habits)

    def is_silent(self, device_id: str, ts_ms: int) -> bool:
        since = self.silent_since_ms.get(device_id)
        return since is not None and ts_ms >= since


def bad_message(device: CityDevice, habit: BadHabit, ts_ms: int, started_ms: int) -> BadMessage:
    """What the device sends at `ts_ms` out of its habit."""
    if habit is BadHabit.WRONG_METRIC:
        reading = Reading(device.device_id, "rain_mm", ts_ms, 1.0)
        return BadMessage(encode([reading], Encoding.SENML_JSON, device.device_id), Encoding.SENML_JSON, 1)
    if habit is BadHabit.NEVER_SET_CLOCK:
        batch = telemetry_pb2.ReadingBatch(
            base_time_ms=ts_ms - started_ms,
            metrics=["vehicle_count" if device.device_type == TRAFFIC else "street_flood_depth_mm"],
            metric_index=[0],
            time_delta_ms=[0, 1000],
            value=[1.0, 2.0],
        )
        return BadMessage(batch.SerializeToString(), Encoding.BATCH, 2)
    whole = encode([Reading(device.device_id, "speed_km_h", ts_ms, 30.0)], Encoding.SENML_JSON, device.device_id)
    return BadMessage(whole[:-9], Encoding.SENML_JSON, 1)
