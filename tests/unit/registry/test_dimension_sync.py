"""The copy to the store ends when it is told to, whatever it is about to do."""

import asyncio

import pytest

from registry.db.engine import Database, sqlite_url
from registry.dimensions.sync import DimensionSync
from store.settings import StoreSettings

# Of the loop: from the first connection that is refused to the pause before the next.
TURNS = 60


@pytest.fixture
async def database(tmp_path):
    opened = Database(sqlite_url(tmp_path / "registry" / "registry.db"))
    await opened.open()
    yield opened
    opened.close()


async def test_it_ends_at_any_moment_of_a_connection_that_is_refused(database, tmp_path):
    settings = StoreSettings(url="http://127.0.0.1:1")
    for turns in range(TURNS):
        running = asyncio.create_task(DimensionSync(database, settings, tmp_path).run())
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=60)
        assert done, f"it goes on after {turns} turns"
        assert running.cancelled()
