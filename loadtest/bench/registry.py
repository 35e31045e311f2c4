"""The registry of a city, on SQLite and on PostgreSQL: import, get, list, count, the snapshot to ingest, memory.

`python -m loadtest.bench.registry [--devices N] [--database sqlite|postgresql]`. Of two databases a figure is the worse
one; `by_database` has both. Environment: DEVICES, in place of --devices.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from loadtest.bench import registry_queries as queries
from loadtest.bench.registry_city import import_devices, put_sites, put_types
from loadtest.bench.registry_long import list_all, read_endless, watch_all
from loadtest.bench.registry_stage import DATABASES, RegistryStage, running_stage
from loadtest.bench.registry_states import put_states
from loadtest.bench.registry_watch import Node
from loadtest.bench.result import say
from loadtest.fill.stage import end_in_order
from loadtest.fleet.registered import RegisteredCity

DEVICES = 1_000_000
_GETS = 3_000
# Of questions, three pages each: a hundred are needed for a 99th percentile.
_ROUNDS = 35
# After a million devices and their states PostgreSQL cleans up for a while, once told to and once by itself.
_CALM_S = 90.0
_COUNTS = 10
_CHANGES = 50
_ENDLESS_S = 20.0
_UNITS = {
    "registry_import_per_s": ("devices/s", False),
    "registry_get_p99_ms": ("ms", True),
    "registry_list_p99_ms": ("ms", True),
    "registry_count_by_ward_ms": ("ms", True),
    "registry_snapshot_s": ("s", True),
    "registry_change_visible_s": ("s", True),
    "registry_rss_mb": ("MB", True),
}
Measured = dict[str, Any]


def measure(database: str, city: RegisteredCity, file: Path, folder: Path) -> Measured:
    """All figures of one database, and under `detail` what they are made of."""
    with running_stage(database, folder) as stage:
        with asyncio.Runner() as runner:  # one loop: gRPC's threads live on after a loop and miss it
            runner.run(put_types(stage))
            sites_per_s = runner.run(put_sites(stage, city))
            imported = import_devices(stage, file, city.devices)
            found = runner.run(_ask(stage, city))
            listed = list_all(stage, city, folder)
            watched = runner.run(watch_all(stage, city, _CHANGES))
            endless = read_endless(stage, _ENDLESS_S)
        found["registry_import_per_s"] = imported["per_s"]
        found["registry_rss_mb"] = stage.rss_bytes(peak=True) / 1e6
        found["detail"] |= {"import": imported, "sites_per_s": sites_per_s, "rss_now_mb": stage.rss_bytes() / 1e6}
        found["detail"] |= {"list_all": listed, "watch_all": watched, "read_endless": endless}
        return found


async def _ask(stage: RegistryStage, city: RegisteredCity) -> Measured:
    reports_per_s = await put_states(stage, city.devices)
    await asyncio.sleep(_CALM_S)
    gets = await queries.time_gets(stage, city, _GETS)
    pages = await queries.time_pages(stage, city, _ROUNDS)
    by_question = {name: queries.p99(seconds) * 1e3 for name, seconds in pages.seconds.items()}
    counts = await queries.time_counts(stage, "ward_code", _COUNTS)
    async with Node(stage) as node:
        if len(node) != city.devices:
            raise RuntimeError(f"the index has {len(node)} of {city.devices} devices")
        changes = [await node.time_change(city, number) for number in range(_CHANGES)]
    return {
        "registry_get_p99_ms": queries.p99(gets.seconds) * 1e3,
        # The slowest kind of question: any list is to be fast.
        "registry_list_p99_ms": max(by_question.values()),
        "registry_count_by_ward_ms": statistics.median(counts) * 1e3,
        "registry_snapshot_s": node.snapshot_s,
        "registry_change_visible_s": queries.p99(changes),
        "detail": {
            "get_median_ms": statistics.median(gets.seconds) * 1e3,
            "get_cpu_us": gets.cpu_s / len(gets.seconds) * 1e6,
            "empty_call_ms": {"median": statistics.median(gets.empty) * 1e3, "p99": queries.p99(gets.empty) * 1e3},
            "list_cpu_ms": _falling({name: used_s * 1e3 for name, used_s in pages.cpu_s.items()}),
            "list_p99_ms": _falling(by_question),
            "count_max_ms": max(counts) * 1e3,
            "change_median_s": statistics.median(changes),
            "reports_per_s": reports_per_s,
        },
    }


def _falling(values: dict[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: -item[1]))


def lines(found: dict[str, Measured], devices: int) -> list[Measured]:
    """Lines of build/bench.json. Args: found: what `measure` gave, by database."""
    made = []
    for id_, (unit, less_is_better) in _UNITS.items():
        values = {database: measured[id_] for database, measured in found.items()}
        worst = (max if less_is_better else min)(values, key=lambda database: values[database])
        value = values[worst]
        # What a call costs that asks nothing, on the same machine in the same minute.
        baseline = found[worst]["detail"]["empty_call_ms"]["p99"] if id_ == "registry_get_p99_ms" else None
        made.append(
            {
                "id": id_,
                "value": value,
                "unit": unit,
                "baseline": baseline,
                "ratio": baseline / value if baseline else None,
                "runs": list(values.values()),
                "spread": (max(values.values()) - min(values.values())) / value if value else 0.0,
                "devices": devices,
                "by_database": values,
            }
        )
    made[0]["detail"] = {database: measured["detail"] for database, measured in found.items()}
    return made


def _show(found: dict[str, Measured]) -> None:
    for database, measured in found.items():
        print(f"-- {database}")
        for id_, (unit, _) in _UNITS.items():
            print(f"{id_:28}{measured[id_]:>12,.3f} {unit}")
        for name, title in (("list_p99_ms", "slowest lists, ms:"), ("list_cpu_ms", "dearest, CPU-ms of the registry:")):
            print(title, ", ".join(f"{name} {ms:.1f}" for name, ms in list(measured["detail"][name].items())[:8]))
        detail = measured["detail"]
        print(f"CPU of the registry for a get: {detail['get_cpu_us']:,.0f} us")
        print("empty call, ms:", ", ".join(f"{name} {ms:.2f}" for name, ms in detail["empty_call_ms"].items()))
        for name in ("import", "list_all", "watch_all", "read_endless"):
            print(f"{name}:", ", ".join(f"{key} {value:,.3g}" for key, value in measured["detail"][name].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=int(os.environ.get("DEVICES") or DEVICES))
    parser.add_argument("--database", choices=DATABASES, action="append", help="default: each of them")
    options = parser.parse_args()
    end_in_order()
    city = RegisteredCity(options.devices)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "city.csv"
        city.write_csv(file)
        for database in options.database or DATABASES:
            found[database] = measure(database, city, file, Path(folder) / database)
    _show(found)
    for line in lines(found, options.devices):
        say(line)


if __name__ == "__main__":
    main()
