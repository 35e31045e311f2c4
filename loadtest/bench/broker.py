"""Messages of one reading through mosquitto: our consumer, what mosquitto delivers at all, and the aiomqtt baseline.

`python -m loadtest.bench.broker` prints a table and one line of JSON. The same generator publishes at QoS 1 to the same
kind of mosquitto each time; only who is subscribed differs. CPU is user and system time of the consuming process.
"""

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cityfleet.telemetry.v1 import telemetry_pb2
from loadtest.bench.blast import Blaster, Sender
from loadtest.bench.main_job import CONNECTIONS, provision, single
from loadtest.bench.processes import cpu_s, family
from loadtest.bench.result import figure, say
from loadtest.platform import Platform, free_ports, running_platform
from runtime.secrets import secret

# The broker asks for no password.
_NO_TOKEN = "-"  # noqa: S105
_READY = b"ready\n"
_DEADLINE_S = 120.0
# Asking how far ingest is costs it more than a thousand messages.
_POLL_S = 0.05


def batch_single(tokens: dict[str, str], per_connection: int, start: int) -> list[Sender]:
    """Gauges, each message a ReadingBatch of one reading."""
    senders = []
    for number in range(CONNECTIONS):
        device = f"wl-{number}"
        messages = [
            (
                f"cf/v1/d/{device}/telemetry/batch",
                telemetry_pb2.ReadingBatch(
                    base_time_ms=1_600_000_000_000 + step * 1000, metrics=["water_level_m"], value=[step % 1000 / 100]
                ).SerializeToString(),
            )
            for step in range(start, start + per_connection)
        ]
        senders.append(Sender(device, tokens[device], messages))
    return senders


@contextmanager
def mosquitto(folder: Path) -> Iterator[tuple[int, int]]:
    """A broker set as docs/broker.md says; gives its port and its process."""
    (port,) = free_ports(1)
    folder.mkdir(exist_ok=True)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 10000000\n"
        "persistence false\nlog_dest none\nset_tcp_nodelay true\n"
    )
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(20)


def _used_s(pid: int) -> float:
    """CPU of a process and its children so far."""
    return sum(cpu_s(one) for one in family(pid))


def blast(port: int, senders: Sequence[Sender], pids: dict[str, int], done: Callable[[], bool]) -> dict[str, float]:
    """One round: from the first byte of the generator until `done`, and the CPU of each process meanwhile."""
    messages = sum(len(sender.messages) for sender in senders)
    with Blaster(port, senders) as blaster:
        before = {name: _used_s(pid) for name, pid in pids.items()}
        began = blaster.start()
        blaster.wait(_DEADLINE_S)
        while not done():
            if time.perf_counter() - began > _DEADLINE_S:
                raise TimeoutError(f"{messages} messages were not through in {_DEADLINE_S:g} s")
            time.sleep(_POLL_S)
        elapsed = time.perf_counter() - began
        used = {name: _used_s(pid) - before[name] for name, pid in pids.items()}
    return {
        "messages_per_s": messages / elapsed,
        **{f"{name}_cpu_us_per_message": seconds / messages * 1e6 for name, seconds in used.items()},
    }


def ours(folder: Path, make: Callable[[dict[str, str], int, int], list[Sender]], count: int, rounds: int) -> list[Any]:
    """Rounds through the whole platform; a round is over when all its readings are committed, once."""
    results = []
    with mosquitto(folder) as (port, broker_pid):
        extra = f'ingest.broker.host = "127.0.0.1"\ningest.broker.port = {port}\n'
        with running_platform(folder, extra) as platform:
            tokens = provision(platform)
            pids = {"consumer": platform.pid("ingest"), "broker": broker_pid, "store": platform.pid("store")}
            _wait_subscribed(platform)

            def stored() -> int:
                return int(platform.metric("ingest", 'cityfleet_ingest_ledger_readings_total{entry="stored"}'))

            for number in range(rounds):
                senders = make(tokens, count, number * count)
                wanted = stored() + count * CONNECTIONS
                results.append(blast(port, senders, pids, lambda wanted=wanted: stored() >= wanted))  # type: ignore[misc]
            distinct = int(platform.query("SELECT count() FROM ioc.readings", "admin")[0][0])
            if distinct != rounds * count * CONNECTIONS:
                raise RuntimeError(f"{distinct} readings stored of {rounds * count * CONNECTIONS}")
    return results


def _wait_subscribed(platform: Platform) -> None:
    deadline = time.monotonic() + 30
    while platform.metric("ingest", 'cityfleet_ingest_broker_open{connection="1"}') != 1:
        if time.monotonic() > deadline:
            raise TimeoutError("ingest did not subscribe")
        time.sleep(0.05)
    while platform.metric("ingest", "cityfleet_ingest_index_devices") < CONNECTIONS:
        time.sleep(0.05)


def limit(folder: Path, make: Callable[[dict[str, str], int, int], list[Sender]], count: int, rounds: int) -> list[Any]:
    """What mosquitto delivers to mosquitto_sub, which counts and throws away: nobody gets more out of this broker."""
    tokens = {f"wl-{number}": _NO_TOKEN for number in range(CONNECTIONS)}
    results = []
    for number in range(rounds):
        with mosquitto(folder) as (port, broker_pid):
            command = ["mosquitto_sub", "-p", str(port), "-V", "5", "-q", "1", "-C", str(count * CONNECTIONS)]
            command += ["-t", "$share/limit/cf/v1/#", "-D", "connect", "receive-maximum", "65535", "-N"]
            reader = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            time.sleep(0.5)  # its subscription; it says nothing of it
            senders = make(tokens, count, number * count)
            pids = {"broker": broker_pid}
            results.append(blast(port, senders, pids, lambda reader=reader: reader.poll() is not None))  # type: ignore[misc]
    return results


def baseline(
    folder: Path, make: Callable[[dict[str, str], int, int], list[Sender]], count: int, rounds: int
) -> list[Any]:
    """aiomqtt, json or protobuf objects, and clickhouse-connect's ordinary insert into the same store."""
    results = []
    with mosquitto(folder) as (port, broker_pid), running_platform(folder) as platform:
        tokens = {f"wl-{number}": _NO_TOKEN for number in range(CONNECTIONS)}
        host, _, store_port = platform.store_url.removeprefix("http://").partition(":")
        consumer = subprocess.Popen(
            [sys.executable, "-m", "loadtest.bench.baseline", str(port), host, store_port],
            env={**platform.environment, "BENCH_ADMIN_KEY": secret(platform.data_dir, "store-admin")},
            stdout=subprocess.PIPE,
        )
        try:
            assert consumer.stdout is not None
            if consumer.stdout.readline() != _READY:
                raise RuntimeError("the baseline's consumer did not start")
            pids = {"consumer": consumer.pid, "broker": broker_pid, "store": platform.pid("store")}

            def inserted() -> int:
                return int(platform.query("SELECT count() FROM cityfleet.bench_baseline", "admin")[0][0])

            for number in range(rounds):
                senders = make(tokens, count, number * count)
                wanted = inserted() + count * CONNECTIONS
                results.append(blast(port, senders, pids, lambda wanted=wanted: inserted() >= wanted))  # type: ignore[misc]
        finally:
            consumer.terminate()
            consumer.wait(20)
    return results


def run(rounds: int = 3, count: int = 3000, baseline_count: int = 500) -> dict[str, Any]:
    """Both encodings, all three consumers.

    Args:
        count: messages on each of the 64 publishing connections in one round.
        baseline_count: the same for the baseline, which is slower.
    Returns: per encoding (`batch`, `senml_json`) and consumer (`ours`, `limit`, `baseline`) the rounds and their
        median; `cpu_us`, `limit_share`, `ratio` of each encoding are what the scenario is judged by.
    """
    report: dict[str, Any] = {"connections": CONNECTIONS, "rounds": rounds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for encoding, make in (("batch", batch_single), ("senml_json", single)):
            one: dict[str, Any] = {}
            for consumer, measure, per in (
                ("ours", ours, count),
                ("limit", limit, count),
                ("baseline", baseline, baseline_count),
            ):
                results = measure(folder / f"{encoding}-{consumer}", make, per, rounds)
                median = {key: statistics.median(each[key] for each in results) for key in results[0]}
                one[consumer] = {"median": median, "rounds": results}
            one["cpu_us"] = one["ours"]["median"]["consumer_cpu_us_per_message"]
            one["limit_share"] = one["ours"]["median"]["messages_per_s"] / one["limit"]["median"]["messages_per_s"]
            one["ratio"] = one["baseline"]["median"]["consumer_cpu_us_per_message"] / one["cpu_us"]
            report[encoding] = one
    return report


def show(report: dict[str, Any]) -> None:
    table = Table(
        "scenario", "messages/s", "consumer CPU us/message", "broker", "store", "spread of consumer CPU",
        box=None, pad_edge=False, header_style="bold",
    )  # fmt: skip
    for encoding in ("batch", "senml_json"):
        for consumer in ("ours", "limit", "baseline"):
            one = report[encoding][consumer]
            used = [one["median"].get(f"{who}_cpu_us_per_message", 0.0) for who in ("consumer", "broker", "store")]
            spread = [each.get("consumer_cpu_us_per_message", 0.0) for each in one["rounds"]]
            table.add_row(
                f"{encoding} {consumer}",
                f"{one['median']['messages_per_s']:,.0f}",
                *(f"{each:.2f}" for each in used),
                f"{min(spread):.2f} to {max(spread):.2f}",
            )
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=3000, help="messages on each of 64 connections")
    arguments = parser.parse_args()
    report = run(arguments.rounds, arguments.count, max(1, arguments.count // 6))
    show(report)
    # Of the encoding that costs more.
    one = max((report["batch"], report["senml_json"]), key=lambda each: float(each["cpu_us"]))
    say(
        figure(
            "broker_cpu_us",
            [each["consumer_cpu_us_per_message"] for each in one["ours"]["rounds"]],
            "CPU-us per message",
            one["baseline"]["median"]["consumer_cpu_us_per_message"],
            less_is_better=True,
            **{
                f"{encoding}_{name}": report[encoding][name]
                for encoding in ("batch", "senml_json")
                for name in ("cpu_us", "limit_share")
            },
            **{
                f"{encoding}_{consumer}_messages_per_s": report[encoding][consumer]["median"]["messages_per_s"]
                for encoding in ("batch", "senml_json")
                for consumer in ("ours", "limit", "baseline")
            },
        )
    )


if __name__ == "__main__":
    main()
