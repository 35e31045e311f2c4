"""Quality tests of the store against the package ioos-qc: the same flags on its own vectors and on recorded data."""

import csv
import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ioos_qc import qartod

from store.rollup.runner import Runner
from store.rollup.step import load
from tests.support.store import StoreHandle, running_store

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("CITYFLEET_DATA", ROOT.parent / "shared" / "data"))
START_S = 1_699_920_000  # 2023-11-14, midnight UTC
# The step of the flags, and those that take them into their sums.
STEPS = ("quality", "readings_10min", "readings_1h", "readings_1d")
Series = list[tuple[int, float]]  # milliseconds, value

SPIKES = [10, 12, 999.99, 13, 15, 40, 9, 9]
RATES = [2, 10, 2.1, 3, 4, 5, 7, 10, 0, 2, 2.2, 2, 1, 2, 3, 90, 91, 92, 93, 1, 2, 3, 4, 5]
LINES = [1, 2, 2.0001, 2, 2.0001, 2, 2.0001, 2, 4, 5, 3, 3.0001, 3.0005, 3.00001]


class City:
    """A store with devices of one metric each."""

    def __init__(self, store: StoreHandle) -> None:
        self.store = store
        self.count = 0

    def ask(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        named = {f"param_{name}": value for name, value in (params or {}).items()}
        return self.store.query(sql, "admin", **named).rstrip("\n")

    def device(self, tests: dict[str, Any], interval_s: int, series: Series = []) -> int:  # noqa: B006 (not changed)
        self.count += 1
        num = self.count
        self.ask(
            "INSERT INTO cityfleet.device_types (type_num, device_type, expected_interval_s, metric_nums, "
            "metric_intervals_s, metric_min_values, metric_max_values, metric_resolutions, metric_tests, version) "
            f"VALUES ({num}, 'type-{num}', {interval_s}, [1], [0], [-5000], [5000], [0], ['{json.dumps(tests)}'], 1)"
        )
        self.ask(
            "INSERT INTO cityfleet.devices (device_num, device_id, device_type, state, version) "
            f"VALUES ({num}, 'dev-{num}', 'type-{num}', 'active', 1)"
        )
        self.ask("INSERT INTO cityfleet.metrics VALUES (1, 'level_m', 'm', '', 1)")
        self.send(num, series)
        return num

    def send(self, num: int, series: Series, flags: list[tuple[int, int]] | None = None) -> None:
        """Args: flags: what ingest found of each, quality and reasons."""
        lines = [
            f"{num}\t1\t{moment(at)}\t{value!r}\t{quality}\t{reasons}\t00070\t{moment(time.time_ns() // 1_000_000)}\n"
            for (at, value), (quality, reasons) in zip(series, flags or [(1, 0)] * len(series), strict=True)
        ]
        if lines:
            self.store.query("INSERT INTO cityfleet.readings FORMAT TSV", "admin", data="".join(lines).encode())

    def tell_latest(self, num: int) -> None:
        """What ingest writes beside the readings."""
        newest = f"SELECT * FROM cityfleet.readings WHERE device_num = {num} ORDER BY ts DESC LIMIT 1"
        self.ask(f"INSERT INTO cityfleet.latest {newest}")

    def run(self) -> None:
        Runner(self.ask, [one for one in load() if one.name in STEPS], grace_s=0, settle_s=0).run()

    def flags(self, num: int) -> list[int]:
        rows = self.store.rows(f"SELECT quality FROM ioc.readings WHERE device_num = {num} ORDER BY ts")
        return [int(quality) for (quality,) in rows]

    def reasons(self, num: int) -> list[int]:
        rows = self.store.rows(f"SELECT quality_reasons FROM ioc.readings WHERE device_num = {num} ORDER BY ts")
        return [int(bits) for (bits,) in rows]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    with running_store(tmp_path_factory.mktemp("quality")) as store:
        yield City(store)


def moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def regular(values: list[float], interval_s: int = 900) -> Series:
    return [((START_S + at * interval_s) * 1000, float(value)) for at, value in enumerate(values)]


def ioos(tests: dict[str, Any], series: Series) -> list[int]:
    """The flags of all tests together, gross range included, by ioos-qc."""
    values = np.array([value for _, value in series])
    times = np.array([at for at, _ in series], dtype="datetime64[ms]").astype("datetime64[ns]")
    found = [qartod.gross_range_test(values, (-5000, 5000))]
    if spike := tests.get("spike"):
        found.append(qartod.spike_test(values, spike.get("suspect"), spike.get("fail")))
    if rate := tests.get("rate_per_s"):
        found.append(qartod.rate_of_change_test(values, times, rate["suspect"], rate.get("fail")))
    if flat := tests.get("flat_line"):
        found.append(qartod.flat_line_test(values, times, flat["suspect_s"], flat["fail_s"], flat["tolerance"]))
    if gap := tests.get("gap_s"):
        # its first reading has the flag of the second, ours follows a gap
        found.append(qartod.time_gap_test(times, gap["fail"] / 3600))
    return [int(flag) for flag in qartod.qartod_compare([np.ma.asarray(one) for one in found])]


def test_vectors_of_the_package_give_its_flags(city: City) -> None:
    cases = [
        ({"spike": {"suspect": 25, "fail": 50}}, SPIKES, "1 4 4 4 1 3 1 1"),
        ({"rate_per_s": {"suspect": 5 / 900}}, RATES, "1 3 3 1 1 1 1 1 3 1 1 1 1 1 1 3 1 1 1 3 1 1 1 1"),
        (
            {"flat_line": {"tolerance": 0.01, "suspect_s": 3000, "fail_s": 4800}},
            LINES,
            "1 1 1 1 3 3 4 4 1 1 1 1 1 3",
        ),
    ]
    numbers = [city.device(tests, 900, regular(values)) for tests, values, _ in cases]
    city.run()
    for number, (tests, values, expected) in zip(numbers, cases, strict=True):
        assert " ".join(map(str, city.flags(number))) == expected
        assert city.flags(number) == ioos(tests, regular(values))
    assert city.reasons(numbers[0]) == [0, 16, 16, 16, 0, 32, 0, 0]
    stored = city.store.rows("SELECT count(), countIf(quality = 1) FROM cityfleet.quality_flags FINAL")
    assert stored == [[str(4 + 5 + 5), "0"]]


def test_all_tests_together_on_random_series_give_the_flags_of_the_package(city: City) -> None:
    random_ = random.Random(7)
    tests = {
        "spike": {"suspect": 3, "fail": 6},
        "rate_per_s": {"suspect": 0.01, "fail": 0.02},
        "flat_line": {"tolerance": 0.5, "suspect_s": 1500, "fail_s": 3000},
    }
    made = []
    for _ in range(20):
        values, value = [], 0.0
        for _ in range(150):
            value += random_.choice([0, 0, 0, 0, 0.1, -0.1, 1, -1, 5, -5]) * random_.random()
            values.append(value)
        series = regular(values, 300)
        made.append((city.device(tests, 300, series), series))
    city.run()
    for number, series in made:
        assert city.flags(number) == ioos(tests, series)


def test_order_delay_and_copies_of_readings_change_no_flag_and_no_sum(city: City) -> None:
    tests = {
        "spike": {"suspect": 25, "fail": 50},
        "rate_per_s": {"suspect": 5 / 900},
        "flat_line": {"tolerance": 0.01, "suspect_s": 3000, "fail_s": 4800},
        "gap_s": {"suspect": 1000},
    }
    series = regular([*RATES, *SPIKES, *LINES])
    at_once = city.device(tests, 900, series)
    piecemeal = city.device(tests, 900)
    city.run()
    order = series[:]
    random.Random(3).shuffle(order)
    for at in range(0, len(order), 9):
        city.send(piecemeal, order[at : at + 9] + order[:2])
        city.run()
    assert city.flags(piecemeal) == city.flags(at_once)
    assert city.reasons(piecemeal) == city.reasons(at_once)
    for table in ("readings_10min", "readings_1h", "readings_1d"):
        columns = f"SELECT * EXCEPT (device_num, version, is_deleted) FROM cityfleet.{table} FINAL"
        sums = [
            city.store.query(f"{columns} WHERE device_num = {num} ORDER BY ts", "admin") for num in (at_once, piecemeal)
        ]
        assert sums[0] == sums[1] != ""
    good = sum(flag == 1 for flag in city.flags(at_once))
    assert city.store.rows(
        f"SELECT sum(n), sum(good_n) FROM cityfleet.readings_1d FINAL WHERE device_num = {at_once}", "admin"
    ) == [[str(len(series)), str(good)]]


def test_a_late_reading_takes_a_flag_back_and_the_row_says_so(city: City) -> None:
    series = regular([1, 1, 9, 9, 9])
    number = city.device({"rate_per_s": {"suspect": 5 / 900}}, 900, series)
    city.run()
    assert city.flags(number) == [1, 1, 3, 1, 1]
    city.send(number, [(series[2][0] - 450_000, 5.0)])
    city.run()
    assert city.flags(number) == [1, 1, 3, 3, 1, 1]
    city.send(number, [(series[2][0] - 450_000, 9.0), (series[1][0], 9.0), (series[0][0], 9.0)])
    city.run()
    assert set(city.flags(number)) == {1}
    rows = city.store.rows(
        f"SELECT quality, quality_reasons FROM cityfleet.quality_flags FINAL WHERE device_num = {number}", "admin"
    )
    assert rows == [["1", "0"], ["1", "0"]]


def test_what_ingest_found_stays_with_what_the_store_finds(city: City) -> None:
    number = city.device({"spike": {"suspect": 25, "fail": 50}}, 900)
    city.send(number, regular([10, 12, 50, 13, 15]), [(1, 0), (1, 0), (3, 2), (4, 1), (1, 0)])
    city.run()
    assert list(zip(city.flags(number), city.reasons(number), strict=True)) == [(1, 0), (1, 0), (3, 34), (4, 1), (1, 0)]
    assert city.store.rows(f"SELECT value FROM ioc.readings WHERE device_num = {number} AND quality = 3") == [["50"]]


def test_the_latest_reading_has_the_flag_that_the_store_found(city: City) -> None:
    number = city.device({"rate_per_s": {"suspect": 5 / 900}}, 900, regular([1, 1, 9]))
    city.tell_latest(number)
    city.run()
    asked = f"SELECT value, quality, quality_reasons FROM ioc.latest WHERE device_num = {number}"
    assert city.store.rows(asked) == [["9", "3", "128"]]
    city.send(number, [(regular([0, 0, 0, 2])[3][0], 2.0)])
    city.tell_latest(number)
    assert city.store.rows(asked) == [["2", "1", "0"]]


def test_bits_are_those_of_the_hot_path_and_of_the_document(city: City) -> None:
    rows = city.store.rows("SELECT bit, quality FROM ioc.quality_reasons ORDER BY bit")
    assert [int(bit) for bit, _ in rows] == [1 << at for at in range(16)]
    source = (ROOT / "ext/telemetry/quality.pxd").read_text()
    fails = sum(int(bit) for bit, quality in rows if quality == "4")
    assert f"REASONS_OF_FAIL = {fails} " in source
    assert f"bitAnd(quality_reasons, {fails})" in (ROOT / "store/rollup/steps/10_quality.sql").read_text()
    document = (ROOT / "docs/quality.md").read_text()
    assert all(f"{bit}" in document for bit, _ in rows)


def recorded(path: str, column: str, unit_s: int) -> Series:
    with (DATA / path).open() as file:
        rows = list(csv.DictReader(file))
    series = {}
    for row in rows:
        text = row.get("time") or row["timestamp"]
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        if row[column]:
            series[int(at.timestamp()) // unit_s * unit_s * 1000] = float(row[column])
    return sorted(series.items())


def stretches(series: Series, interval_s: int) -> list[Series]:
    """Runs of readings that came at this interval."""
    found: list[Series] = [[]]
    for before, one in zip([series[0], *series], series, strict=False):
        if one[0] - before[0] != interval_s * 1000:
            found.append([])
        found[-1].append(one)
    return found


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "water_level").is_dir(), reason="recorded data is not there (CITYFLEET_DATA)")
@pytest.mark.parametrize(
    ("path", "column", "interval_s", "tests", "at_least"),
    [
        (
            "water_level/kotzebue_water_level_hourly.csv",
            "sea_surface_height_above_sea_level",
            3600,
            {
                "spike": {"suspect": 0.8, "fail": 3},
                "rate_per_s": {"suspect": 0.001},
                "flat_line": {"tolerance": 0.001, "suspect_s": 10_800, "fail_s": 21_600},
            },
            4000,
        ),
        (
            "traffic/occupancy_6005.csv",
            "value",
            300,
            {
                "spike": {"suspect": 10, "fail": 20},
                "rate_per_s": {"suspect": 0.03, "fail": 0.06},
                "flat_line": {"tolerance": 0.2, "suspect_s": 600, "fail_s": 900},
            },
            500,
        ),
    ],
)
def test_recorded_data_gets_the_flags_of_the_package_within_every_regular_stretch(
    city: City, path: str, column: str, interval_s: int, tests: dict[str, Any], at_least: int
) -> None:
    series = recorded(path, column, 1)
    number = city.device(tests, interval_s, series)
    city.run()
    ours = dict(zip([at for at, _ in series], city.flags(number), strict=True))
    compared = found = 0
    for stretch in stretches(series, interval_s):
        if len(stretch) < 12:
            continue
        theirs = ioos(tests, stretch)
        # the readings before the stretch, which the package was not given, tell on its beginning
        window = max(3, tests["flat_line"]["fail_s"] // interval_s)
        here = [ours[at] for at, _ in stretch]
        assert here[window:-1] == theirs[window:-1]
        compared += len(here) - window - 1
        found += sum(flag > 2 for flag in here[window:-1])
    assert compared > at_least
    assert found > 0
