"""CPU that rollups cost with nothing beside them, by that of the insert: `python -m loadtest.bench.rollups_alone`.

For work on them, in three minutes; where ingest runs (loadtest.bench.rollups) what the insert's merges take is more.
100,000 devices report every ten seconds (--every 60: once a minute); ten minutes at a time are inserted as ingest does
at 200,000 readings a second (--rows 50,000 in order at once), and after each the steps run as the store role runs them,
then the hour. The insert alone is measured first, on a table of the same without the view that notes what is due, and
with it that of the newest row of each series into `latest`, which ingest does with every segment.
Merges are stopped during inserts; before the steps run the engine merges parts as it chooses, until it rests. What a
merge costs a row is measured after, and counted as often as a row is merged under load
(docs/decisions/readings-layout.md), for readings and for rollups. A look that finds nothing is measured by itself, and
counted every 15 s of 200,000 readings/s.
"""

import argparse
import contextlib
import importlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.bench.layout import BLOCK_ROWS, FLEET, INSERTS, VARIANTS, fleet, native
from loadtest.bench.result import figure, say

# Parts of the same size that wait for a merge (`merge_selector_base`).
_WAITING = 10
# Times that a row is merged where such inserts come four or five a second, of `readings` and of `latest`.
_MERGES = 2.9
_MERGES_LATEST = 1.0
_HOUR_MS = 3_600_000
# A pass of the store role, and readings that come between two.
_READINGS_A_PASS = 15 * 200_000
_OWN = ("readings_10min", "readings_1h", "readings_1d")
_LAYOUT_BEGIN_MS = 1_700_000_000_000


class Bench:
    """One engine of the store, in this process: by name, since load tests know the store from outside only."""

    def __init__(self, folder: Path) -> None:
        self._engine = importlib.import_module("store.embedded.engine").Engine(folder, 2)
        migrate = importlib.import_module("store.migrate")
        migrate.apply(self._engine.ask, "single")
        self.ask = self._engine.ask
        self.now_ms = 0
        step = importlib.import_module("store.rollup.step")
        runner = importlib.import_module("store.rollup.runner").Runner
        self.runner: Any = runner(self._ask_at, [one for one in step.load() if one.name in _OWN])

    def _ask_at(self, sql: str, params: Any = None) -> str:
        """Time passes as the readings say."""
        if sql == "SELECT toUnixTimestamp64Milli(now64(3))":
            return str(self.now_ms)
        answer: str = self.ask(sql, params)
        return answer

    def insert(self, body: bytes, token: str, table: str = "readings") -> float:
        """CPU-s of it."""
        upload = importlib.import_module("store.embedded.engine").Upload(self._engine.uploads)
        for at in range(0, len(body), 1 << 20):
            upload.append([body[at : at + (1 << 20)]])
        session = self._engine.session()
        settings = {name: str(value) for name, value in INSERTS.items()} | {
            "insert_deduplication_token": token,
            "deduplicate_blocks_in_dependent_materialized_views": "1",
        }
        began = cpu_s()
        session.set(settings)
        session.insert(f"INSERT INTO cityfleet.{table}", upload, "FORMAT Native", {})
        used = cpu_s() - began
        session.close()
        upload.close()
        return used

    def merge_as_under_load(self) -> None:
        """As the engine chooses by itself, until it has rested: for long if it might have more to do."""
        self.ask("SYSTEM START MERGES")
        rested_s = 0.0
        # Of two months together there may be as many that each wait for more.
        while rested_s < (1.0 if self._parts() < _WAITING else 10.0):
            time.sleep(0.1)
            rested_s = rested_s + 0.1 if self._is_at_rest() else 0.0
        self.ask("SYSTEM STOP MERGES")

    def _parts(self) -> int:
        return int(self.ask("SELECT count() FROM system.parts WHERE active AND table = 'readings'"))

    def _is_at_rest(self) -> bool:
        return int(self.ask("SELECT count() FROM system.merges")) == 0

    def merge_us(self, table: str) -> float:
        """CPU-us that one merge costs a row; 0 if there is nothing to merge. Merges of other tables stay stopped."""
        began, merged = cpu_s(), self._merged_rows()
        self.ask(f"SYSTEM START MERGES cityfleet.{table}")
        self.ask(f"OPTIMIZE TABLE cityfleet.{table} FINAL")
        # The statement leaves out parts that are being merged already.
        while not self._is_at_rest():
            time.sleep(0.05)
        used, merged = cpu_s() - began, self._merged_rows() - merged
        self.ask(f"SYSTEM STOP MERGES cityfleet.{table}")
        return used / merged * 1e6 if merged else 0.0

    def _merged_rows(self) -> int:
        return int(self.ask("SELECT sum(value) FROM system.events WHERE event = 'MergedRows'"))

    def close(self) -> None:
        self._engine.close()


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(windows: int, every_s: int, rows: int) -> dict[str, float]:
    """CPU-us a reading: `insert`, `latest`, `noted` (the view), `computed` (the steps), `looked`, and of merging rows
    once: `merge`, `merge_latest`, `merge_rollups`.
    """
    blocks_each = 600 // every_s * FLEET // BLOCK_ROWS
    begin_ms = (int(time.time() * 1000) // _HOUR_MS + 1) * _HOUR_MS
    readings = windows * blocks_each * BLOCK_ROWS
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        bench = Bench(Path(folder))
        bench.ask("SYSTEM STOP MERGES")
        view = bench.ask("SELECT create_table_query FROM system.tables WHERE name = 'rollup_due' FORMAT TSVRaw")
        bench.ask("DROP VIEW cityfleet.rollup_due")
        alone = latest = 0.0
        for number in range(windows * blocks_each):
            for part, (body, newest) in enumerate(_bodies(number, begin_ms - 10 * _HOUR_MS, every_s, rows)):
                alone += bench.insert(body, f"{number} {part}")
                latest += bench.insert(newest, f"{number} {part}", "latest")
        bench.ask(view)
        beside = computed = 0.0
        bench.now_ms = begin_ms
        bench.runner.run()
        for window in range(windows):
            for number in range(window * blocks_each, (window + 1) * blocks_each):
                for part, (body, _) in enumerate(_bodies(number, begin_ms, every_s, rows)):
                    beside += bench.insert(body, f"{number} {part} beside")
            bench.merge_as_under_load()
            bench.now_ms = begin_ms + (window + 1) * 600_000 + 60_000
            # What is noted carries the real time, which is before that of the readings: all is looked at.
            bench.runner._looked_at_s = float("-inf")
            began = cpu_s()
            ran = bench.runner.run()
            used = cpu_s() - began
            computed += used
            print(f"{ran.windows} windows, {ran.cells} cells, {used:.2f} CPU-s", file=sys.stderr)
        # The hour, whole or not.
        bench.now_ms = begin_ms + _HOUR_MS + 60_000
        bench.runner._looked_at_s = float("-inf")
        began = cpu_s()
        bench.runner.run()
        computed += cpu_s() - began
        # Now, so that a look has changes to hold against what was done.
        bench.now_ms = int(time.time() * 1000)
        began = cpu_s()
        for _ in range(10):
            bench.runner.run()
        looked = (cpu_s() - began) / 10
        counts = {table: int(bench.ask(f"SELECT count() FROM cityfleet.{table}")) for table in _OWN}
        merge = bench.merge_us("readings")
        merge_latest = bench.merge_us("latest")
        merge_rollups = sum(bench.merge_us(table) * rows for table, rows in counts.items() if rows) / readings
        bench.close()
    return {
        "insert": alone / readings * 1e6,
        "latest": latest / readings * 1e6,
        "noted": (beside - alone) / readings * 1e6,
        "computed": computed / readings * 1e6,
        "looked": looked / _READINGS_A_PASS * 1e6,
        "merge": merge,
        "merge_latest": merge_latest,
        "merge_rollups": merge_rollups,
    }


def _bodies(number: int, begin_ms: int, every_s: int, rows: int) -> Iterator[tuple[bytes, bytes]]:
    """A block of the fleet's readings, in as many inserts as that takes, each with the newest row of each series."""
    columns = fleet(number)
    received_ms = columns["received_at"] - columns["ts"]
    # The fleet of the layout reports once a minute.
    columns["ts"] = (columns["ts"] - _LAYOUT_BEGIN_MS) * every_s // 60 + begin_ms
    columns["received_at"] = columns["ts"] + received_ms
    for at in range(0, BLOCK_ROWS, rows):
        some = {name: column[at : at + rows] for name, column in columns.items()}
        # Of a device there is one series, and its last row is its newest.
        last = len(some["ts"]) - 1 - np.unique(some["device_num"][::-1], return_index=True)[1]
        yield native(some, VARIANTS[0]), native({name: column[last] for name, column in some.items()}, VARIANTS[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--windows", type=int, default=2, help="of ten minutes; 6: the hour is charged to the whole of it"
    )
    parser.add_argument("--every", type=int, default=10, choices=(10, 60), help="seconds between readings of a device")
    parser.add_argument("--rows", type=int, default=50_000, help="of an insert")
    options = parser.parse_args()
    if not 1 <= options.rows <= BLOCK_ROWS:
        parser.error(f"--rows: from 1 to {BLOCK_ROWS:,}")
    os.environ["TZ"] = "UTC"
    found = measure(options.windows, options.every, options.rows)
    stored = found["insert"] + _MERGES * found["merge"] + found["latest"] + _MERGES_LATEST * found["merge_latest"]
    extra = found["noted"] + found["computed"] + found["looked"] + _MERGES * found["merge_rollups"]
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))
    readings = found["insert"] + _MERGES * found["merge"]
    print(f"CPU-us a reading: insert and merges {stored:.3f} ({readings:.3f} without `latest`), rollups {extra:.3f}")
    say(
        figure(
            "rollup_cpu_ratio_alone", [extra / stored], "", None, less_is_better=True, without_latest=extra / readings,
            cpu_us=found,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
