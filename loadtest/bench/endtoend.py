"""Device to committed row: packed and single readings, few and many connections, each beside the baseline.

`python -m loadtest.bench.endtoend packed_64 --duration 60`. Generator, engine and ingest share the machine; the figure
counts from the first byte to the last row committed, and only if as many rows are stored as readings were sent.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ext.loadgen.generator import TIME_DECIMAL, TIME_VARINT, Template
from loadtest.bench import traffic
from loadtest.bench.main_job import CONNECTIONS, PER_BATCH, baseline, provision
from loadtest.bench.processes import Meter
from loadtest.bench.result import figure, percentiles, say
from loadtest.bench.traffic import Load
from loadtest.platform import Platform, running_platform

STORED = 'cityfleet_ingest_ledger_readings_total{entry="stored"}'
_COMMIT_S = 120.0


class Scenario(NamedTuple):
    """`window`: messages of a connection in flight. `baseline_messages`: per connection, of the slow side."""

    make: Callable[[Mapping[str, str]], list[Template]]
    readings: int
    window: int
    duration_s: float
    baseline_messages: int
    connections: int = CONNECTIONS
    time_kind: int = TIME_VARINT
    unit: str = "messages/s"


SCENARIOS = {
    "packed_64": Scenario(
        lambda tokens: traffic.packed(tokens, CONNECTIONS, PER_BATCH), PER_BATCH, 64, 60.0, 4, unit="readings/s"
    ),
    "single_64_batch": Scenario(lambda tokens: traffic.single_batch(tokens, CONNECTIONS), 1, 8192, 20.0, 400),
    "single_64_senml_json": Scenario(
        lambda tokens: traffic.single_senml_json(tokens, CONNECTIONS), 1, 8192, 20.0, 400, time_kind=TIME_DECIMAL
    ),
    "thin_12000": Scenario(lambda tokens: traffic.single_batch(tokens, 12_000), 1, 1, 20.0, 2, 12_000),
}


def sources(connections: int) -> list[str]:
    """Addresses of the loopback interface, one for each 4,000 connections."""
    return [f"127.0.0.{2 + number}" for number in range(-(-connections // 4000))]


def settings() -> str:
    """Settings of the platform under load: devices are admitted as fast as they come, and may send as much as they can.

    A quota is looked at all the same: it is only too large to be reached.
    """
    return (
        "ingest.mqtt.max_connects_per_s = 100000\n"
        "ingest.quota.devices.messages_per_s = 1e9\n"
        "ingest.quota.devices.bytes_per_s = 1e12\n"
        "ingest.quota.gateways.messages_per_s = 1e9\n"
        "ingest.quota.gateways.bytes_per_s = 1e12\n"
    )


def measure(
    port: int,
    scenario: Scenario,
    templates: Sequence[Template],
    duration_s: float,
    stored: Callable[[], int],
    pids: Mapping[str, int],
    base_ms: int,
    max_per_link: int = 0,
) -> dict[str, Any]:
    """One round. Raises TimeoutError if not everything was acknowledged and stored, RuntimeError if more was."""
    before = stored()
    with Load(port, templates, scenario.time_kind, base_ms, traffic.STEP_MS, sources(len(templates))) as load:
        meter = Meter(pids)
        began = time.perf_counter()
        load.start(duration_s, scenario.window, max_per_link=max_per_link)
        while max_per_link and stored() - before < len(templates) * max_per_link * scenario.readings:
            if time.perf_counter() - began > duration_s:
                raise TimeoutError("the baseline is not through")
            time.sleep(0.02)
        done_s = time.perf_counter() - began
        sent = load.wait()
        readings = int(sent["sent"]) * scenario.readings
        while (found := stored() - before) < readings:
            if time.perf_counter() - began > duration_s + _COMMIT_S:
                raise TimeoutError(f"{found:,} of {readings:,} readings stored")
            time.sleep(0.01)
        elapsed_s = done_s if max_per_link else time.perf_counter() - began
        used = meter.used_s()
        total = {name: meter.total_s(name) for name in pids}
    if found != readings or sent["unacked"]:
        raise RuntimeError(f"sent {readings:,}, stored {found:,}, {sent['unacked']:.0f} messages without PUBACK")
    per_unit = 1e6 / readings
    return {
        "readings_per_s": readings / elapsed_s,
        "messages_per_s": sent["sent"] / elapsed_s,
        "readings": readings,
        "seconds": elapsed_s,
        "connect_s": load.connect_s,
        "cpu_us_per_reading": {name: used_s * per_unit for name, used_s in total.items()}
        | {"generator": sent["cpu_s"] * per_unit},
        "profile_us_per_reading": {name: used_s * per_unit for name, used_s in used.items()},
        "ack_latency_us": percentiles(sent["latencies_us"]),  # type: ignore[arg-type]
    }


def run(name: str, duration_s: float, rounds: int, with_baseline: bool) -> dict[str, Any]:
    """All rounds of one scenario, then the baseline's."""
    scenario = SCENARIOS[name]
    key = "readings_per_s" if scenario.unit == "readings/s" else "messages_per_s"
    found: list[dict[str, Any]] = []
    compared: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, running_platform(Path(folder), settings()) as platform:
        tokens = provision(platform, max(CONNECTIONS * PER_BATCH, scenario.connections))
        templates = scenario.make(tokens)
        pids = {"ingest": platform.pid("ingest"), "store": platform.pid("store")}
        base_ms = traffic.BASE_MS

        def stored() -> int:
            return int(platform.metric("ingest", STORED))

        for _ in range(rounds):
            found.append(measure(platform.mqtt_port, scenario, templates, duration_s, stored, pids, base_ms))
            base_ms += 400_000_000  # more than a round has messages
        check_rows(platform, sum(one["readings"] for one in found))
        parts = platform.query("SELECT count() FROM system.parts WHERE active AND table = 'readings'", "admin")
        if with_baseline:
            with baseline(platform, Path(folder)) as (port, broker_pids):

                def inserted() -> int:
                    return int(platform.query("SELECT count() FROM cityfleet.bench_baseline", "admin")[0][0])

                compared.append(
                    measure(port, scenario, templates, 60.0, inserted, broker_pids, base_ms, scenario.baseline_messages)
                )
    return figure(
        name,
        [one[key] for one in found],
        scenario.unit,
        compared[0][key] if compared else None,
        rounds=found,
        baseline_round=compared[0] if compared else None,
        active_parts_at_end=int(parts[0][0]),
        ledger="sent = stored",
    )


def check_rows(platform: Platform, readings: int) -> None:
    """The engine's own count, not only ours. Raises RuntimeError."""
    rows = int(platform.query("SELECT count() FROM cityfleet.readings", "admin")[0][0])
    if rows != readings:
        raise RuntimeError(f"{readings:,} readings were acknowledged, the table has {rows:,} rows")


def show(line: Mapping[str, Any]) -> None:
    """Where the time went, of the median round."""
    rounds = sorted(line["rounds"], key=lambda one: float(one["readings_per_s"]))
    one = rounds[len(rounds) // 2]
    print(f"{line['id']}: {line['value']:,.0f} {line['unit']}, {one['readings']:,} readings in {one['seconds']:.1f} s")
    for name, used in one["cpu_us_per_reading"].items():
        print(f"  {name:28}{used:8.3f} CPU-us a reading")
    for name, used in one["profile_us_per_reading"].items():
        print(f"    {name:26}{used:8.3f}")
    if one["ack_latency_us"]:
        print("  PUBACK after", ", ".join(f"{name} {us / 1000:.1f} ms" for name, us in one["ack_latency_us"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    parser.add_argument("--duration", type=float, help="seconds of sending in a round")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--no-baseline", action="store_true")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    scenario = SCENARIOS[options.scenario]
    rounds = options.rounds or (1 if scenario.duration_s >= 60 else 3)
    duration_s = options.duration or scenario.duration_s
    line = run(options.scenario, duration_s, rounds, with_baseline=not options.no_baseline)
    show(line)
    say(line)


if __name__ == "__main__":
    main()
