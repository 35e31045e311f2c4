"""The whole job, device to committed row, beside a baseline: mosquitto, aiomqtt, json and clickhouse-connect's insert.

Both sides get the same kind of traffic from the same generator on the same machine, generator and engine included. CPU
is user and system time of a process (from /proc), so it does not depend on what else the machine does.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from cityfleet.registry.v1 import device_pb2, device_pb2_grpc, device_type_pb2, device_type_pb2_grpc
from cityfleet.telemetry.v1 import telemetry_pb2
from loadtest.bench.blast import Blaster, Sender
from loadtest.platform import Platform, free_ports, running_platform
from runtime.secrets import secret

CONNECTIONS = 64
PER_BATCH = 100
_TICK_S = os.sysconf("SC_CLK_TCK")
_T0_MS = 1_700_000_000_000


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK_S


def provision(platform: Platform) -> dict[str, str]:
    """A type, the connections' devices, and behind each gateway as many gauges as a batch has. Returns the tokens."""
    with grpc.insecure_channel(platform.registry) as channel:
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
            for number in range(CONNECTIONS * PER_BATCH):
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
    return tokens


def packed(tokens: dict[str, str], per_connection: int, start: int) -> list[Sender]:
    """Gateways, each message a ReadingBatch of one sample of each of 100 gauges."""
    senders = []
    for number in range(CONNECTIONS):
        gateway = f"gw-{number}"
        batch = telemetry_pb2.ReadingBatch(
            devices=[f"wl-{number + CONNECTIONS * index}" for index in range(PER_BATCH)],
            metrics=["water_level_m"],
            device_index=range(PER_BATCH),
            metric_index=[0],
            value=[5 + index / 100 for index in range(PER_BATCH)],
        )
        messages = []
        for step in range(start, start + per_connection):
            batch.base_time_ms = _T0_MS + step * 1000
            messages.append((f"cf/v1/g/{gateway}/telemetry/batch", batch.SerializeToString()))
        senders.append(Sender(gateway, tokens[gateway], messages))
    return senders


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


def measure(
    port: int, senders: Sequence[Sender], readings: int, stored: Callable[[], int], pids: dict[str, int]
) -> dict[str, float]:
    """One round: rates from the first byte to the last committed row, and CPU of each process."""
    before_rows = stored()
    with Blaster(port, senders) as blaster:
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        began = blaster.start()
        deadline = began + 300
        result = blaster.wait(300)
        while stored() - before_rows < readings:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{stored() - before_rows} of {readings} readings stored")
            time.sleep(0.02)
        elapsed = time.perf_counter() - began
        used = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    figures = {
        "readings_per_s": readings / elapsed,
        "messages_per_s": result.messages / elapsed,
        "acked_messages_per_s": result.messages / result.acked_s,
        "generator_cpu_us_per_message": result.generator_cpu_s / result.messages * 1e6,
    }
    for name, seconds in used.items():
        figures[f"{name}_cpu_us_per_message"] = seconds / result.messages * 1e6
        figures[f"{name}_cpu_us_per_reading"] = seconds / readings * 1e6
    return figures


def median(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}


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


def run(rounds: int = 3) -> dict[str, Any]:
    """Measure packed and single readings, ours and the baseline's, `rounds` times each."""
    report: dict[str, Any] = {"connections": CONNECTIONS, "rounds": rounds}
    with tempfile.TemporaryDirectory() as folder, running_platform(Path(folder)) as platform:
        tokens = provision(platform)
        ours = {"ingest": platform.pid("ingest"), "store": platform.pid("store")}
        ledger = 'cityfleet_ingest_ledger_readings_total{entry="stored"}'

        def stored() -> int:
            return int(platform.metric("ingest", ledger))

        time.sleep(2)  # the device index
        for name, make, count, per in (("packed", packed, 400, PER_BATCH), ("single", single, 8000, 1)):
            results = []
            for number in range(rounds):
                senders = make(tokens, count, number * count)
                results.append(measure(platform.mqtt_port, senders, CONNECTIONS * count * per, stored, ours))
            report[name] = {"median": median(results), "rounds": results}
        with baseline(platform, Path(folder)) as (port, pids):

            def inserted() -> int:
                return int(platform.query("SELECT count() FROM cityfleet.bench_baseline", "admin")[0][0])

            for name, make, count, per in (("packed", packed, 4, PER_BATCH), ("single", single, 400, 1)):
                results = []
                for number in range(rounds):
                    senders = make(tokens, count, number * count)
                    results.append(measure(port, senders, CONNECTIONS * count * per, inserted, pids))
                report[f"baseline_{name}"] = {"median": median(results), "rounds": results}
    for name in ("packed", "single"):
        ratio = report[name]["median"]["readings_per_s"] / report[f"baseline_{name}"]["median"]["readings_per_s"]
        report[f"{name}_ratio"] = round(ratio, 1)
    return report


def show(report: dict[str, Any]) -> None:
    """The medians as a table."""
    columns = ("readings/s", "messages/s", "acked messages/s", "CPU us/message", "CPU us/reading", "of it the store")
    table = Table("scenario", *columns, "spread of readings/s", box=None, pad_edge=False, header_style="bold")
    for name in ("packed", "baseline_packed", "single", "baseline_single"):
        one = report[name]["median"]
        rates = [each["readings_per_s"] for each in report[name]["rounds"]]
        used = [key for key in one if key.endswith("_cpu_us_per_reading")]
        table.add_row(
            name,
            f"{one['readings_per_s']:,.0f}",
            f"{one['messages_per_s']:,.0f}",
            f"{one['acked_messages_per_s']:,.0f}",
            f"{sum(one[key.replace('reading', 'message')] for key in used):.2f}",
            f"{sum(one[key] for key in used):.2f}",
            f"{one['store_cpu_us_per_reading']:.2f}",
            f"{min(rates):,.0f} to {max(rates):,.0f}",
        )
    Console(width=150).print(table)
    print(f"ratio to the baseline: packed {report['packed_ratio']}, single {report['single_ratio']}")


def main() -> None:
    report = run()
    show(report)
    print(json.dumps({"bench": "main_job", **report}))


if __name__ == "__main__":
    main()
