"""What the end-to-end scenarios share: the devices, and the baseline with its broker and its consumer."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cityfleet.registry.v1 import device_pb2, device_pb2_grpc, device_type_pb2, device_type_pb2_grpc
from loadtest.bench.blast import Sender
from loadtest.platform import Platform, free_ports
from runtime.secrets import secret

CONNECTIONS = 64
PER_BATCH = 100
_TICK_S = os.sysconf("SC_CLK_TCK")
_T0_MS = 1_700_000_000_000


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK_S


def provision(platform: Platform, gauges: int = CONNECTIONS * PER_BATCH, workers: int = 1) -> dict[str, str]:
    """Types, a gateway per connection, and the gauges behind them, 100 behind each unless told otherwise.

    Returns: tokens by device id, when ingest knows the devices.
    """
    with platform.registry_channel() as channel:
        types = device_type_pb2_grpc.DeviceTypeServiceStub(channel)
        metrics = [device_type_pb2.DeviceTypeMetric(metric="water_level_m", min_value=0, max_value=20)]
        for name, is_gateway in (("bench-gauge", False), ("bench-gateway", True)):
            kind = device_type_pb2.DeviceType(name=f"deviceTypes/{name}", is_gateway=is_gateway, metrics=metrics)
            types.ApplyDeviceType(device_type_pb2.ApplyDeviceTypeRequest(device_type=kind))
        devices = device_pb2_grpc.DeviceServiceStub(channel)

        def rows() -> Iterator[device_pb2.ImportRow]:
            for number in range(CONNECTIONS):
                gateway = device_pb2.Device(name=f"devices/gw-{number}", device_type="bench-gateway", ward_code="00070")
                yield device_pb2.ImportRow(row=number, device=gateway)
            for number in range(gauges):
                gauge = device_pb2.Device(
                    name=f"devices/wl-{number}",
                    device_type="bench-gauge",
                    gateway=f"gw-{number % CONNECTIONS}",
                    ward_code="00070",
                )
                yield device_pb2.ImportRow(row=CONNECTIONS + number, device=gauge)

        everything = list(rows())
        requests = [
            device_pb2.ImportDevicesRequest(rows=everything[at : at + 2000]) for at in range(0, len(everything), 2000)
        ]
        tokens = {}
        names = [row.device.name.removeprefix("devices/") for row in everything]
        for answer in devices.ImportDevices(iter(requests)):
            for result in answer.results:
                if result.outcome == device_pb2.ImportRowResult.OUTCOME_FAILED:
                    raise RuntimeError(f"{names[result.row]}: {result.errors}")
                tokens[names[result.row]] = result.token
    deadline = time.monotonic() + 60
    while platform.metric("ingest", "cityfleet_ingest_index_devices") < len(tokens) * workers:
        if time.monotonic() > deadline:
            raise TimeoutError("ingest has not heard of all devices")
        time.sleep(0.05)
    return tokens


def single(tokens: dict[str, str], per_connection: int, start: int) -> list[Sender]:
    """Gauges, each message one SenML record."""
    senders = []
    for number in range(CONNECTIONS):
        device = f"wl-{number}"
        topic = f"cf/v1/d/{device}/telemetry"
        messages = [
            (topic, f'[{{"n":"water_level_m","u":"m","t":{1_600_000_000 + step},"v":{step % 1000 / 100}}}]'.encode())
            for step in range(start, start + per_connection)
        ]
        senders.append(Sender(device, tokens[device], messages))
    return senders


@contextmanager
def baseline(platform: Platform, folder: Path) -> Iterator[tuple[int, dict[str, int]]]:
    """mosquitto and the consumer; gives the broker's port and the processes."""
    mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    (port,) = free_ports(1)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 1000000\n"
        "persistence false\nlog_dest none\n"
    )
    broker = subprocess.Popen([mosquitto, "-c", str(config)])
    environment = {**platform.environment, "BENCH_ADMIN_KEY": secret(platform.data_dir, "store-admin")}
    host, _, store_port = platform.store_url.removeprefix("http://").partition(":")
    consumer = subprocess.Popen(
        [sys.executable, "-m", "loadtest.bench.baseline", str(port), host, store_port],
        env=environment,
        stdout=subprocess.PIPE,
    )
    try:
        assert consumer.stdout is not None
        if consumer.stdout.readline() != b"ready\n":
            raise RuntimeError("the baseline's consumer did not start")
        yield port, {"broker": broker.pid, "consumer": consumer.pid, "store": platform.pid("store")}
    finally:
        for process in (consumer, broker):
            process.terminate()
            process.wait(20)
