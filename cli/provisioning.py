"""Registers devices for replay and demo through the registry's public API, and keeps their tokens."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc

from cityfleet.registry.v1 import device_pb2, device_type_pb2
from cli.errors import CommandError
from cli.registry_client import CALL_S, RegistryClient

ROWS_PER_REQUEST = 500


class Registration(NamedTuple):
    """A device to be. Degrees: both or none. `station`, its label, is the official station of a river gauge."""

    device_id: str
    device_type: str
    display_name: str = ""
    ward_code: str = ""
    gateway: str = ""
    latitude: float | None = None
    longitude: float | None = None
    station: str = ""


def ensure_types(client: RegistryClient, wanted: Mapping[str, Iterable[str]]) -> None:
    """Make sure that each type exists and has the metrics; what a type has beyond them stays. Raises grpc.RpcError."""
    for type_id, metrics in wanted.items():
        name = f"deviceTypes/{type_id}"
        try:
            kind = client.types.GetDeviceType(device_type_pb2.GetDeviceTypeRequest(name=name), timeout=CALL_S)
        except grpc.RpcError as exc:
            if not isinstance(exc, grpc.Call) or exc.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            kind = device_type_pb2.DeviceType(name=name)
        known = {metric.metric for metric in kind.metrics}
        missing = sorted(set(metrics) - known)
        if missing or not kind.type_num:
            kind.metrics.extend(device_type_pb2.DeviceTypeMetric(metric=metric) for metric in missing)
            client.types.ApplyDeviceType(device_type_pb2.ApplyDeviceTypeRequest(device_type=kind), timeout=CALL_S)


def register(
    client: RegistryClient,
    devices: Sequence[Registration],
    tokens: Mapping[str, str],
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, str]:
    """Create what does not exist and return a valid token of every device.

    A device that exists keeps its record; if its token is not among `tokens` (or is no longer valid), it gets a new one
    beside the old. Raises CommandError for a device that the registry does not take, grpc.RpcError.
    """
    held = dict(tokens)
    done = 0
    for response in client.devices.ImportDevices(_requests(devices, tokens)):
        for result in response.results:
            device_id = devices[result.row].device_id
            held[device_id] = _token(client, device_id, result, held.get(device_id, ""))
        done += len(response.results)
        on_progress(done)
    return held


def _requests(devices: Sequence[Registration], tokens: Mapping[str, str]) -> Iterator[device_pb2.ImportDevicesRequest]:
    # Gateways come first in the caller's order, because the devices behind them are checked against them.
    for start in range(0, len(devices), ROWS_PER_REQUEST):
        part = enumerate(devices[start : start + ROWS_PER_REQUEST], start)
        yield device_pb2.ImportDevicesRequest(
            rows=[
                device_pb2.ImportRow(row=row, device=_device(new), token=tokens.get(new.device_id, ""))
                for row, new in part
            ]
        )


def _device(new: Registration) -> device_pb2.Device:
    device = device_pb2.Device(
        name=f"devices/{new.device_id}",
        device_type=new.device_type,
        display_name=new.display_name,
        ward_code=new.ward_code,
        gateway=new.gateway,
    )
    if new.latitude is not None and new.longitude is not None:
        device.latitude, device.longitude = new.latitude, new.longitude
    if new.station:
        device.labels["station"] = new.station
    return device


def _token(client: RegistryClient, device_id: str, result: device_pb2.ImportRowResult, held: str) -> str:
    if result.outcome == device_pb2.ImportRowResult.OUTCOME_CREATED:
        return result.token or held
    if result.outcome == device_pb2.ImportRowResult.OUTCOME_UNCHANGED and held:
        return held
    faults = [error for error in result.errors if error.reason != "DEVICE_EXISTS_DIFFERENT"]
    if faults:
        what = "; ".join(f"{error.field}: {error.description}" for error in faults)
        raise CommandError(f"the registry does not take the device {device_id}: {what}")
    request = device_pb2.RotateDeviceTokenRequest(name=f"devices/{device_id}", keep_previous=True)
    return str(client.devices.RotateDeviceToken(request, timeout=CALL_S).token)


def read_tokens(path: Path) -> dict[str, str]:
    """Tokens by device from a CSV with the columns `device_id` and `token`. Raises CommandError."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if not {"device_id", "token"} <= set(rows.fieldnames or ()):
                raise CommandError(f"{path}: the first line must name the columns `device_id` and `token`")
            return {row["device_id"]: row["token"] for row in rows if row["token"]}
    except OSError as exc:
        raise CommandError(f"cannot read the tokens in {path}: {exc.strerror}") from exc


def write_tokens(path: Path, tokens: Mapping[str, str]) -> None:
    """Write the tokens for their owner only. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("device_id", "token"))
        writer.writerows(sorted(tokens.items()))
    draft.replace(path)
