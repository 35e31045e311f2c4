"""What ends by itself when its time is over, on a clock that is set: answers to request ids, deleted things."""

import pytest

from registry.audit.event import Origin
from registry.audit.log import recorded
from registry.db import audit as db_audit
from registry.db import request_ids, sequence
from registry.db.engine import Database, sqlite_url
from registry.db.request_ids import Answered
from registry.devices import catalogue, fleet, lifecycle
from registry.devices.model import DeviceSpec, TypeSpec
from registry.devices.placements import list_placements
from registry.errors import NotFoundError
from registry.sites import sites
from registry.sites.model import SiteSpec

DAY_MS = 86_400_000
ORIGIN = Origin("internal", "purge")


class Clock:
    now_ms = 1_790_000_000_000


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sequence, "now_ms", lambda: clock.now_ms)
    return clock


@pytest.fixture
async def database(tmp_path, new_database, clock):
    opened = Database(new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(tmp_path / "registry.db"))
    await opened.open()
    yield opened
    opened.close()


async def test_an_answer_is_remembered_for_a_day_and_no_longer(database, clock):
    given = Answered("method", b"x" * 32, b"answer")
    await database.write(request_ids.insert_answer, "accounts/an", "id", given, clock.now_ms)
    for later_ms, found in ((DAY_MS, given), (DAY_MS + 1, None)):
        since_ms = clock.now_ms + later_ms - DAY_MS
        assert await database.read(request_ids.find_answer, "accounts/an", "id", since_ms) == found
    assert await database.write(request_ids.forget_before, clock.now_ms) == 0
    assert await database.write(request_ids.forget_before, clock.now_ms + 1) == 1
    assert await database.read(request_ids.find_answer, "accounts/an", "id", 0) is None


async def test_what_was_deleted_is_gone_after_thirty_days_and_the_log_names_it(database, clock):
    await database.write(catalogue.apply_type, TypeSpec("gauge", expected_interval_s=60), "")
    await database.write(sites.create_site, SiteSpec("pole", latitude=21.0, longitude=105.8))
    for device_id in ("kept", "gone"):
        await database.write(fleet.create_device, DeviceSpec(device_id, "gauge", site_id="pole"), "")
    await database.write(lifecycle.decommission_device, "kept", "")
    await database.write(lifecycle.delete_device, "gone", "")
    await database.write(sites.delete_site, "pole", "")
    before = await database.read(fleet.get_device, "kept")
    clock.now_ms += 30 * DAY_MS - 1
    for purge in (lifecycle.purge_due, sites.purge_due):
        assert await database.write(recorded, ORIGIN, purge) == 0
    clock.now_ms += 1
    for purge, told in ((lifecycle.purge_due, '"devices":["gone"]'), (sites.purge_due, '"sites":["pole"]')):
        assert await database.write(recorded, ORIGIN, purge) == 1
        assert await database.write(recorded, ORIGIN, purge) == 0
        last = await database.read(db_audit.last_event)
        assert told in (await database.read(db_audit.find_event, last.event_num)).after
    for work, name in ((fleet.get_device, "gone"), (sites.get_site, "pole")):
        with pytest.raises(NotFoundError):
            await database.read(work, name)
    # Who is left has another version, and remembers where it was.
    after = await database.read(fleet.get_device, "kept")
    assert (after.spec.site_id, after.placed) == ("", before.placed)
    assert after.revision > before.revision
    placements = await database.read(list_placements, after, 0, 10)
    assert [placement.site_id for _, placement in placements] == ["", "pole"]
