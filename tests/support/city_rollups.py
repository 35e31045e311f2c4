"""Steps of the rollups run by hand on a store, and what dimensions they need."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from store.rollup import step
from store.rollup.runner import Runner
from tests.support.store import StoreHandle

# device_num, metric_num, time in ms, value, quality, ward
Reading = tuple[int, int, int, float, int, str]


class Ask:
    """What migrations and steps call, over HTTP as admin."""

    def __init__(self, store: StoreHandle) -> None:
        self._store = store

    def __call__(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        given = {f"param_{name}": value for name, value in (params or {}).items()}
        return self._store.query(sql, "admin", **given).rstrip("\n")


def compute(store: StoreHandle, names: Sequence[str], start_ms: int, end_ms: int) -> None:
    """These steps in the order in which they run, on one window."""
    steps = step.load()
    runner = Runner(Ask(store), steps)
    for one in steps:
        if one.name in names:
            runner.compute(one, start_ms // 1000, end_ms // 1000 + 1)


def compute_now(store: StoreHandle, names: Sequence[str], start_ms: int | None = None) -> None:
    """These steps from a time until now, which stays in the window should the hour change while they run.

    Args: start_ms: None: now.
    """
    now_ms = ms(datetime.now(UTC))
    compute(store, names, now_ms if start_ms is None else start_ms, now_ms + 60_000)


def add_type(store: StoreHandle, num: int, name: str, metric_nums: Sequence[int], interval_s: int) -> None:
    nothing = "[" + ", ".join(["NULL"] * len(metric_nums)) + "]"
    zeros = "[" + ", ".join(["0"] * len(metric_nums)) + "]"
    store.query(
        "INSERT INTO cityfleet.device_types (type_num, device_type, expected_interval_s, metric_nums, "
        "metric_intervals_s, metric_min_values, metric_max_values, metric_resolutions, version) "
        f"VALUES ({num}, '{name}', {interval_s}, {list(metric_nums)}, {zeros}, {nothing}, {nothing}, {zeros}, 1)",
        "admin",
    )


def add_metrics(store: StoreHandle, names: Mapping[str, int]) -> None:
    rows = ", ".join(f"({num}, '{name}', 'u', '', 1)" for name, num in names.items())
    store.query(f"INSERT INTO cityfleet.metrics VALUES {rows}", "admin")


def add_devices(store: StoreHandle, devices: Iterable[Mapping[str, object]]) -> None:
    """Args: devices: columns of cityfleet.devices; what is missing is empty."""
    lines = "\n".join(json.dumps({"state": "active", "version": 1, **device}) for device in devices)
    columns = (
        "device_num, device_id, device_type, display_name, ward_code, site_id, gateway_id, latitude, longitude, "
        "labels, state, expected_interval_s, create_time, version"
    )
    store.query(f"INSERT INTO cityfleet.devices ({columns}) FORMAT JSONEachRow", "admin", data=lines.encode())


def add_wards(store: StoreHandle, names: Mapping[str, str]) -> None:
    rows = ", ".join(f"('{code}', '{name}', 'xa', '01', 1)" for code, name in names.items())
    store.query(f"INSERT INTO cityfleet.wards VALUES {rows}", "admin")


def add_readings(store: StoreHandle, readings: Iterable[Reading], received_ms: int = 1_900_000_000_000) -> None:
    lines = "".join(
        f"{device}\t{metric}\t{at // 1000}.{at % 1000:03}\t{value}\t{quality}\t0\t{ward}\t{received_ms // 1000}.000\n"
        for device, metric, at, value, quality, ward in readings
    )
    store.query("INSERT INTO cityfleet.readings FORMAT TSV", "writer", data=lines.encode())


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def from_text(text: str) -> int:
    """Milliseconds of a time as the store prints it, UTC."""
    return ms(datetime.fromisoformat(text).replace(tzinfo=UTC))
