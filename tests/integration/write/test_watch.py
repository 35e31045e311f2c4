"""A store with too many parts gets time to merge; a table that would store a repeated insert twice is named."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ingest.write.clickhouse import ClickHouseStore
from ingest.write.watch import tables_without_window
from store.client import open_client
from tests.support.native_blocks import Reading
from tests.support.segments import QUICK, Node, until
from tests.support.store import StoreHandle, running_store

START_MS = 1_780_000_000_000


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    """A store whose number of parts is ours."""
    with running_store(tmp_path_factory.mktemp("own")) as running:
        yield running


async def without_window(store: StoreHandle) -> list[str]:
    client = ClickHouseStore(lambda: open_client(store.settings, store.data_dir, "writer"))
    try:
        return await tables_without_window(client)
    finally:
        await client.close()


async def test_inserts_stop_until_the_parts_are_merged(tmp_path: Path, own: StoreHandle, device: int) -> None:
    settings = msgspec.structs.replace(QUICK, parts_slow=3, parts_stop=6, parts_pause_s=0.1)
    node = Node(tmp_path, own, settings=settings)
    segments = [node.segment([Reading(device + n, START_MS, float(n))]) for n in range(30)]
    for table in ("readings", "latest"):
        own.query(f"SYSTEM STOP MERGES cityfleet.{table}", "admin")
    async with node.writing(segments) as (stage, task, pipe):
        pipe.close()
        await until(lambda: "stopped" in stage.problems().get("store_parts", ""), task)
        assert stage.is_slowed
        stopped_at = node.state.segments
        assert stopped_at < 30
        for table in ("readings", "latest"):
            own.query(f"SYSTEM START MERGES cityfleet.{table}", "admin")
        # The ledger of rollups gets a part by each insert too, and waits for more of them than six.
        while not task.done():
            for table in ("readings", "latest", "rollup_changes"):
                await asyncio.to_thread(own.query, f"OPTIMIZE TABLE cityfleet.{table} FINAL", "admin")
            await asyncio.sleep(0.05)
        task.result()
    assert node.state.segments == 30
    assert own.query("SELECT count() FROM cityfleet.readings FINAL") == "30\n"


async def test_every_table_of_ours_has_a_window(own: StoreHandle) -> None:
    assert await without_window(own) == []


async def test_tables_behind_views_are_looked_at_too(own: StoreHandle) -> None:
    own.query("CREATE TABLE default.counts (n UInt64) ENGINE = MergeTree ORDER BY n", "admin")
    own.query(
        "CREATE MATERIALIZED VIEW default.counting TO default.counts AS SELECT count() AS n FROM cityfleet.readings",
        "admin",
    )
    own.query(
        "CREATE MATERIALIZED VIEW default.inside ENGINE = MergeTree ORDER BY n AS SELECT n FROM default.counts", "admin"
    )
    found = await without_window(own)
    assert found[0].startswith("default..inner_id.")
    assert found[1:] == ["default.counts"]
    own.query("ALTER TABLE default.counts MODIFY SETTING non_replicated_deduplication_window = 100", "admin")
    assert len(await without_window(own)) == 1
    own.query("DROP VIEW default.inside SYNC", "admin")
    own.query("DROP VIEW default.counting SYNC", "admin")
    own.query("ALTER TABLE cityfleet.latest MODIFY SETTING non_replicated_deduplication_window = 0", "admin")
    assert await without_window(own) == ["cityfleet.latest"]
    own.query("ALTER TABLE cityfleet.latest MODIFY SETTING non_replicated_deduplication_window = 10000", "admin")
