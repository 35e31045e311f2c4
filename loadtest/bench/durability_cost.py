"""What the guarantee costs: each scenario with `durability = "fsync"` and with `"memory"`, in turn, in one run.

`python -m loadtest.bench.durability_cost packed_64 --duration 15 --rounds 3`. The figure is the rate with the spool on
disk, fsync before each acknowledgement and insert tokens, as a part of the rate without them. Both platforms run all
the time, one of them has traffic, and a round waits until neither merges, so that the machine is the same for both.
"""

import argparse
import resource
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from loadtest.bench import endtoend, traffic
from loadtest.bench.main_job import CONNECTIONS, PER_BATCH, provision
from loadtest.bench.result import figure, say
from loadtest.platform import Platform, running_platform

# Without a disk the spool's bound is memory: enough of it, so that nothing but the work itself holds that side back.
MODES = {
    "memory": "ingest.spool.max_bytes_memory = 4000000000\ningest.max_in_flight_bytes = 6000000000\n",
    "fsync": "",
}
_MERGES = "SELECT count() FROM system.merges"


class Side:
    """One platform, its tokens, and the rounds it had."""

    def __init__(self, mode: str, platform: Platform, scenario: endtoend.Scenario) -> None:
        self.mode = mode
        self.platform = platform
        self._scenario = scenario
        self._templates = scenario.make(provision(platform, max(CONNECTIONS * PER_BATCH, scenario.connections)))
        self._pids = {role: platform.pid(role) for role in ("ingest", "store")}
        self._base_ms = traffic.BASE_MS
        self.rounds: list[dict[str, Any]] = []

    def measure(self, duration_s: float) -> None:
        """One round, whose readings must all be stored."""
        self.rounds.append(
            endtoend.measure(
                self.platform.mqtt_port,
                self._scenario,
                self._templates,
                duration_s,
                lambda: int(self.platform.metric("ingest", endtoend.STORED)),
                self._pids,
                self._base_ms,
            )
        )
        self._base_ms += 400_000_000  # more than a round has messages
        endtoend.check_rows(self.platform, sum(one["readings"] for one in self.rounds))

    def median(self, key: str) -> float:
        return statistics.median(float(one[key]) for one in self.rounds)

    def cpu_us(self) -> float:
        """Of a reading, ingest and engine together."""
        return statistics.median(
            float(one["cpu_us_per_reading"]["ingest"] + one["cpu_us_per_reading"]["store"]) for one in self.rounds
        )

    def wait_idle(self) -> None:
        """Until the engine merges nothing, or for a minute."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.platform.query(_MERGES, "admin") != [["0"]]:
            time.sleep(0.2)


def run(name: str, duration_s: float, rounds: int) -> dict[str, Any]:
    scenario = endtoend.SCENARIOS[name]
    with ExitStack() as stack:
        sides = []
        for mode, room in MODES.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            extra = endtoend.settings() + f'ingest.spool.durability = "{mode}"\n{room}'
            sides.append(Side(mode, stack.enter_context(running_platform(folder, extra)), scenario))
        for number in range(rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                for other in sides:
                    other.wait_idle()
                side.measure(duration_s)
    memory, fsync = sides
    pairs = zip(memory.rounds, fsync.rounds, strict=True)
    return figure(
        f"durability_{name}",
        [kept["readings_per_s"] / free["readings_per_s"] for free, kept in pairs],
        "of memory mode",
        None,
        readings_per_s={side.mode: side.median("readings_per_s") for side in sides},
        cpu_us_per_reading={side.mode: side.cpu_us() for side in sides},
        profile_us_per_reading={side.mode: side.rounds[-1]["profile_us_per_reading"] for side in sides},
        ack_latency_us={side.mode: side.rounds[-1]["ack_latency_us"] for side in sides},
        ledger="sent = stored",
    )


def show(line: dict[str, Any]) -> None:
    print(f"{line['id']}: {line['value']:.3f} of what memory mode reaches")
    for mode in MODES:
        latency = line["ack_latency_us"][mode]
        print(
            f"  {mode:8}{line['readings_per_s'][mode]:14,.0f} readings/s{line['cpu_us_per_reading'][mode]:8.3f} CPU-us"
            f" a reading, PUBACK p50 {latency.get('p50', 0) / 1000:.1f} ms, p99 {latency.get('p99', 0) / 1000:.1f} ms"
        )
        for name, used in line["profile_us_per_reading"][mode].items():
            print(f"    {name:26}{used:8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=sorted(endtoend.SCENARIOS))
    parser.add_argument("--duration", type=float, default=10.0, help="seconds of sending in a round")
    parser.add_argument("--rounds", type=int, default=3, help="of each mode")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    line = run(options.scenario, options.duration, options.rounds)
    show(line)
    say(line)


if __name__ == "__main__":
    main()
