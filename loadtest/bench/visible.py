"""Device to a row that a query sees, at half load: an open model, measured from the time at which a message was due.

A probe publishes by the clock, 50 messages a second, each with its due time as event time, while the others load the
platform. A reader asks for the newest of them over HTTP all the while: what it sees has become visible since it asked.
"""

import argparse
import http.client
import resource
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Any

from loadtest.bench import traffic
from loadtest.bench.endtoend import SCENARIOS, STORED, check_rows, settings
from loadtest.bench.main_job import CONNECTIONS, PER_BATCH, provision
from loadtest.bench.processes import Meter
from loadtest.bench.result import figure, percentiles, say
from loadtest.bench.traffic import Load
from loadtest.platform import Platform, running_platform
from runtime.secrets import secret

# Half of what the scenario must reach, in messages a second.
HALF = {"packed_64": 10_000.0, "single_64_batch": 200_000.0}
_STEP_MS = 20
_PROBE = "wl-6399"
_SETTLE_S = 2.0


class Poller(threading.Thread):
    """Asks for the newest reading of the probe, again and again, and notes for each message when it was first seen."""

    def __init__(self, platform: Platform, device_num: int) -> None:
        super().__init__(daemon=True)
        host, _, port = platform.store_url.removeprefix("http://").partition(":")
        self._store = http.client.HTTPConnection(host, int(port), timeout=30)
        self._headers = {
            "X-ClickHouse-User": "reader",
            "X-ClickHouse-Key": secret(platform.data_dir, "store-reader"),
        }
        self._path = "/?" + urllib.parse.urlencode({"default_format": "TabSeparated", "max_threads": "1"})
        newest = "SELECT toUnixTimestamp64Milli(max(ts)) FROM cityfleet.readings"
        self._sql = f"{newest} WHERE device_num = {device_num}"
        self._stopped = threading.Event()
        self.seen_s: dict[int, float] = {}  # newest event time in milliseconds: when it was seen
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            newest = 0
            while not self._stopped.is_set():
                found = self.ask()
                if found > newest:
                    newest = found
                    self.seen_s[newest] = time.time()
                self._stopped.wait(0.02)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self.failure = exc

    def ask(self) -> int:
        self._store.request("POST", self._path, self._sql.encode(), self._headers)
        return int(self._store.getresponse().read())

    def stop(self) -> None:
        self._stopped.set()
        self.join(40)

    def latencies_ms(self, base_ms: int, messages: int) -> Counter[float]:
        """Of the first `messages` of the probe, from the moment each was due."""
        found: Counter[float] = Counter()
        due_ms = base_ms
        for newest, seen_s in sorted(self.seen_s.items()):
            while due_ms <= newest and messages:
                found[round(seen_s * 1000 - due_ms)] += 1
                due_ms += _STEP_MS
                messages -= 1
        if messages:
            raise RuntimeError(f"{messages} messages of the probe were never seen")
        return found


def device_num(platform: Platform, device_id: str) -> int:
    """The store's number of a device, as soon as the registry has written it there. Raises TimeoutError."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = platform.query(f"SELECT device_num FROM ioc.devices WHERE device_id = '{device_id}'")  # noqa: S608
        if found:
            return int(found[0][0])
        time.sleep(0.1)
    raise TimeoutError(f"the store has not heard of {device_id}")


def run(name: str, rate: float, duration_s: float) -> dict[str, Any]:
    """One load and the probe. Returns the figure: p99 in seconds, and the other percentiles."""
    scenario = SCENARIOS[name]
    with tempfile.TemporaryDirectory() as folder, running_platform(Path(folder), settings()) as platform:
        tokens = provision(platform, CONNECTIONS * PER_BATCH)
        templates = scenario.make(tokens)
        (probe,) = traffic.single_batch({_PROBE: tokens[_PROBE]}, 1, first=int(_PROBE.removeprefix("wl-")))
        poller = Poller(platform, device_num(platform, _PROBE))
        pids = {"ingest": platform.pid("ingest"), "store": platform.pid("store")}
        before = int(platform.metric("ingest", STORED))
        with Load(platform.mqtt_port, templates, scenario.time_kind) as load:
            load.start(duration_s + _SETTLE_S, scenario.window, rate)
            time.sleep(_SETTLE_S)
            meter = Meter(pids)
            base_ms = time.time_ns() // 1_000_000 + 500
            with Load(platform.mqtt_port, [probe], base_ms=base_ms, step_ms=_STEP_MS) as device:
                poller.start()
                while time.time() * 1000 < base_ms:
                    time.sleep(0.0005)
                device.start(duration_s - 1.0, 65_535, 1000 / _STEP_MS)
                probed = device.wait()
            used = meter.used_s()
            sent = load.wait()
        readings = int(sent["sent"]) * scenario.readings + int(probed["sent"])
        deadline = time.monotonic() + 60
        while (stored := int(platform.metric("ingest", STORED)) - before) < readings:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{stored:,} of {readings:,} readings stored")
            time.sleep(0.01)
        time.sleep(0.2)
        poller.stop()
        if poller.failure is not None:
            raise poller.failure
        check_rows(platform, readings)
        found = percentiles(poller.latencies_ms(base_ms, int(probed["sent"])))
    return {
        "load": name,
        "rate_messages_per_s": rate,
        "rate_reached": sent["sent"] / sent["seconds"],
        "generator_late_s": max(sent["late_s"], probed["late_s"]),
        "latency_s": {key: ms / 1000 for key, ms in found.items()},
        "profile_cpu_s": used,
        "ledger": "sent = stored",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second; 0: half of what must be reached")
    parser.add_argument("--load", choices=sorted(HALF), action="append")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rounds = [run(name, options.rate or HALF[name], options.duration) for name in options.load or HALF]
    for one in rounds:
        latencies = ", ".join(f"{name} {s:.2f} s" for name, s in one["latency_s"].items())
        print(
            f"visible, {one['load']} at {one['rate_reached']:,.0f} messages/s: {latencies}; "
            f"the generator was late by {one['generator_late_s']:.3f} s at most"
        )
    worst = max(one["latency_s"]["p99"] for one in rounds)
    say(figure("visible_p99_s", [worst], "s", None, less_is_better=True, rounds=rounds))


if __name__ == "__main__":
    main()
