"""The rules of one watch, step by step on a clock that stands: silence, scopes, tokens, parts of many steps, purges."""

import pytest

from registry.access.caller import Bounds, Scope, acting_within
from registry.db import sequence
from registry.db.engine import Database, sqlite_url
from registry.devices import catalogue, fleet, lifecycle, watching
from registry.devices.model import DeviceSpec, TypeSpec
from registry.devices.watching import KEPT_MS, Watch
from registry.errors import ResumeTokenError
from registry.groups import groups
from registry.state.model import Health, Report, judge
from registry.state.reports import take_reports

LATE_MS, SILENT_MS = 120_000, 330_000  # of an interval of 60 s


class Clock:
    now_ms = 1_790_000_000_000


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sequence, "now_ms", lambda: clock.now_ms)
    return clock


@pytest.fixture
async def database(tmp_path, new_database, clock):
    url = new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(tmp_path / "registry.db")
    opened = Database(url)
    await opened.open()
    await opened.write(catalogue.apply_type, TypeSpec("gauge", expected_interval_s=60), "")
    for number in range(1, 8):
        spec = DeviceSpec(f"d-{number}", "gauge", ward_code="00070" if number % 2 else "00004")
        await opened.write(fleet.create_device, spec, "")
    yield opened
    opened.close()


async def begun(database, filter_text="", *, scope=None):
    """A watch after its snapshot, and the ids in that."""
    watch, ids = Watch(filter_text, with_documents=False), []
    await within(database, scope, watch.begin)
    while part := await within(database, scope, watch.snapshot_part):
        ids += [one.device.spec.device_id for one in part]
    return watch, ids


async def within(database, scope, work, *args):
    def run(connection):
        with acting_within(scope or Scope()):
            return work(connection, *args)

    return await database.read(run)


async def steps(database, watch, *, scope=None):
    """What comes until there is no more: ids with their health, ids removed, and the last token."""
    changed, removed = {}, []
    while True:
        step = await within(database, scope, watch.step)
        for one in step.changed:
            known = one.known
            changed[one.device.spec.device_id] = judge(known.reported, known.interval_s, None, one.now_ms).health
        removed += step.removed
        if step.is_last:
            return changed, removed, step.resume_token


def change(device_id, **fields):
    return fleet.Change(DeviceSpec(device_id, "gauge", **fields), frozenset(fields))


async def report(database, *reports):
    await database.write(take_reports, "a", "1", reports)


async def test_silence_is_told_as_it_comes(database, clock):
    start = clock.now_ms
    await report(database, *(Report(num, last_reading_ms=start) for num in (1, 2, 3)))
    watch, _ = await begun(database)
    good, _ = await begun(database, "health = good")
    assert await steps(database, watch) == ({}, [], watch.token())
    clock.now_ms = start + LATE_MS
    assert (await steps(database, watch))[:2] == ({}, [])
    clock.now_ms += 1
    late = dict.fromkeys(("d-1", "d-2", "d-3"), Health.DEGRADED)
    assert (await steps(database, watch))[:2] == (late, [])
    assert (await steps(database, watch))[:2] == ({}, [])
    assert (await steps(database, good))[:2] == ({}, ["d-1", "d-2", "d-3"])
    # Sent in time, but told late.
    await report(database, Report(2, last_reading_ms=start + 60_000))
    assert (await steps(database, watch))[:2] == ({"d-2": Health.GOOD}, [])
    assert (await steps(database, good))[:2] == ({"d-2": Health.GOOD}, [])
    clock.now_ms = start + SILENT_MS + 1
    assert (await steps(database, watch))[0] == {"d-1": Health.BAD, "d-2": Health.DEGRADED, "d-3": Health.BAD}


async def test_who_was_away_hears_who_fell_silent_meanwhile(database, clock, monkeypatch):
    monkeypatch.setattr(watching, "PART_DEVICES", 2)
    await report(database, *(Report(num, last_reading_ms=clock.now_ms) for num in range(1, 6)))
    watch, ids = await begun(database)
    assert len(ids) == 7
    token = watch.token()
    clock.now_ms += LATE_MS + 1
    resumed = Watch("", with_documents=False)
    await database.read(resumed.resume, token)
    first = await database.read(resumed.step)
    assert ([one.device.device_num for one in first.changed], first.is_last) == ([1, 2], False)
    # Between the steps more time passes, and the token of an unfinished pass begins it again.
    clock.now_ms += 1000
    rest, _, last = await steps(database, resumed)
    assert set(rest) == {"d-3", "d-4", "d-5"}
    for text, found in ((first.resume_token, {f"d-{num}" for num in range(1, 6)}), (last, set())):
        again = Watch("", with_documents=False)
        await database.read(again.resume, text)
        assert set((await steps(database, again))[0]) == found


async def test_another_interval_changes_every_device_of_the_type(database, clock, monkeypatch):
    monkeypatch.setattr(watching, "PART_DEVICES", 2)
    await database.write(catalogue.apply_type, TypeSpec("other", expected_interval_s=60), "")
    await database.write(fleet.create_device, DeviceSpec("o-1", "other"), "")
    await report(database, *(Report(num, last_reading_ms=clock.now_ms - LATE_MS - 1) for num in range(1, 8)))
    watch, _ = await begun(database)
    await database.write(catalogue.apply_type, TypeSpec("gauge", expected_interval_s=600), "")
    token = watch.token()
    step = await database.read(watch.step)
    assert (len(step.changed), step.resume_token, step.is_last) == (2, "", False)
    rest, removed, last = await steps(database, watch)
    assert (set(rest.values()), len(rest), removed) == ({Health.GOOD}, 5, [])
    for text, found in ((token, 7), (last, 0)):
        resumed = Watch("", with_documents=False)
        await database.read(resumed.resume, text)
        assert len((await steps(database, resumed))[0]) == found


async def test_a_group_that_changes_is_followed_in_parts(database, clock, monkeypatch):
    monkeypatch.setattr(watching, "PART_DEVICES", 2)
    await database.write(groups.create_group, "pilot", "", "")
    ids = [f"d-{number}" for number in range(1, 8)]
    await database.write(groups.modify_members, "pilot", ids[:5], [])
    watch, found = await begun(database, "in_group(pilot)")
    assert found == ids[:5]
    await database.write(groups.modify_members, "pilot", ids[5:], ids[:4])
    changed, removed, _ = await steps(database, watch)
    assert (set(changed), sorted(removed)) == (set(ids[5:]), ids[:4])
    assert (await steps(database, watch))[:2] == ({}, [])


async def test_who_sees_a_part_never_hears_of_the_rest(database):
    west = Scope((Bounds(frozenset(["00070"])),))
    watch, ids = await begun(database, scope=west)
    assert ids == ["d-1", "d-3", "d-5", "d-7"]
    await database.write(fleet.update_device, change("d-2", display_name="x"))
    await database.write(lifecycle.delete_device, "d-4", "")
    await database.write(fleet.update_device, change("d-1", ward_code="00004"))
    await database.write(fleet.update_device, change("d-6", ward_code="00070"))
    changed, removed, token = await steps(database, watch, scope=west)
    assert (set(changed), removed) == ({"d-6"}, ["d-1"])
    # What left his part while he was away could not be told from what was never in it.
    for scope in (west, Scope(())):
        with pytest.raises(ResumeTokenError):
            await within(database, scope, Watch("", with_documents=False).resume, token)
    with pytest.raises(ResumeTokenError) as other:
        await database.read(Watch("", with_documents=False).resume, token)
    assert other.value.reason == "RESUME_TOKEN_OF_OTHER_FILTER"


async def test_a_purge_is_the_end_for_who_watches_the_deleted(database):
    await database.write(lifecycle.delete_device, "d-3", "")
    watch, ids = await begun(database, "state = deleted")
    others, _ = await begun(database)
    assert ids == ["d-3"]
    await database.write(lifecycle.purge_devices, ["d-3"])
    assert (await steps(database, watch))[:2] == ({}, ["d-3"])
    assert (await steps(database, others))[:2] == ({}, [])


async def test_after_a_resume_each_that_does_not_match_is_removed_once(database):
    watch, _ = await begun(database, "ward_code = 00070")
    token = watch.token()
    for name in ("x", "y"):
        for device_id in ("d-1", "d-2"):
            await database.write(fleet.update_device, change(device_id, display_name=name))
        if name == "x":
            resumed = Watch("ward_code = 00070", with_documents=False)
            await database.read(resumed.resume, token)
        changed, removed, _ = await steps(database, resumed)
        assert (set(changed), removed) == ({"d-1"}, ["d-2"] if name == "x" else [])


async def test_ago_counts_from_the_beginning_of_the_watch(database, clock):
    watch, ids = await begun(database, 'create_time >= ago("1m")')
    assert len(ids) == 7
    clock.now_ms += 3_600_000
    await database.write(fleet.update_device, change("d-1", display_name="x"))
    assert set((await steps(database, watch))[0]) == {"d-1"}
    resumed = Watch('create_time >= ago("1m")', with_documents=False)
    await database.read(resumed.resume, watch.token())
    await database.write(fleet.update_device, change("d-2", display_name="x"))
    assert set((await steps(database, resumed))[0]) == {"d-2"}


async def test_a_token_ends_after_a_week(database, clock):
    watch, _ = await begun(database)
    token = watch.token()
    clock.now_ms += KEPT_MS
    await database.read(Watch("", with_documents=False).resume, token)
    clock.now_ms += 1
    with pytest.raises(ResumeTokenError) as old:
        await database.read(Watch("", with_documents=False).resume, token)
    assert old.value.reason == "RESUME_TOKEN_TOO_OLD"


async def test_a_token_of_a_future_that_was_put_back_is_refused(database):
    newer = Watch("", with_documents=False)
    await database.write(fleet.update_device, change("d-1", display_name="x"))
    await database.read(newer.begin)
    await database.write(lambda connection: connection.exec_driver_sql("UPDATE registry_state SET revision = 3"))
    with pytest.raises(ResumeTokenError):
        await database.read(Watch("", with_documents=False).resume, newer.token())
