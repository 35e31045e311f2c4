"""CPU that rollups cost, by that of what ingest writes: `python -m loadtest.bench.rollups [--data FOLDER]`.

On a filled store the city's gateways send 200,000 readings a second over MQTT (--rate), which ingest takes and writes
as ever, until sums of at least five minutes of them have been made; that takes up to 17 minutes. Meanwhile the engine
keeps its own account (`store.embedded.log_days`): the CPU time of each statement, of the view at each insert, and of
each merge.

Written: inserts of `readings` and `latest` without the view, and their merges. Rollups: the view that notes what is
due, the looks for it, sums of ten minutes, and merges of all these. What follows from rollups (flags, alarms, tables of
now) is told beside. Sums of hours and days are not waited for: they read ten minutes, a row for 1,200 readings here.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from loadtest.bench.filled import add_folder_arguments, filled
from loadtest.bench.ioc_load import IngestLoad
from loadtest.bench.result import figure, say
from loadtest.fill.stage import Connection, end_in_order, running_store

_CONFIG = "store.embedded.log_days = 1"
_WINDOW_S = 600
_LEAST_S = 300.0
# Of a window that has ended: 45 s until it is closed, a look every 15 s, and what computing takes.
_COMPUTED_S = 300.0
_LOGGED_S = 12.0
_CPU_US = "sum(ProfileEvents['UserTimeMicroseconds'] + ProfileEvents['SystemTimeMicroseconds'])"
_SUMS = frozenset({"readings_10min", "readings_1h", "readings_1d"})
_LEDGER = frozenset({"rollup_changes", "rollup_done"})
_WRITTEN = frozenset({"readings", "latest"})


class Account:
    """What the engine's logs say of a time: CPU-us by what it was for."""

    def __init__(self, connection: Connection, begin_s: float, end_s: float) -> None:
        self._connection = connection
        self._during = (
            f"event_time_microseconds >= fromUnixTimestamp64Micro({begin_s * 1e6:.0f}) "
            f"AND event_time_microseconds < fromUnixTimestamp64Micro({end_s * 1e6:.0f})"
        )

    def _rows(self, sql: str) -> list[list[str]]:
        return [line.split("\t") for line in self._connection.ask(sql).splitlines()]

    def readings(self) -> int:
        """That were inserted."""
        found = self._connection.ask(
            f"SELECT sum(written_rows) FROM system.query_log WHERE {self._during} AND type = 'QueryFinish' "
            "AND startsWith(query, 'INSERT INTO cityfleet.readings\\n')"
        )
        return int(found)

    def inserts_us(self) -> float:
        """Of what ingest writes, with views."""
        rows = self._rows(
            f"SELECT extract(query, '^INSERT INTO cityfleet\\\\.(\\\\w+)') AS target, {_CPU_US} FROM system.query_log "
            f"WHERE {self._during} AND type = 'QueryFinish' AND log_comment != 'rollups\\t' GROUP BY target"
        )
        return sum(float(used) for target, used in rows if target in _WRITTEN)

    def view_us(self) -> float:
        found = self._connection.ask(
            f"SELECT {_CPU_US} FROM system.query_views_log WHERE {self._during} AND view_name = 'cityfleet.rollup_due'"
        )
        return float(found)

    def passes_us(self) -> dict[str, float]:
        """Of the store role's passes: `sums`, `looks`, and all else as `follows`."""
        rows = self._rows(
            f"SELECT extract(query, '^INSERT INTO cityfleet\\\\.(\\\\w+)') AS target, "
            f"match(query, 'rollup_changes|rollup_done') AS is_look, {_CPU_US} FROM system.query_log "
            f"WHERE {self._during} AND type = 'QueryFinish' AND log_comment = 'rollups\\t' GROUP BY target, is_look"
        )
        found = {"sums": 0.0, "looks": 0.0, "follows": 0.0}
        for target, is_look, used in rows:
            found["sums" if target in _SUMS else "looks" if is_look == "1" else "follows"] += float(used)
        return found

    def merges_us(self) -> dict[str, float]:
        """By table."""
        rows = self._rows(
            f"SELECT table, {_CPU_US} FROM system.part_log WHERE {self._during} AND event_type = 'MergeParts' "
            "AND database = 'cityfleet' GROUP BY table"
        )
        return {table: float(used) for table, used in rows}


def measure(folder: Path, devices: int, rate: float) -> dict[str, float]:
    """CPU-us a reading: `inserts`, `merges`; `view`, `looks`, `sums`, `merges_of_rollups`; and `follows`."""
    with running_store(folder, _CONFIG, with_ingest=True) as stage:
        load = IngestLoad(stage.deployment(), devices, rate)
        load.begin()
        begin_s = time.time()
        end_of_sums_s = -(-(begin_s + _LEAST_S) // _WINDOW_S) * _WINDOW_S
        connection = stage.connect()
        time.sleep(end_of_sums_s - begin_s)
        _wait_for_sums(connection, int(end_of_sums_s) - _WINDOW_S)
        end_s = time.time()
        load.stop()
        time.sleep(_LOGGED_S)
        account = Account(connection, begin_s, end_s)
        readings, summed = account.readings(), Account(connection, begin_s, end_of_sums_s).readings()
        view_us, passes_us, merges_us = account.view_us(), account.passes_us(), account.merges_us()
        inserts_us = account.inserts_us() - view_us
        connection.close()
    found = {
        "inserts": inserts_us / readings,
        "merges": sum(used for table, used in merges_us.items() if table in _WRITTEN) / readings,
        "view": view_us / readings,
        "looks": passes_us["looks"] / readings,
        "sums": passes_us["sums"] / summed,
        "merges_of_rollups": sum(used for table, used in merges_us.items() if table in _SUMS | _LEDGER) / readings,
        "follows": passes_us["follows"] / readings,
    }
    print(f"{readings:,} readings in {end_s - begin_s:.0f} s, {summed:,} of them summed", file=sys.stderr)
    return found


def _wait_for_sums(connection: Connection, bucket: int) -> None:
    """Raises: TimeoutError if the ten minutes that begin then are not computed in time."""
    deadline = time.monotonic() + _COMPUTED_S
    left = (
        "SELECT count() FROM cityfleet.rollup_changes WHERE source = 'readings' "
        f"AND bucket = fromUnixTimestamp({bucket}) AND block NOT IN (SELECT block FROM cityfleet.rollup_done "
        f"WHERE step = 'readings_10min' AND bucket = fromUnixTimestamp({bucket}))"
    )
    while connection.ask(left).strip() != "0":
        if time.monotonic() > deadline:
            raise TimeoutError(f"ten minutes were not computed {_COMPUTED_S:.0f} s after their end")
        time.sleep(2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200_000.0, help="readings a second")
    add_folder_arguments(parser)
    options = parser.parse_args()
    if options.rate <= 0:
        parser.error("--rate: more than 0")
    end_in_order()
    with filled(parser, options) as (folder, plan):
        found = measure(folder, plan.devices, options.rate)
    written = found["inserts"] + found["merges"]
    rollups = found["view"] + found["looks"] + found["sums"] + found["merges_of_rollups"]
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))
    print(f"CPU-us a reading: written {written:.3f}, rollups {rollups:.3f}, what follows {found['follows']:.3f}")
    say(
        figure(
            "ioc_rollup_cpu_ratio", [rollups / written], "", None, less_is_better=True,
            with_what_follows=(rollups + found["follows"]) / written,
            by_inserts_without_merges=rollups / found["inserts"], cpu_us=found,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
