"""The audit log as a chain: what was done to it behind the registry's back is found, and only that."""

import asyncio
import hashlib
import json
import shutil

import msgspec
import pytest
from sqlalchemy import delete, insert, select, update

from registry.api import refusals
from registry.audit import verify
from registry.audit.event import Origin, beginning, chained
from registry.audit.log import append, append_refusal, recorded
from registry.audit.record import Change, changed, noting
from registry.db import audit as db
from registry.db import sequence
from registry.db.engine import Database, sqlite_url
from registry.db.schema import audit_events, registry_state
from registry.errors import NotFoundError

ORIGIN = Origin("accounts/lan", "cityfleet.registry.v1.SiteService/UpdateSite", "[::1]:4711", "an-id")
NASTY = 'Cầu "Long Biên"\n\t\\ \x7f\u2028 𝄞 \x00'


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A database with its tables, for each test to copy."""
    path = tmp_path_factory.mktemp("audit") / "registry.db"

    async def make():
        made = Database(sqlite_url(path))
        await made.open()
        made.close()

    asyncio.run(make())
    return path


@pytest.fixture
async def database(tmp_path, empty):
    shutil.copy(empty, tmp_path)
    opened = Database(sqlite_url(tmp_path / empty.name))
    yield opened
    opened.close()


@pytest.fixture
async def ten(database):
    """A log of ten events, in four transactions."""
    for count in (1, 2, 3, 4):
        changes = [Change(f"sites/s-{at}", {"display_name": NASTY}, {"display_name": "b"}) for at in range(count)]
        await database.write(append, ORIGIN, changes)
    return database


async def checked(database, known_event=0, known_chain=b""):
    walk = await database.read(verify.start)
    while not walk.is_over:
        walk = await database.read(verify.go_on, walk)
    return await database.read(verify.compare, walk, known_event, known_chain)


async def behind_its_back(database, statement):
    await database.write(lambda connection: connection.execute(statement))


def test_the_chain_is_what_the_documentation_says():
    event = verify_event(7, "x")
    fields = [7, 1000, "accounts/lan", "[::1]:4711", ORIGIN.method, "an-id", "sites/x", NASTY, "x", "OK"]
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    assert chained(b"\1" * 32, event) == hashlib.sha256(b"\1" * 32 + text.encode()).digest()
    assert beginning("abc").chain_sha256 == hashlib.sha256(b"cityfleet audit log of abc").digest()


def verify_event(number, after):
    return msgspec.convert(
        {
            "event_num": number,
            "event_time_ms": 1000,
            "origin": ORIGIN,
            "resource": "sites/x",
            "before": NASTY,
            "after": after,
            "result": "OK",
        },
        db.Event,
    )


async def test_a_log_that_nobody_touched_is_sound(ten):
    walk = await checked(ten)
    assert (walk.events, walk.first_broken, walk.problem, walk.last.event_num) == (10, 0, "", 10)


async def test_an_empty_log_is_sound(database):
    walk = await checked(database)
    assert (walk.events, walk.first_broken) == (0, 0)


@pytest.mark.parametrize("at_once", [1, 3, 10])
async def test_it_does_not_matter_how_many_are_checked_at_once(ten, monkeypatch, at_once):
    monkeypatch.setattr(verify, "CHECKED_AT_ONCE", at_once)
    assert (await checked(ten)).events == 10


@pytest.mark.parametrize("column", [column.name for column in audit_events.columns if column.name != "event_num"])
async def test_an_event_that_was_changed_is_found(ten, column):
    other = b"\0" * 32 if column == "chain_sha256" else 1 if column == "event_time_ms" else "another"
    await behind_its_back(ten, update(audit_events).where(audit_events.c.event_num == 4).values({column: other}))
    walk = await checked(ten)
    assert (walk.first_broken, walk.events) == (4, 3)


@pytest.mark.parametrize(("gone", "broken"), [((1,), 1), ((5,), 5), ((1, 2, 3), 1), ((6, 7), 6)])
async def test_an_event_that_was_taken_out_is_found(ten, gone, broken):
    await behind_its_back(ten, delete(audit_events).where(audit_events.c.event_num.in_(gone)))
    walk = await checked(ten)
    assert walk.first_broken == broken
    assert "is missing" in walk.problem


async def test_an_event_that_was_put_in_is_found(ten):
    row = (await ten.read(lambda connection: connection.execute(select(audit_events).limit(1)).one()))._asdict()
    await behind_its_back(ten, insert(audit_events).values(row | {"event_num": 11, "actor": "accounts/someone"}))
    assert (await checked(ten)).first_broken == 11


async def test_a_log_that_was_cut_short_is_found_by_what_was_kept_elsewhere(ten):
    kept = await ten.read(db.last_event)
    assert (await checked(ten, kept.event_num, kept.chain_sha256)).first_broken == 0
    await behind_its_back(ten, delete(audit_events).where(audit_events.c.event_num > 8))
    assert (await checked(ten)).first_broken == 0
    assert (await checked(ten, kept.event_num, kept.chain_sha256)).first_broken == 9


async def test_a_log_that_was_written_anew_is_found_by_what_was_kept_elsewhere(ten):
    kept = await ten.read(db.last_event)
    await behind_its_back(ten, delete(audit_events).where(audit_events.c.event_num > 5))
    await ten.write(append, ORIGIN, [Change("sites/s", None, {"n": at}) for at in range(7)])
    assert (await checked(ten)).first_broken == 0
    assert (await checked(ten, kept.event_num, kept.chain_sha256)).first_broken == kept.event_num


async def test_the_log_of_another_registry_is_not_this_ones(ten):
    await behind_its_back(ten, update(registry_state).values(registry_id="another"))
    assert (await checked(ten)).first_broken == 1


async def aged(database, monkeypatch, days):
    """A day's events each for `days` days, today the last of them."""
    today_ms = sequence.now_ms()
    for day in range(days, -1, -1):
        monkeypatch.setattr(sequence, "now_ms", lambda day=day: today_ms - day * verify.DAY_MS)
        await database.write(append, ORIGIN, [Change("sites/s", None, {"day": day})] * 2)


async def test_old_events_are_removed_and_the_rest_is_sound(database, monkeypatch):
    await aged(database, monkeypatch, 10)
    kept = await database.read(db.last_event)
    monkeypatch.setattr(verify, "REMOVED_AT_ONCE", 3)
    while await database.write(verify.remove_old, 4):
        pass
    events = await database.read(db.events_after, 0, 100)
    days = [json.loads(event.after)["day"] for event in events if event.after]
    assert days == [4, 4, 3, 3, 2, 2, 1, 1, 0, 0]
    assert {event.resource for event in events if not event.after} == {verify.LOG}
    walk = await checked(database, kept.event_num, kept.chain_sha256)
    assert (walk.first_broken, walk.events) == (0, len(events))
    assert not await database.write(verify.remove_old, 4)


async def test_a_log_of_nothing_but_old_events_goes_on_where_it_was(database, monkeypatch):
    await aged(database, monkeypatch, 3)
    last = await database.read(db.last_event)
    later_ms = last.event_time_ms + 100 * verify.DAY_MS
    monkeypatch.setattr(sequence, "now_ms", lambda: later_ms)
    assert await database.write(verify.remove_old, 4) == last.event_num
    await database.write(append, ORIGIN, [Change("sites/s", None, {})])
    events = await database.read(db.events_after, 0, 100)
    assert [event.event_num for event in events] == [last.event_num + 1, last.event_num + 2]
    assert (await checked(database)).first_broken == 0


async def test_what_was_removed_beyond_the_old_is_found(database, monkeypatch):
    await aged(database, monkeypatch, 10)
    await database.write(verify.remove_old, 4)
    first = (await database.read(db.events_after, 0, 1))[0].event_num
    await behind_its_back(database, delete(audit_events).where(audit_events.c.event_num == first))
    assert (await checked(database)).first_broken


async def test_nobody_can_pass_a_refusal_off_as_a_removal(database, monkeypatch):
    await aged(database, monkeypatch, 10)
    await database.write(verify.remove_old, 4)
    await database.write(append_refusal, ORIGIN, verify.LOG, "NOT_FOUND NOT_FOUND")
    assert (await checked(database)).first_broken == 0


async def test_times_never_go_back(ten, monkeypatch):
    monkeypatch.setattr(sequence, "now_ms", lambda: 5)
    await ten.write(append, ORIGIN, [Change("sites/s", None, {})])
    events = await ten.read(db.events_after, 8, 10)
    assert events[-1].event_time_ms == events[0].event_time_ms > 5


async def test_a_change_and_its_event_are_there_both_or_neither(database):
    def work(connection):
        changed("sites/s", None, {"a": 1})
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        await database.write(recorded, ORIGIN, work)
    assert await database.read(db.last_event) is None


async def test_what_is_noted_apart_is_logged_once_by_whoever_sums_it_up(database):
    def work(connection):
        with noting() as apart:
            changed("sites/a", None, {"a": 1})
            changed("sites/b", None, {"b": 1})
        changed("sites", None, {"created": len(apart)})
        changed("sites/c", {"c": 1}, {"c": 1})  # no change

    await database.write(recorded, ORIGIN, work)
    events = await database.read(db.events_after, 0, 10)
    assert [(event.resource, event.after) for event in events] == [("sites", '{"created":2}')]


async def test_what_a_caller_sends_becomes_a_short_line(database):
    origin = Origin("accounts/lan", "x/Delete", "unix:" + "p" * 500, "\0\n" + "r" * 500)
    await database.write(append_refusal, origin, "devices/\0\x1b[31m" + "n" * 500, "NOT_FOUND " + "R" * 500)
    (event,) = await database.read(db.events_after, 0, 10)
    assert event.resource.startswith("devices/??[31mnnn")
    lengths = [len(text) for text in (event.resource, event.origin.peer, event.origin.request_id, event.result)]
    assert lengths == [191, 191, 63, 127]
    assert (await checked(database)).first_broken == 0


async def test_refusals_of_one_caller_are_counted_when_there_are_too_many(database, monkeypatch):
    monkeypatch.setattr(refusals, "LOGGED_AT_ONCE", 2)
    noted = refusals.Refusals(database)
    for _ in range(5):
        await noted.note(ORIGIN, None, NotFoundError("there is none"))
    await noted.note(Origin("accounts/nga", ORIGIN.method), None, NotFoundError("there is none"))
    monkeypatch.setattr(refusals, "PERIOD_S", 0.0)
    await noted.note(ORIGIN, None, NotFoundError("there is none"))
    events = await database.read(db.events_after, 0, 10)
    assert [event.origin.actor for event in events] == ["accounts/lan", "accounts/lan", "accounts/nga", "accounts/lan"]
    assert [event.after for event in events] == ["", "", "", '{"refusals_not_recorded":3}']
    assert {event.result for event in events} == {"NOT_FOUND NOT_FOUND"}
