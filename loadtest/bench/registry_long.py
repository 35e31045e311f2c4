"""What is long: a list of all devices by the command line, a watch of all, a file without an end."""

import asyncio
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import grpc

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1 import device_pb2_grpc
from loadtest.bench.registry_stage import RegistryStage, status_bytes, wait_for
from loadtest.fleet.devices import RAIN
from loadtest.fleet.registered import RegisteredCity

_LIMIT_S = 60.0
_Watch: TypeAlias = "grpc.aio.UnaryStreamCall[pb.WatchDevicesRequest, pb.WatchDevicesResponse]"


def list_all(stage: RegistryStage, city: RegisteredCity, folder: Path) -> dict[str, float]:
    """`cityfleet device list -o csv` of all: seconds, and the most memory that the command took."""
    found = folder / "list.csv"
    before_s, started = stage.cpu_s(), time.monotonic()
    with found.open("wb") as out:
        process = stage.start_cli("device", "list", "-o", "csv", stdout=out)
        peak, used = wait_for(process)
    took_s = time.monotonic() - started
    with found.open("rb") as lines:
        rows = sum(1 for _ in lines) - 1
    if process.returncode or rows != city.devices:
        raise RuntimeError(f"the list ended with {process.returncode} after {rows} of {city.devices} devices")
    return {
        "seconds": took_s,
        "cli_rss_mb": peak / 1e6,
        "cli_cpu_us": (used.ru_utime + used.ru_stime) / rows * 1e6,
        "registry_cpu_us": (stage.cpu_s() - before_s) / rows * 1e6,
    }


def read_endless(stage: RegistryStage, for_s: float) -> dict[str, float]:
    """A dry run over a pipe that brings rows of 280 bytes for so long, each of a device of its own: what both hold."""
    before_mb, started = stage.rss_bytes() / 1e6, time.monotonic()
    process = stage.start_cli("import", "devices", "-", "--dry-run", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    rows = size = 0
    with process.stdin as pipe:
        pipe.write("device_id,device_type,display_name\n")
        while time.monotonic() < started + for_s:
            text = "".join(f"endless-{row:012},{RAIN},{'x' * 250}\n" for row in range(rows, rows + 1000))
            pipe.write(text)
            rows, size = rows + 1000, size + len(text)
        peak = status_bytes(process.pid, "VmHWM")
    peak, _ = wait_for(process, peak)
    took_s = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"the dry run ended with {process.returncode}")
    return {
        "rows_per_s": rows / took_s,
        "hours_for_10_gb": 10e9 / size * took_s / 3600,
        "cli_rss_mb": peak / 1e6,
        "registry_rss_more_mb": stage.rss_bytes() / 1e6 - before_mb,
    }


async def watch_all(stage: RegistryStage, city: RegisteredCity, changes: int) -> dict[str, float]:
    """A watch of all devices: its snapshot, then single changes, until he who watches has heard of them."""
    before_mb, started = stage.rss_bytes() / 1e6, time.monotonic()
    async with stage.channel() as channel:
        devices = device_pb2_grpc.DeviceServiceStub(channel)
        watch = devices.WatchDevices(pb.WatchDevicesRequest(), metadata=stage.metadata)
        heard = 0
        while (response := await _next(watch)).kind != pb.WatchDevicesResponse.KIND_SNAPSHOT_COMPLETE:
            heard += len(response.devices)
        snapshot_s = time.monotonic() - started
        if heard != city.devices:
            raise RuntimeError(f"the watch began with {heard} of {city.devices} devices")
        delays = []
        for number in range(changes):
            name = f"devices/{city.device_id(number * 997 % city.devices)}"
            changed = pb.Device(name=name, display_name=f"Watched {time.time_ns()}")
            started = time.monotonic()
            await devices.UpdateDevice(pb.UpdateDeviceRequest(device=changed), metadata=stage.metadata)
            while not any(device.display_name == changed.display_name for device in (await _next(watch)).devices):
                pass
            delays.append(time.monotonic() - started)
        watch.cancel()
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await watch.read()
    return {
        "snapshot_s": snapshot_s,
        "change_median_s": sorted(delays)[len(delays) // 2],
        "change_max_s": max(delays),
        "registry_rss_more_mb": stage.rss_bytes() / 1e6 - before_mb,
    }


async def _next(
    watch: "grpc.aio.UnaryStreamCall[pb.WatchDevicesRequest, pb.WatchDevicesResponse]",
) -> pb.WatchDevicesResponse:
    response = await asyncio.wait_for(watch.read(), _LIMIT_S)
    if not isinstance(response, pb.WatchDevicesResponse):
        raise RuntimeError("the registry ended the watch")
    return response
