"""500 readings a message over gRPC, device to committed row, beside a plain grpc.aio servicer with protobuf objects.

`python -m loadtest.bench.grpc_stream` prints a table and one line of JSON. Generator and engine share the machine.
CPU is user and system time of each process.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cityfleet.telemetry.v1 import telemetry_pb2
from loadtest.bench.grpc_blast import GrpcBlaster, GrpcSender
from loadtest.bench.main_job import CONNECTIONS, PER_BATCH, provision
from loadtest.bench.processes import cpu_s, family
from loadtest.bench.result import figure, say
from loadtest.platform import Platform, running_platform
from runtime.secrets import secret

STREAMS = 8
SAMPLES = 5
READINGS = PER_BATCH * SAMPLES
_T0_MS = 1_700_000_000_000
_DEADLINE_S = 120.0
_POLL_S = 0.05  # asking ingest has its costs


def senders(tokens: dict[str, str], per_stream: int, start: int) -> list[GrpcSender]:
    """Gateways, each request a ReadingBatch of five samples of each of 100 gauges."""
    found = []
    for number in range(STREAMS):
        gateway = f"gw-{number}"
        batch = telemetry_pb2.ReadingBatch(
            devices=[f"wl-{number + CONNECTIONS * index}" for index in range(PER_BATCH)],
            metrics=["water_level_m"],
            device_index=[index for _ in range(SAMPLES) for index in range(PER_BATCH)],
            metric_index=[0],
            time_delta_ms=[1000 if index == 0 else 0 for _ in range(SAMPLES) for index in range(PER_BATCH)],
            value=[5 + index / 100 for _ in range(SAMPLES) for index in range(PER_BATCH)],
        )
        requests = []
        for step in range(per_stream):
            batch.base_time_ms = _T0_MS + (start + step) * 1000 * SAMPLES
            request = telemetry_pb2.PublishRequest(sequence=step + 1, batch=batch)
            requests.append(request.SerializeToString())
        found.append(GrpcSender(gateway, tokens.get(gateway, "-"), requests))
    return found


def _used_s(pid: int) -> float:
    """CPU of a process and its children so far."""
    return sum(cpu_s(one) for one in family(pid))


def blast(port: int, load: list[GrpcSender], pids: dict[str, int], stored: Callable[[], int]) -> dict[str, float]:
    """One round: from the first byte to the last committed row, and the CPU of each process meanwhile."""
    messages = sum(len(sender.requests) for sender in load)
    wanted = stored() + messages * READINGS
    with GrpcBlaster(port, load) as blaster:
        before = {name: _used_s(pid) for name, pid in pids.items()}
        began = blaster.start()
        result = blaster.wait(_DEADLINE_S)
        while stored() < wanted:
            if time.perf_counter() - began > _DEADLINE_S:
                raise TimeoutError(f"not all readings were stored in {_DEADLINE_S:g} s")
            time.sleep(_POLL_S)
        elapsed = time.perf_counter() - began
        used = {name: _used_s(pid) - before[name] for name, pid in pids.items()}
    used["generator"] = result.generator_cpu_s
    figures = {
        "readings_per_s": messages * READINGS / elapsed,
        "messages_per_s": messages / elapsed,
        "acked_messages_per_s": messages / result.acked_s,
    }
    for name, seconds in used.items():
        figures[f"{name}_cpu_us_per_message"] = seconds / messages * 1e6
        figures[f"{name}_cpu_us_per_reading"] = seconds / messages / READINGS * 1e6
    return figures


def ours(platform: Platform, tokens: dict[str, str], count: int, rounds: int) -> list[dict[str, float]]:
    pids = {"server": platform.pid("ingest"), "store": platform.pid("store")}
    port = int(platform.grpc.rpartition(":")[2])

    def stored() -> int:
        return int(platform.metric("ingest", 'cityfleet_ingest_ledger_readings_total{entry="stored"}'))

    deadline = time.monotonic() + 30
    while platform.metric("ingest", "cityfleet_ingest_index_devices") < len(tokens):
        if time.monotonic() > deadline:
            raise TimeoutError("ingest does not know the devices")
        time.sleep(0.05)
    results = [blast(port, senders(tokens, count, number * count), pids, stored) for number in range(rounds)]
    distinct = int(platform.query("SELECT count() FROM ioc.readings", "admin")[0][0])
    if distinct != rounds * count * STREAMS * READINGS:
        raise RuntimeError(f"{distinct} readings stored of {rounds * count * STREAMS * READINGS}")
    return results


def baseline(platform: Platform, count: int, rounds: int) -> list[dict[str, float]]:
    host, _, store_port = platform.store_url.removeprefix("http://").partition(":")
    server = subprocess.Popen(
        [sys.executable, "-m", "loadtest.bench.grpc_baseline", host, store_port],
        env={**platform.environment, "BENCH_ADMIN_KEY": secret(platform.data_dir, "store-admin")},
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())

        def inserted() -> int:
            return int(platform.query("SELECT count() FROM cityfleet.bench_baseline", "admin")[0][0])

        pids = {"server": server.pid, "store": platform.pid("store")}
        return [blast(port, senders({}, count, number * count), pids, inserted) for number in range(rounds)]
    finally:
        server.terminate()
        server.wait(20)


def run(rounds: int = 3, count: int = 2000, baseline_count: int = 25) -> dict[str, Any]:
    """Both servers on the same machine, one after the other.

    Args:
        count: requests on each of the 8 streams in one round.
        baseline_count: the same for the baseline, which is slower.
    Returns: of `ours` and `baseline` the rounds and their median; `ratio` of the readings a second.
    """
    report: dict[str, Any] = {"streams": STREAMS, "readings": READINGS, "rounds": rounds}
    with tempfile.TemporaryDirectory() as folder, running_platform(Path(folder)) as platform:
        tokens = provision(platform)
        for name, results in (
            ("ours", ours(platform, tokens, count, rounds)),
            ("baseline", baseline(platform, baseline_count, rounds)),
        ):
            median = {key: statistics.median(each[key] for each in results) for key in results[0]}
            report[name] = {"median": median, "rounds": results}
    report["ratio"] = report["ours"]["median"]["readings_per_s"] / report["baseline"]["median"]["readings_per_s"]
    return report


def show(report: dict[str, Any]) -> None:
    table = Table(
        "server", "readings/s", "messages/s", "server CPU us/message", "us/reading", "store", "generator",
        "spread of readings/s", box=None, pad_edge=False, header_style="bold",
    )  # fmt: skip
    for name in ("ours", "baseline"):
        one, rates = report[name]["median"], [each["readings_per_s"] for each in report[name]["rounds"]]
        table.add_row(
            name,
            f"{one['readings_per_s']:,.0f}",
            f"{one['messages_per_s']:,.0f}",
            f"{one['server_cpu_us_per_message']:.1f}",
            *(f"{one[f'{who}_cpu_us_per_reading']:.3f}" for who in ("server", "store", "generator")),
            f"{min(rates):,.0f} to {max(rates):,.0f}",
        )
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=2000, help="requests on each of 8 streams")
    arguments = parser.parse_args()
    report = run(arguments.rounds, arguments.count, max(1, arguments.count // 80))
    show(report)
    median = report["ours"]["median"]
    say(
        figure(
            "grpc_500",
            [each["readings_per_s"] for each in report["ours"]["rounds"]],
            "readings/s",
            report["baseline"]["median"]["readings_per_s"],
            **{name: value for name, value in median.items() if name != "readings_per_s"},
        )
    )


if __name__ == "__main__":
    main()
