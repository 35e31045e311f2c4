"""Lists of a long audit log, on both databases: made piece by piece they hold what a walk in memory finds, and what is
rare is found by an index."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event, text

from registry.audit.event import Event, Origin
from registry.db import audit as db
from registry.db import audit_list
from registry.db.engine import Database, sqlite_url
from registry.filter.check import condition_of
from registry.filter.evaluate import holds
from registry.filter.fields import AUDIT_EVENTS

START_MS = 1_800_000_000_000
SERVICE = "cityfleet.registry.v1.DeviceService"
EVENTS = [
    Event(
        number,
        START_MS + number // 3 * 1000,
        Origin(
            "accounts/rare" if number == 1777 else ["internal", "accounts/an", "accounts/đỗ"][number % 3],
            f"{SERVICE}/{'PurgeAll' if number == 901 else ['UpdateDevice', 'CreateDevice'][number % 2]}",
            f"127.0.0.1:{number % 7}",
            f"7f0c2a5e-0000-4000-8000-{number:012d}" if number % 4 else "",
        ),
        f"devices/d-{number % 300}" if number != 333 else "sites/only",
        "",
        '{"site":"x"}',
        "OK" if number % 50 else "PERMISSION_DENIED ROLE_REQUIRED",
        number.to_bytes(32, "big"),
    )
    # The first hundred were removed when their time was over.
    for number in range(101, 2101)
]
LATE = "event_time > '2027-01-15T08:11:00Z'"
FILTERS = [
    "",
    "result != OK",
    "result = OK AND resource:d-25",
    "result > OL OR result = 'PERM*'",
    f"result != OK AND method = '{SERVICE}/UpdateDevice'",
    "resource = 'devices/d-7' AND method:create",
    "request_id = '7f0c2a5e-0000-4000-8000-000000000333'",
    "request_id = '7f0c2a5e-0000-4000-8000-000000000000'",
    "NOT request_id:* AND actor = 'accounts/an'",
    "actor = 'accounts/rare' OR method = '*/PurgeAll'",
    f"method = '{SERVICE}/PurgeAll'",
    "resource = 'sites/*'",
    "event_time > '2027-01-15T08:05:00Z' AND peer = '*:3'",
    "event_time <= '2027-01-15T08:05:00Z' AND event_time > '2027-01-15T08:04:59Z'",
    "event_time > '2100-01-01T00:00:00Z'",
    "event_time < '1999-01-01T00:00:00Z'",
]


@pytest.fixture
async def database(new_database, tmp_path) -> AsyncIterator[Database]:
    path = tmp_path / "registry.db"
    opened = Database(new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(path))
    await opened.open()
    await opened.write(db.insert_events, EVENTS)
    yield opened
    opened.close()


def pages(connection, condition, limit: int, *, newest_first: bool) -> list[list[int]]:
    found, after = [], None
    while True:
        page = audit_list.list_events(connection, condition, after, limit, newest_first=newest_first)
        found.append([event.event_num for event in page.events])
        assert all(event == EVENTS[event.event_num - 101] for event in page.events)
        if page.end is None:
            return found
        assert page.end.event_num != after
        assert page.end.event_time_ms == EVENTS[page.end.event_num - 101].event_time_ms
        after = page.end.event_num


@pytest.mark.parametrize("newest_first", [True, False])
async def test_pieces_together_are_the_whole(database, monkeypatch, newest_first):
    expected = {}
    for filter_text in FILTERS:
        condition = condition_of(filter_text, AUDIT_EVENTS, START_MS)
        rows = [
            (one, {name: getattr(one.origin, name, getattr(one, name, "")) for name in AUDIT_EVENTS.fields})
            for one in EVENTS
        ]
        nums = [
            one.event_num
            for one, row in rows
            if holds(condition, row | {"event_time": one.event_time_ms}, lambda *_: False)
        ]
        expected[filter_text] = nums[::-1] if newest_first else nums
    assert len(expected["event_time <= '2027-01-15T08:05:00Z' AND event_time > '2027-01-15T08:04:59Z'"]) == 3

    def compare(connection, limit: int) -> set[int]:
        sizes = set()
        for filter_text, nums in expected.items():
            condition = condition_of(filter_text, AUDIT_EVENTS, START_MS)
            found = pages(connection, condition, limit, newest_first=newest_first)
            assert [num for page in found for num in page] == nums, filter_text
            sizes |= {len(page) for page in found}
        return sizes

    await database.read(compare, 1000)
    # As if each event were thousands, and the clock had run out.
    monkeypatch.setattr(audit_list, "PIECE", 37)
    monkeypatch.setattr(audit_list, "BUDGET_S", 0.0)
    sizes = await database.read(compare, 5)
    assert {0, 1, 5} < sizes <= {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("filter_text", "index"),
    [
        (f"request_id = '{EVENTS[332 - 100].origin.request_id}'", "ix_audit_events_request"),
        (f"method = '{SERVICE}/PurgeAll'", "ix_audit_events_method"),
        ("resource = 'sites/only'", "ix_audit_events_resource"),
        ("actor = 'accounts/rare'", "ix_audit_events_actor"),
        (f"result != OK AND resource = 'devices/d-250' AND {LATE}", "ix_audit_events_resource"),
        ("result = 'PERMISSION_*' AND event_time > '2027-01-15T08:11:30Z'", "ix_audit_events_refused"),
        (f"NOT (result = OK OR peer = '127.0.0.1:5') AND resource:250 AND {LATE}", "ix_audit_events_refused"),
    ],
)
async def test_what_is_rare_is_found_by_an_index(database, monkeypatch, filter_text, index):
    monkeypatch.setattr(audit_list, "PIECE", 20)  # of so few events PostgreSQL would rather read all
    await database.write(lambda connection: connection.execute(text("ANALYZE")) and None)
    condition = condition_of(filter_text, AUDIT_EVENTS, START_MS)

    def plans(connection) -> list[str]:
        asked = []

        def note(_, cursor, statement, parameters, *rest) -> None:
            asked.append((statement, parameters))

        event.listen(connection, "before_cursor_execute", note)
        page = audit_list.list_events(connection, condition, None, 10, newest_first=True)
        event.remove(connection, "before_cursor_execute", note)
        assert len(page.events) == 1
        prefix = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
        whole = [(statement, given) for statement, given in asked if "chain_sha256" in statement]
        return [str(connection.exec_driver_sql(prefix + statement, given).all()) for statement, given in whole]

    (plan,) = await database.read(plans)
    assert index in plan
