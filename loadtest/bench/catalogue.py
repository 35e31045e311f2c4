"""Every figure that `make bench` gives: what measures it, its group, what must be reached and what is aimed at."""

import importlib.util
from typing import NamedTuple


class Entry(NamedTuple):
    """`arguments`: of `python -m loadtest.bench.{module}`; entries with the same ones share a run.

    `has_duration`: it takes `--duration`, seconds of load. `limit_s`: it is ended when it takes longer.
    """

    id: str
    group: str
    module: str
    arguments: tuple[str, ...]
    goal: float
    aim: float
    less_is_better: bool = True
    has_duration: bool = False
    limit_s: float = 600.0

    def judge(self, value: float) -> str:
        for word, limit in (("aim", self.aim), ("goal", self.goal)):
            if value <= limit if self.less_is_better else value >= limit:
                return word
        return "short"


def _rate(id_: str, module: str, goal: float, aim: float) -> Entry:
    return Entry(id_, "ingest", module, (id_,), goal, aim, less_is_better=False, has_duration=True)


def _registry(id_: str, goal: float, aim: float, *, less_is_better: bool = True) -> Entry:
    return Entry(id_, "registry", "registry", (), goal, aim, less_is_better, limit_s=3600.0)


def _ioc(id_: str, goal: float, aim: float) -> Entry:
    return Entry(id_, "ioc", "ioc", (), goal, aim, limit_s=10_800.0)


ENTRIES = (
    Entry("decode_batch_ns", "ingest", "decode", (), 20, 10),
    Entry("decode_senml_cbor_ns", "ingest", "decode", (), 80, 40),
    Entry("decode_sparkplug_ns", "ingest", "decode_sparkplug", (), 80, 40),
    Entry("decode_senml_json_ns", "ingest", "decode", (), 200, 100),
    Entry("block_ns", "ingest", "decode", (), 60, 30),
    _rate("packed_64", "endtoend", 2e6, 3e6),
    _rate("single_64_batch", "endtoend", 400e3, 1e6),
    _rate("single_64_senml_json", "endtoend", 200e3, 500e3),
    _rate("thin_12000", "endtoend", 50e3, 80e3),
    Entry("broker_cpu_us", "ingest", "broker", (), 5, 3),
    Entry("grpc_500", "ingest", "grpc_stream", (), 2e6, 3e6, less_is_better=False),
    Entry("visible_p99_s", "ingest", "visible", (), 1.0, 0.5, has_duration=True),
    Entry("idle_connection_bytes", "ingest", "idle", (), 6000, 4000),
    Entry("duplicates_cost", "ingest", "duplicates", (), 10, 2),
    Entry("stored_bytes", "ingest", "layout", ("--stored-bytes",), 3, 2),
    *(
        Entry(f"durability_{name}", "ingest", "durability_cost", (name,), 0.9, 0.95, False, has_duration=True)
        for name in ("packed_64", "single_64_batch", "single_64_senml_json", "thin_12000")
    ),
    _registry("registry_import_per_s", 10_000, 20_000, less_is_better=False),
    _registry("registry_get_p99_ms", 5, 2),
    _registry("registry_list_p99_ms", 50, 20),
    _registry("registry_count_by_ward_ms", 200, 100),
    _registry("registry_snapshot_s", 10, 5),
    _registry("registry_change_visible_s", 1, 0.2),
    _registry("registry_rss_mb", 500, 300),
    Entry("ioc_rollup_cpu_ratio", "ioc", "rollups", (), 0.25, 0.15, limit_s=10_800.0),
    _ioc("ioc_now_p95_ms", 50, 20),
    _ioc("ioc_history_p95_ms", 50, 20),
    _ioc("ioc_city_hour_p95_ms", 200, 50),
    _ioc("ioc_slowest_p95_ms", 1000, 100),
    _ioc("ioc_stored_bytes", 3, 2),
)
GROUPS = ("ingest", "registry", "ioc")


def chosen(only: str) -> list[Entry]:
    """The entries of an id, a group, or several of them with commas between; all for an empty text.

    Raises: ValueError for a name that is neither.
    """
    if not only:
        return list(ENTRIES)
    names = only.replace(",", " ").split()
    unknown = set(names) - {entry.id for entry in ENTRIES} - set(GROUPS)
    if unknown:
        raise ValueError(f"no figure or group is called {', '.join(sorted(unknown))}")
    return [entry for entry in ENTRIES if entry.id in names or entry.group in names]


def is_there(entry: Entry) -> bool:
    return importlib.util.find_spec(f"loadtest.bench.{entry.module}") is not None
