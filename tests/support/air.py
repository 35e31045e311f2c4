"""Air stations in a store: their dimensions, their readings, and the steps that make indices of them."""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from store.rollup import step
from store.rollup.runner import Runner
from tests.support.store import StoreHandle

DATA = Path(os.environ.get("CITYFLEET_DATA", Path(__file__).parents[3] / "shared" / "data"))
HANOI = timezone(timedelta(hours=7))
METRICS = ("pm2_5", "pm10", "tsp", "so2", "no2", "o3", "co")
NUMBERS = {name: number for number, name in enumerate((*METRICS, "rain_mm", "wind_m_s"), start=1)}
# What the indices and the views of air rest on.
_STEPS = {
    "quality", "readings_10min", "readings_1h", "readings_1d", "rain_10min", "rain_1h", "vn_aqi_1h", "vn_aqi_1d",
    "vn_aqi_now", "ward_vn_aqi_now",
}  # fmt: skip
# (metric, time, value, quality)
Reading = tuple[str, datetime, float, int]


class City:
    """Stations of one type that promises a reading an hour; readings are received as they are added."""

    def __init__(self, store: StoreHandle) -> None:
        self.store = store
        self.runner = Runner(self._ask, [one for one in step.load() if one.name in _STEPS], grace_s=0, settle_s=0)
        self._stations: dict[str, int] = {}
        metrics = [(n, m if m in ("rain_mm", "wind_m_s") else f"{m}_ug_m3") for m, n in NUMBERS.items()]
        self._put("metrics (metric_num, metric, version)", ((number, name, 1) for number, name in metrics))
        numbers = str([NUMBERS[metric] for metric in METRICS])
        intervals = str([0] * len(METRICS))
        self._put(
            "device_types (type_num, device_type, expected_interval_s, metric_nums, metric_intervals_s, version)",
            [(1, "air-station", 3600, numbers, intervals, 1)],
        )
        self._put(
            "wards (ward_code, name, version)",
            [("00025", "Giảng Võ", 1), ("00070", "Hoàn Kiếm", 1), ("00004", "Ba Đình", 1)],
        )

    def station(self, name: str, ward: str = "00070", **labels: str) -> str:
        number = self._stations.setdefault(name, len(self._stations) + 1)
        text = "{" + ",".join(f"'{key}':'{value}'" for key, value in labels.items()) + "}"
        self._put(
            "devices (device_num, device_id, device_type, ward_code, labels, state, version)",
            [(number, name, "air-station", ward, text, "active", 1)],
        )
        return name

    def add(self, station: str, readings: Iterable[Reading], ward: str = "00070") -> None:
        number = self._stations[station]
        received = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        self._put(
            "readings (device_num, metric_num, ts, value, quality, quality_reasons, ward_code, received_at)",
            (
                (number, NUMBERS[metric], at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"), value, quality,
                 0 if quality == 1 else 1, ward, received)
                for metric, at, value, quality in readings
            ),
        )  # fmt: skip

    def compute(self) -> None:
        self.runner.run()

    def rows(self, sql: str) -> list[list[str]]:
        return self.store.rows(sql)

    def row(self, sql: str) -> list[str]:
        (found,) = self.rows(sql)
        return found

    def _put(self, into: str, rows: Iterable[Iterable[object]]) -> None:
        body = "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()
        self.store.query(f"INSERT INTO cityfleet.{into} FORMAT TabSeparated", "admin", data=body)

    def _ask(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        values = {f"param_{name}": value for name, value in (params or {}).items()}
        return self.store.query(sql, "admin", **values).rstrip("\n")


def hourly(metric: str, start: datetime, values: Iterable[float | None], quality: int = 1) -> Iterator[Reading]:
    """One reading an hour from `start` on; None: none."""
    for hour, value in enumerate(values):
        if value is not None:
            yield metric, start + timedelta(hours=hour), value, quality


def csv_rows(path: str) -> list[dict[str, str]]:
    with (DATA / path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
