"""The database: migrations, numbers that are never used again, the bell, and transactions that end as a whole."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from registry.db import catalogue as db_catalogue
from registry.db import sequence
from registry.db.engine import ChangeBell, Database, sqlite_url
from registry.db.near import near_by_index
from registry.db.schema import devices, metadata
from registry.devices import catalogue, fleet, lifecycle
from registry.devices.model import DeviceSpec, TypeSpec


@pytest.fixture
async def database(tmp_path):
    opened = Database(sqlite_url(tmp_path / "registry" / "registry.db"))
    await opened.open()
    await opened.write(catalogue.plant_starter_catalogue)
    yield opened
    opened.close()


# What is read off it says whether it is there: test_what_is_near_is_found_by_latitude_and_longitude.
@pytest.mark.filterwarnings("ignore:.*expression-based index.*ix_devices_place")
async def test_the_migrations_make_the_tables_that_the_code_uses(database):
    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert await database.read(differences) == []


async def test_what_is_near_is_found_by_latitude_and_longitude(database):
    def plan(connection):
        query = select(devices.c.device_num).where(near_by_index(21.03, 105.85, 1500))
        text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        return connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").one()[3]

    index = "COVERING INDEX ix_devices_place (<expr>=? AND longitude>? AND longitude<?)"
    assert await database.read(plan) == f"SEARCH devices USING {index}"


async def test_opening_again_changes_nothing(database, tmp_path):
    again = Database(sqlite_url(tmp_path / "registry" / "registry.db"))
    await again.open()
    assert not await again.write(catalogue.plant_starter_catalogue)
    assert await again.read(sequence.head) == await database.read(sequence.head)
    again.close()


async def test_the_database_is_in_wal_mode_and_synchronous(database):
    def pragmas(connection):
        return [connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("journal_mode", "synchronous")]

    assert await database.read(pragmas) == ["wal", 2]


async def test_a_failed_write_leaves_no_trace(database):
    before = await database.read(sequence.head_numbers)

    def half(connection):
        catalogue.create_metric(connection, "wind_speed_m_s", "m/s", "")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        await database.write(half)
    assert await database.read(sequence.head_numbers) == before
    assert "wind_speed_m_s" not in await database.read(db_catalogue.metric_nums)


async def test_numbers_grow_and_revisions_are_unique(database):
    await database.write(catalogue.apply_type, TypeSpec("gauge"), "")
    made = [(await database.write(fleet.create_device, DeviceSpec(f"d-{n}", "gauge"), "")).device for n in range(5)]
    assert [device.device_num for device in made] == [1, 2, 3, 4, 5]
    await database.write(lifecycle.decommission_device, "d-4", "")
    newer = (await database.write(fleet.create_device, DeviceSpec("d-5", "gauge"), "")).device
    assert newer.device_num == 6
    assert newer.revision == (await database.read(sequence.head)).revision == database.bell.revision


async def test_a_reader_sees_one_state_while_a_writer_goes_on(database):
    loop = asyncio.get_running_loop()
    between, go_on = asyncio.Event(), asyncio.Event()

    def twice(connection):
        first = sequence.head(connection).revision
        loop.call_soon_threadsafe(between.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(timeout=60)
        return first, sequence.head(connection).revision

    reading = asyncio.create_task(database.read(twice))
    await between.wait()
    await database.write(catalogue.create_metric, "wind_speed_m_s", "m/s", "")
    go_on.set()
    first, second = await reading
    assert first == second < database.bell.revision


async def test_a_cancelled_write_still_rings(database):
    writing = asyncio.create_task(database.write(catalogue.create_metric, "wind_speed_m_s", "m/s", ""))
    await asyncio.sleep(0)
    before = database.bell.revision
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await database.bell.wait(before, 20)


async def test_the_bell_wakes_everybody_and_times_out():
    bell = ChangeBell()
    assert not await bell.wait(0, 0.01)
    waiting = [asyncio.create_task(bell.wait(0, 20)) for _ in range(3)]
    await asyncio.sleep(0)
    bell.ring(7)
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert await bell.wait(6, 0)
    assert not await bell.wait(7, 0.01)
