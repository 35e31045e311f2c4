"""Counts of all devices by firmware come from the states alone, and are those that a pass through all devices gives."""

import pytest

from registry.db.engine import Database, sqlite_url
from registry.devices import catalogue, fleet, lifecycle, listing
from registry.devices.model import DeviceSpec, TypeSpec
from registry.filter.fields import DEVICES
from registry.filter.order import order_of
from registry.state.model import Document, Report
from registry.state.reports import take_reports

T = 1_790_000_000_000
TOLD = ["2.4.1", "", None, "2.4.1", "2.10", "beta", "2.4.1", None]


@pytest.fixture
async def database(tmp_path, new_database):
    url = new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(tmp_path / "registry.db")
    opened = Database(url)
    await opened.open()
    yield opened
    opened.close()


async def by_firmware(database, filter_text, max_groups=100):
    order = order_of("reported.firmware_version", DEVICES)
    return await database.read(listing.count_devices, filter_text, order, max_groups, T)


async def test_the_states_alone_give_the_same_counts(database):
    assert await by_firmware(database, "") == listing.Counts([], 0, 0)
    await database.write(catalogue.apply_type, TypeSpec("gauge"), "")
    specs = [DeviceSpec(f"d-{number}", "gauge") for number in range(1, len(TOLD) + 1)]
    await database.write(fleet.create_devices, [fleet.Creation(spec) for spec in specs])
    reports = [
        Report(number, last_seen_ms=T, document=Document("{}", T, firmware_version=told))
        for number, told in enumerate(TOLD, 1)
        if told is not None
    ]
    await database.write(take_reports, "a", "1", reports)
    for ended in (None, "d-6", "d-1", "d-3"):
        if ended:
            await database.write(lifecycle.delete_device, ended, "")
        # Which all pass, but nobody knows that before.
        whole = await by_firmware(database, "device_num > 0")
        assert await by_firmware(database, "") == whole
    assert whole.groups == [(("",), 2), (("2.4.1",), 2), (("2.10",), 1)]
    assert await by_firmware(database, "", 1) == listing.Counts(whole.groups[:1], 5, 3)
    assert (await by_firmware(database, "state = deleted")).total_devices == 3
