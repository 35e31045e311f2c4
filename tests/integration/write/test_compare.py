"""Unclean ends: what a store that lost its memory of tokens already has is not inserted again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.fault.proxy import PASS, Fault, proxy_before
from tests.support.native_blocks import Reading
from tests.support.segments import Node, until
from tests.support.store import StoreHandle, running_store

START_MS = 1_780_000_000_000
INSERTS = b"insert_deduplication_token"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    """A store that these tests may kill."""
    with running_store(tmp_path_factory.mktemp("own")) as running:
        yield running


def lose_power(store: StoreHandle) -> None:
    """End the store and take what it did not fsync: its log of tokens."""
    store.kill()
    for log in store.data_dir.rglob("deduplication_logs"):
        shutil.rmtree(log)
    store.start()


def rows_stored(store: StoreHandle, device: int) -> int:
    """Without FINAL, so that copies show."""
    return int(
        store.query(f"SELECT count() FROM cityfleet.readings WHERE device_num BETWEEN {device} AND {device + 999}")
    )


def some(device: int, count: int = 500) -> list[Reading]:
    """Several series, partitions and a repeated identity."""
    month_ms = 31 * 86_400_000
    rows = [Reading(device + n % 7, START_MS + n * 1000 + n % 3 * month_ms, float(n)) for n in range(count)]
    return [*rows, rows[3]]


async def test_a_recovered_segment_that_is_there_is_not_inserted_again(
    tmp_path: Path, own: StoreHandle, device: int
) -> None:
    own.query("SYSTEM STOP MERGES cityfleet.readings", "admin")
    node = Node(tmp_path, own)
    segment = node.segment(some(device))
    saved = segment.path.read_bytes()
    await node.write([segment])
    before = rows_stored(own, device)
    segment.path.write_bytes(saved)
    lose_power(own)
    own.query("SYSTEM STOP MERGES cityfleet.readings", "admin")
    behind = node.segment([Reading(device + 900, START_MS, 1.0)])
    await node.write([segment, behind], recovered=True)
    assert rows_stored(own, device) == before + 1
    assert node.state.readings[0] == 501 * 2 + 1
    assert not segment.path.exists()
    # And the test itself: without the comparison there would be copies.
    segment.path.write_bytes(saved)
    lose_power(own)
    own.query("SYSTEM STOP MERGES cityfleet.readings", "admin")
    await node.write([segment])
    assert rows_stored(own, device) == 2 * before + 1
    own.query("SYSTEM START MERGES cityfleet.readings", "admin")


async def test_a_token_that_fell_out_of_the_window_is_no_second_insert(
    tmp_path: Path, own: StoreHandle, device: int
) -> None:
    own.query("SYSTEM STOP MERGES cityfleet.readings", "admin")
    own.query("ALTER TABLE cityfleet.readings MODIFY SETTING non_replicated_deduplication_window = 2", "admin")
    node = Node(tmp_path, own)
    segments = [node.segment([Reading(device + n, START_MS, 1.0)]) for n in range(5)]
    saved = [(segment.path, segment.path.read_bytes()) for segment in segments]
    await node.write(segments)
    for path, data in saved:
        path.write_bytes(data)
    await node.write(segments, recovered=True)
    assert rows_stored(own, device) == 5
    own.query("ALTER TABLE cityfleet.readings MODIFY SETTING non_replicated_deduplication_window = 10000", "admin")
    own.query("SYSTEM START MERGES cityfleet.readings", "admin")


async def test_a_segment_of_which_a_part_is_there_is_inserted(tmp_path: Path, own: StoreHandle, device: int) -> None:
    node = Node(tmp_path, own)
    rows = some(device)
    await node.write([node.segment(rows[:300])])
    await node.write([node.segment(rows)], recovered=True)
    asked = f"SELECT count() FROM cityfleet.readings FINAL WHERE device_num BETWEEN {device} AND {device + 999}"
    assert own.query(asked) == "500\n"


async def test_a_correction_in_the_same_second_is_not_taken_for_there(
    tmp_path: Path, own: StoreHandle, device: int
) -> None:
    node = Node(tmp_path, own)
    await node.write([node.segment([Reading(device, START_MS, 1.0)])])
    await node.write([node.segment([Reading(device, START_MS, 2.0)])], recovered=True)
    assert own.query(f"SELECT value FROM cityfleet.readings FINAL WHERE device_num = {device}") == "2\n"


async def test_a_store_that_died_after_the_commit_is_asked_what_it_has(
    tmp_path: Path, own: StoreHandle, device: int
) -> None:
    with proxy_before(("127.0.0.1", own.port)) as proxy:
        node = Node(tmp_path, own, proxy.url)
        segment = node.segment(some(device))
        proxy.switch(Fault("swallow", match=INSERTS))
        async with node.writing([segment]) as (_, task, pipe):
            pipe.close()
            await until(lambda: proxy.counts["swallow"] >= 1, task)
            proxy.switch(Fault("refuse"))
            lose_power(own)
            own.query("SYSTEM STOP MERGES cityfleet.readings", "admin")
            before = rows_stored(own, device)
            proxy.target = ("127.0.0.1", own.port)
            proxy.switch(PASS)
            await until(task.done)
            task.result()
    assert before >= 500
    assert rows_stored(own, device) == before
    assert node.state.readings[0] == 501
    own.query("SYSTEM START MERGES cityfleet.readings", "admin")


async def test_a_store_that_died_before_the_commit_gets_it_all(tmp_path: Path, own: StoreHandle, device: int) -> None:
    with proxy_before(("127.0.0.1", own.port)) as proxy:
        node = Node(tmp_path, own, proxy.url)
        proxy.switch(Fault("cut", after_bytes=1000, match=INSERTS))
        async with node.writing([node.segment(some(device))]) as (_, task, pipe):
            pipe.close()
            await until(lambda: proxy.counts["cut"] >= 1, task)
            proxy.switch(Fault("refuse"))
            lose_power(own)
            proxy.target = ("127.0.0.1", own.port)
            proxy.switch(PASS)
            await until(task.done)
            task.result()
    asked = f"SELECT count() FROM cityfleet.readings FINAL WHERE device_num BETWEEN {device} AND {device + 999}"
    assert own.query(asked) == "500\n"
