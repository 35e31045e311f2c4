"""What is too old goes, by whole partitions; what is old lies smaller; on the real engine."""

import time
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from store import migrate
from store.embedded.engine import Engine
from store.retention import DAYS, end_of, enforce
from store.settings import RetentionSettings

TODAY = date(2026, 6, 15)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    running = Engine(tmp_path_factory.mktemp("retention") / "store", 1)
    migrate.apply(running.ask, "single")
    yield running
    running.close()


def partitions(engine: Engine, table: str) -> list[str]:
    return engine.ask(
        "SELECT DISTINCT partition FROM system.parts WHERE active AND database = 'cityfleet' "
        f"AND table = '{table}' ORDER BY partition"
    ).split()


@pytest.mark.parametrize("table", DAYS)
def test_old_partitions_go_and_others_stay(engine: Engine, table: str) -> None:
    column = engine.ask(
        f"SELECT name FROM system.columns WHERE database = 'cityfleet' AND table = '{table}' AND is_in_partition_key"
    )
    for days in (0, 1, 29, 31, 45, 400, 800):
        engine.ask(f"INSERT INTO cityfleet.{table} ({column}) VALUES ('{TODAY - timedelta(days=days)} 12:00:00')")
    before = partitions(engine, table)
    assert len(before) >= 3
    kept = RetentionSettings(**{DAYS[table]: 30, "recompress_days": 0})
    dropped = enforce(engine.ask, kept, TODAY)
    left = partitions(engine, table)
    assert {partition for name, partition in dropped if name == table} == set(before) - set(left) != set()
    # A partition goes when its last day is too old, and not before.
    assert all(end_of(partition) > TODAY - timedelta(days=30) for partition in left)
    assert all(end_of(partition) <= TODAY - timedelta(days=30) for partition in set(before) - set(left))
    assert enforce(engine.ask, kept, TODAY) == []


def test_nothing_goes_where_all_is_kept(engine: Engine) -> None:
    engine.ask("INSERT INTO cityfleet.readings (device_num, ts) VALUES (1, '2001-01-01 00:00:00')")
    assert enforce(engine.ask, RetentionSettings(), TODAY) == []
    assert "200101" in partitions(engine, "readings")


def ttl(engine: Engine) -> str:
    return engine.ask("SELECT extract(engine_full, 'TTL .* SETTINGS') FROM system.tables WHERE name = 'readings'")


@pytest.mark.parametrize("table", ["readings", "readings_text"])
def test_old_parts_are_compressed_harder(engine: Engine, table: str) -> None:
    engine.ask(f"TRUNCATE TABLE cityfleet.{table}")
    enforce(engine.ask, RetentionSettings(recompress_days=35))
    for ago, device in ((60, 1), (1, 2)):
        engine.ask(
            f"INSERT INTO cityfleet.{table} (device_num, ts, value) SELECT {device}, "
            f"toDateTime(toStartOfMonth(now() - INTERVAL {ago} DAY)) + number, "
            "round(sin(number / 3000) + cityHash64(number) % 100 / 1e3, 2) FROM numbers(200000)"
        )
    sizes = (
        "SELECT default_compression_codec, sum(data_compressed_bytes) FROM system.parts WHERE active AND rows > 0 "
        f"AND database = 'cityfleet' AND table = '{table}' GROUP BY 1 ORDER BY 1"
    )
    end = time.monotonic() + 60
    while "ZSTD(9)" not in (found := engine.ask(sizes)):
        assert time.monotonic() < end, found
        time.sleep(0.1)
    young, old = (line.split("\t") for line in found.splitlines())
    assert (young[0], old[0]) == ("ZSTD(1)", "ZSTD(9)")
    # The same values, but for the month.
    assert int(old[1]) < 0.95 * int(young[1])


def test_its_age_follows_the_settings(engine: Engine) -> None:
    enforce(engine.ask, RetentionSettings(recompress_days=100))
    assert "toIntervalDay(100) RECOMPRESS CODEC(ZSTD(9))" in ttl(engine)
    enforce(engine.ask, RetentionSettings(recompress_days=0))
    assert ttl(engine) == ""
