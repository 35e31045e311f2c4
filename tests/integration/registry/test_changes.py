"""What a watcher of devices has to look at again: each change once, and every device that the clock alone changed."""

import pytest

from registry.db import changes, states
from registry.db.changes import Change
from registry.db.engine import Database, sqlite_url
from registry.devices import catalogue, fleet
from registry.devices.model import DeviceSpec, TypeSpec
from registry.state.model import Report, connectivity, health
from registry.state.reports import take_reports

T = 1_790_000_000_000
INTERVALS_S = (0, 60, 60, 900)


@pytest.fixture
async def database(tmp_path, new_database):
    url = new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(tmp_path / "registry.db")
    opened = Database(url)
    await opened.open()
    for interval_s in set(INTERVALS_S):
        await opened.write(catalogue.apply_type, TypeSpec(f"every-{interval_s}", expected_interval_s=interval_s), "")
    for number, interval_s in enumerate(INTERVALS_S, 1):
        spec = DeviceSpec(f"d-{number}", f"every-{interval_s}")
        await opened.write(fleet.create_device, spec, "")
    yield opened
    opened.close()


async def test_changes_come_in_pieces_and_each_once(database):
    await database.write(take_reports, "a", "1", [Report(number, last_seen_ms=T) for number in (1, 2, 3)])
    whole = await database.read(changes.changes_after, Change(0, 0), 100)
    assert [change.device_num for change in whole] == [1, 2, 3, 4, 1, 2, 3]
    assert len({change.revision for change in whole[4:]}) == 1
    pieces, at = [], Change(0, 0)
    while piece := await database.read(changes.changes_after, at, 2):
        pieces += piece
        at = piece[-1]
    assert pieces == whole
    assert await database.read(changes.changes_after, whole[-1], 2) == []


async def test_the_clock_alone_changes_what_the_rules_say_it_does(database):
    await database.write(
        take_reports,
        "a",
        "1",
        [
            Report(1, last_seen_ms=T),
            Report(2, last_seen_ms=T + 100_000, last_reading_ms=T),
            Report(3, last_seen_ms=T, last_reading_ms=T),
            Report(4, last_seen_ms=T, last_reading_ms=T),
        ],
    )
    known = await database.read(states.known_of, [1, 2, 3, 4], T)

    def judged(at_ms):
        return {
            number: (connectivity(one.reported, one.interval_s, at_ms), health(one.reported, one.interval_s, at_ms))
            for number, one in known.items()
        }

    moved = set()
    for from_ms in range(T, T + 6_000_000, 15_000):
        to_ms = from_ms + 15_000
        before, after = judged(from_ms), judged(to_ms)
        expected = [number for number in sorted(known) if before[number] != after[number]]
        assert await database.read(changes.fell_silent, from_ms, to_ms, 0, 100) == expected
        moved |= set(expected)
    assert moved == {1, 2, 3, 4}


async def test_who_fell_silent_comes_in_pieces(database):
    reports = [Report(number, last_seen_ms=T, last_reading_ms=T) for number in (1, 2, 3, 4)]
    await database.write(take_reports, "a", "1", reports)
    assert await database.read(changes.fell_silent, T, T + 10**8, 0, 3) == [1, 2, 3]
    assert await database.read(changes.fell_silent, T, T + 10**8, 3, 3) == [4]
