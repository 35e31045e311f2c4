"""Many rows by one statement, on both databases: texts of every kind; lookups by many values that see all of each."""

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError

from registry.db.bulk import among, insert_rows
from registry.db.engine import Database, sqlite_url
from registry.db.schema import device_types, purged_devices, registry_state, sites

TEXTS = (
    "",
    "plain",
    "Trạm 42, \"quoted\" 'too'",
    "tab\tline\nreturn\rback\\slash",
    "\\N",
    "\\.",
    "NULL",
    "🛰",
    "x" * 5000,
)


@pytest.fixture
async def database(tmp_path, new_database):
    opened = Database(new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(tmp_path / "registry.db"))
    await opened.open()
    yield opened
    opened.close()


async def test_values_come_back_as_they_went_in(database):
    columns = [column.name for column in sites.c]
    rows = [
        (at, f"bulk-{at}", name, "bts", None, at - 0.1, "", at % 2, "{}", at, at, at, None, 2**40 + at)
        for at, name in enumerate(TEXTS, 1)
    ]

    def work(connection):
        insert_rows(connection, sites, columns, rows)
        insert_rows(connection, sites, columns, [])
        return [tuple(row) for row in connection.execute(select(sites).order_by(sites.c.site_num))]

    assert await database.write(work) == rows


async def test_a_value_that_is_longer_than_the_column_is_found_nowhere(database):
    columns = ("device_num", "device_id", "type_num", "ward_code", "create_time_ms", "revision", "purge_time_ms")
    names = ["a" * 63, "b'; DROP TABLE devices --", "Trạm"]
    empty = {column.name: 0 if column.type.python_type is int else "" for column in device_types.c}
    column = purged_devices.c.device_id

    def prepare(connection):
        connection.execute(insert(device_types).values(empty | {"is_gateway": False, "is_deleted": False}))
        insert_rows(connection, purged_devices, columns, [(at, name, 0, "", 0, at, 0) for at, name in enumerate(names)])

    def found(connection, values):
        return set(connection.execute(select(column).where(among(connection, column, values))).scalars())

    def numbered(connection, numbers):
        wanted = among(connection, purged_devices.c.device_num, numbers)
        return set(connection.execute(select(column).where(wanted)).scalars())

    await database.write(prepare)
    assert await database.read(found, [*names, "none"]) == set(names)
    assert await database.read(found, ["a" * 64, "a"]) == set()
    assert await database.read(found, []) == set()
    assert await database.read(numbered, [0, 2, 7]) == {names[0], names[2]}


async def test_a_row_that_the_database_refuses_is_an_error_of_the_database(database):
    def twice(connection):
        row = connection.execute(select(registry_state)).one()
        insert_rows(connection, registry_state, [column.name for column in registry_state.c], [tuple(row)])

    with pytest.raises(DBAPIError):
        await database.write(twice)
    await database.write(lambda connection: None)
