"""`make soak`: the platform at 70 % of what it can take, for long; what grows is found, and build/soak.json says what.

First the capacity is measured, with the merges that the readings leave behind: without them it would be a burst that
nobody can keep up. Then the load goes on by the clock, in rounds. Samples of the first fifth (caches fill, the engine's
first merges) are not judged. At the end the ledger must balance: every reading that was sent is stored, once.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from loadtest.bench import traffic
from loadtest.bench.endtoend import SCENARIOS, STORED, check_rows, settings, sources
from loadtest.bench.main_job import CONNECTIONS, PER_BATCH, provision
from loadtest.bench.result import percentiles
from loadtest.bench.traffic import Load
from loadtest.platform import Platform, running_platform
from loadtest.soak.sampler import SERIES, Sampler
from loadtest.soak.verdict import Verdict, judge

_PROBE_BASE_MS = traffic.BASE_MS - 100_000_000_000  # far from the times of the others
_PROBE_RATE = 50.0
_WARM_UP = 0.2
_DRAIN_S = 180.0
_MERGES = "SELECT count() FROM system.merges"
_REST_S = 3.0
# Less of the rate than this was not held: the machine had other work, or the capacity was none.
_HELD = 0.95


class Soak:
    """One platform, its load and its probe."""

    def __init__(self, platform: Platform, name: str, period_s: float) -> None:
        self._platform = platform
        self._scenario = SCENARIOS[name]
        self._period_s = period_s
        others = max(CONNECTIONS * PER_BATCH, self._scenario.connections)
        tokens = provision(platform, others + 1)
        templates = self._scenario.make(tokens)
        addresses = sources(len(templates))
        self._load = Load(platform.mqtt_port, templates, self._scenario.time_kind, sources=addresses)
        self._probe = Load(platform.mqtt_port, traffic.single_batch(tokens, 1, first=others), base_ms=_PROBE_BASE_MS)
        self._seen: Counter[float] = Counter()
        self.readings = 0
        self.late_s = 0.0
        self.held_rate = 0.0

    def __enter__(self) -> "Soak":
        self._load.__enter__()
        self._probe.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._probe.__exit__()
        self._load.__exit__()

    def measure_capacity(self, duration_s: float) -> float:
        """Messages a second, from the first byte to the last committed row and the end of the engine's merges."""
        began = time.perf_counter()
        self._load.start(duration_s, self._scenario.window)
        self._count(self._load.wait())
        self.drain()
        return self.readings / self._scenario.readings / (self._merged_at() - began)

    def hold(self, rate: float, duration_s: float, sampler: Sampler) -> None:
        """Send at `rate`, round after round. Raises: TimeoutError, ConnectionError, RuntimeError."""
        began = time.monotonic()
        end = began + duration_s
        messages = 0
        while (left_s := end - time.monotonic()) > 0.5:
            round_s = min(self._period_s, left_s)
            self._load.start(round_s, self._scenario.window, rate)
            self._probe.start(round_s, 1, _PROBE_RATE)
            probed, sent = self._probe.wait(), self._load.wait()
            self._count(sent)
            messages += int(sent["sent"])
            self.held_rate = messages / (time.monotonic() - began)
            self.readings += int(probed["sent"])
            self.late_s = max(self.late_s, sent["late_s"])
            for name, value in self._latencies_ms(probed).items():
                sampler.add(name, value)
            if sampler.problem:
                raise RuntimeError(sampler.problem)

    def drain(self) -> float:
        """Wait until all is stored; seconds. Raises TimeoutError."""
        began = time.monotonic()
        while (found := int(self._platform.metric("ingest", STORED))) < self.readings:
            if time.monotonic() - began > _DRAIN_S:
                raise TimeoutError(f"{found:,} of {self.readings:,} readings stored")
            time.sleep(0.05)
        return time.monotonic() - began

    def _merged_at(self) -> float:
        """Since when no merge has run for a while, by time.perf_counter(). Raises TimeoutError."""
        began = since = time.perf_counter()
        while (now := time.perf_counter()) - since < _REST_S:
            if now - began > _DRAIN_S:
                raise TimeoutError("the engine's merges do not come to rest")
            time.sleep(0.1)
            if self._platform.query(_MERGES, "admin")[0][0] != "0":
                since = time.perf_counter()
        return since

    def _count(self, sent: Mapping[str, float]) -> None:
        if sent["unacked"]:
            raise RuntimeError(f"{sent['unacked']:.0f} messages without PUBACK")
        self.readings += int(sent["sent"]) * self._scenario.readings

    def _latencies_ms(self, probed: Mapping[str, Any]) -> dict[str, float]:
        """Of this round; the generator counts from its beginning on."""
        counted: Counter[float] = Counter(probed["latencies_us"])
        found = percentiles(counted - self._seen)
        self._seen = counted
        return {f"puback_{name}": found[name] / 1000 for name in ("p50", "p99") if name in found}


def run(duration_s: float, load: str, share: float, period_s: float, capacity_s: float) -> dict[str, Any]:
    """Returns the report. Raises: TimeoutError, ConnectionError, RuntimeError if the load was not taken."""
    with tempfile.TemporaryDirectory() as folder, running_platform(Path(folder), settings()) as platform:
        with Soak(platform, load, period_s) as soak:
            capacity = soak.measure_capacity(capacity_s)
            print(
                f"capacity {capacity:,.0f} messages/s of {load}; {share:.0%} of it for {duration_s:,.0f} s", flush=True
            )
            sampler = Sampler(platform, min(2.0, period_s / 5))
            sampler.start()
            try:
                soak.hold(capacity * share, duration_s, sampler)
            finally:
                sampler.stop()
            drained_s = soak.drain()
            check_rows(platform, soak.readings)
            used = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        verdicts = [
            judge(name, SERIES[name][0], [one for one in samples if one[0] >= duration_s * _WARM_UP], SERIES[name][1])
            for name, samples in sampler.samples.items()
        ]
    return {
        "load": load,
        "duration_s": duration_s,
        "capacity_messages_per_s": capacity,
        "rate_messages_per_s": capacity * share,
        "held_messages_per_s": soak.held_rate,
        "generator_late_s": soak.late_s,
        "readings": soak.readings,
        "disk_bytes_per_reading": used / soak.readings,
        "drained_after_s": drained_s,
        "ledger": "sent = stored",
        "is_flat": all(verdict.is_flat for verdict in verdicts),
        "verdicts": [msgspec.to_builtins(verdict) for verdict in verdicts],
        "samples": sampler.samples,
    }


def show(report: Mapping[str, Any]) -> None:
    table = Table("what", "median", "largest", "growth", "allowed", "an hour", "unit", "", box=None, pad_edge=False)
    for verdict in (msgspec.convert(one, type=Verdict) for one in report["verdicts"]):
        numbers = (verdict.median, verdict.largest, verdict.growth, verdict.allowed, verdict.per_hour)
        cells = (f"{number:,.1f}" for number in numbers)
        table.add_row(verdict.name, *cells, verdict.unit, "flat" if verdict.is_flat else "GROWS")
    Console(width=120).print(table)
    held, rate = report["held_messages_per_s"], report["rate_messages_per_s"]
    print(
        f"{report['readings']:,} readings at {held:,.0f} of {rate:,.0f} messages/s, all stored, once "
        f"({report['drained_after_s']:.1f} s after the end); {report['disk_bytes_per_reading']:.2f} bytes of disk each"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--duration", type=float, default=1800.0, help="seconds")
    parser.add_argument("--load", choices=sorted(SCENARIOS), default="packed_64")
    parser.add_argument("--share", type=float, default=0.7, help="of the capacity")
    parser.add_argument("--capacity-seconds", type=float, default=240.0, help="of load, to measure the capacity")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    period_s = max(1.0, min(20.0, options.duration / 20))
    report = run(options.duration, options.load, options.share, period_s, options.capacity_seconds)
    path = Path("build/soak.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report))
    show(report)
    print(f"samples in {path}")
    if report["held_messages_per_s"] < _HELD * report["rate_messages_per_s"]:
        sys.exit("the load was not held")
    if not report["is_flat"]:
        sys.exit("something grows")


if __name__ == "__main__":
    main()
