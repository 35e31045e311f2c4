"""Devices that were never heard are kept apart, with every change; lists begin at once where nothing is absent."""

import pytest
from sqlalchemy import select

from registry.db import device_pages
from registry.db import devices as db
from registry.db.engine import Database, sqlite_url
from registry.db.schema import device_state, devices, unheard_devices
from registry.devices import catalogue, fleet, lifecycle
from registry.devices.model import DeviceSpec, TypeSpec
from registry.devices.selection import selected
from registry.filter.fields import DEVICES
from registry.filter.order import order_of
from registry.sites import sites
from registry.sites.model import SiteSpec
from registry.state.model import Document, Report
from registry.state.reports import take_reports

T = 1_790_000_000_000


@pytest.fixture
async def database(tmp_path, new_database):
    url = new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(tmp_path / "registry.db")
    opened = Database(url)
    await opened.open()
    for kind in ("gauge", "rain"):
        await opened.write(catalogue.apply_type, TypeSpec(kind), "")
    await opened.write(sites.create_site, SiteSpec("s-1"))
    specs = [DeviceSpec(f"d-{at}", "gauge", external_id=f"E{at}", site_id="s-1") for at in range(1, 10)]
    await opened.write(fleet.create_devices, [fleet.Creation(spec) for spec in specs])
    yield opened
    opened.close()


def unheard(connection) -> list[int]:
    """What is kept, and it is what there is; with the types that the devices have."""
    types, kept, heard = (
        {row.device_num: row.type_num for row in connection.execute(select(table.c.device_num, table.c.type_num))}
        for table in (devices, unheard_devices, device_state)
    )
    assert not kept.keys() & heard.keys()
    assert kept | heard == types
    return sorted(kept)


def retype(device_id):
    def change(connection):
        given = DeviceSpec(device_id, "rain")
        fleet.update_device(connection, fleet.Change(given, frozenset({"device_type"}), frozenset(), "", False))

    return change


async def heard(database, *numbers):
    reports = [
        Report(number, last_seen_ms=T, last_reading_ms=T, document=Document("{}", T, firmware_version="1.0"))
        for number in numbers
    ]
    await database.write(take_reports, "a", "1", reports)


async def test_what_is_kept_is_what_there_is(database):
    assert await database.read(unheard) == list(range(1, 10))
    await heard(database, 1, 2, 77)
    await heard(database, 2, 3)
    assert await database.read(unheard) == list(range(4, 10))
    for device_id in ("d-1", "d-9"):
        await database.write(retype(device_id))
    assert await database.read(unheard) == list(range(4, 10))
    for device_id in ("d-2", "d-8"):
        await database.write(lifecycle.delete_device, device_id, "")
    assert await database.read(unheard) == list(range(4, 10))
    await database.write(lifecycle.purge_devices, ["d-2", "d-8"])
    assert await database.read(unheard) == [4, 5, 6, 7, 9]


ORDERS = (
    "reported.last_seen_time",
    "reported.last_reading_time",
    "reported.firmware_version",
    "external_id",
)


async def test_a_list_that_nobody_is_absent_of_begins_at_once(database, monkeypatch):
    await heard(database, *range(1, 10))
    # As if three devices were thousands, and the clock had run out.
    for name, value in {"_SEARCH_S": 0.0, "_FEW": 0, "_SORTED": 1, "_FIRST": 3, "_LEAST": 3}.items():
        monkeypatch.setattr(device_pages, name, value)

    def first_page(connection, order_by, filter_text=""):
        order = order_of(order_by, DEVICES)
        page = device_pages.find_page(connection, selected(connection, filter_text, T), order, None, 2, T)
        by_num = db.devices_by_num(connection, [found.device_num for found in page.found])
        return [by_num[found.device_num].spec.device_id for found in page.found]

    for order_by in ORDERS:
        assert await database.read(first_page, order_by) == ["d-1", "d-2"], order_by
    assert await database.read(first_page, "", "connectivity = never_seen") == []
    # The last of all, that is found by an index too.
    specs = [DeviceSpec(f"e-{at}", "gauge", external_id=f"F{at}", site_id="s-1") for at in range(9)]
    await database.write(fleet.create_devices, [fleet.Creation(spec) for spec in [*specs, DeviceSpec("f", "gauge")]])
    await heard(database, *range(10, 19))
    for order_by in (*ORDERS, "site_id", "site_id, device_id"):
        assert (await database.read(first_page, order_by))[:1] == ["f"], order_by
    assert await database.read(first_page, "", "connectivity = never_seen") == ["f"]
