"""How many devices have a label is kept with each change; a list ordered by a label that all have begins at once."""

import pytest
from sqlalchemy import func, select

from registry.db import device_pages, label_keys
from registry.db import devices as db
from registry.db.engine import Database, sqlite_url
from registry.db.schema import device_labels, devices
from registry.db.schema import label_keys as kept
from registry.devices import catalogue, fleet, lifecycle
from registry.devices.model import DeviceSpec, TypeSpec
from registry.devices.selection import selected
from registry.filter.fields import DEVICES
from registry.filter.order import order_of

NOW_MS = 1_800_000_000_000


@pytest.fixture
async def database(tmp_path, new_database):
    url = new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(tmp_path / "registry.db")
    opened = Database(url)
    await opened.open()
    await opened.write(catalogue.apply_type, TypeSpec("gauge"), "")
    specs = [
        DeviceSpec(f"d-{at}", "gauge", labels={"owner": "ab"[at % 2], **({"a": "1"} if at else {})}) for at in range(9)
    ]
    await opened.write(fleet.create_devices, [fleet.Creation(spec) for spec in specs])
    yield opened
    opened.close()


def counted(connection) -> dict[str, int]:
    """What there is, by counting; and it is what is kept."""
    labels = device_labels.c
    query = select(labels.key, func.count()).where(labels.value != "").group_by(labels.key)
    found = {row[0]: row[1] for row in connection.execute(query)}
    found[""] = connection.execute(select(func.count()).select_from(devices)).scalar_one()
    stored = connection.execute(select(kept.c.key, kept.c.devices).where(kept.c.devices != 0))
    assert {row[0]: row[1] for row in stored} == found
    return found


def relabel(device_id, labels):
    def change(connection):
        given = DeviceSpec(device_id, "gauge", labels=labels)
        fleet.update_device(connection, fleet.Change(given, frozenset({"labels"}), frozenset(), "", False))

    return change


async def test_what_is_kept_is_what_there_is(database):
    assert await database.read(counted) == {"": 9, "owner": 9, "a": 8}
    await database.write(relabel("d-1", {"owner": "", "b": "x"}))
    assert await database.read(counted) == {"": 9, "owner": 8, "a": 7, "b": 1}
    await database.write(relabel("d-1", {"owner": "c", "b": "y"}))
    assert await database.read(counted) == {"": 9, "owner": 9, "a": 7, "b": 1}
    await database.write(lifecycle.delete_device, "d-1", "")
    assert (await database.read(counted))["b"] == 1
    await database.write(lifecycle.purge_devices, ["d-1"])
    assert await database.read(counted) == {"": 8, "owner": 8, "a": 7}


async def test_devices_without_a_label_are_looked_for_unless_all_have_it(database, monkeypatch):
    for name, value in {"_SEARCH_S": 0.0, "_FEW": 0, "_SORTED": 0, "_FIRST": 3, "_LEAST": 3}.items():
        monkeypatch.setattr(device_pages, name, value)

    def first_page(connection, order_by):
        order = order_of(order_by, DEVICES)
        page = device_pages.find_page(connection, selected(connection, "", NOW_MS), order, None, 2, NOW_MS)
        by_num = db.devices_by_num(connection, [found.device_num for found in page.found])
        return [by_num[found.device_num].spec.device_id for found in page.found]

    assert await database.read(label_keys.have_all, "owner")
    assert not await database.read(label_keys.have_all, "a")
    assert not await database.read(label_keys.have_all, "nobody")
    assert await database.read(first_page, "labels.owner") == ["d-0", "d-2"]
    assert await database.read(first_page, "labels.a") == ["d-0"]
    await database.write(relabel("d-8", {}))
    assert not await database.read(label_keys.have_all, "owner")
    assert await database.read(first_page, "labels.owner") == []
