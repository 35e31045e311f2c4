"""Connectivity and health: what SQL says on both databases is what the plain rules say, for every kind of device."""

import itertools

import pytest
from sqlalchemy import insert, select

from registry.db import liveness
from registry.db.engine import Database, sqlite_url
from registry.db.schema import device_state, device_types, devices
from registry.devices import catalogue, fleet
from registry.devices.model import DeviceSpec, TypeSpec
from registry.state.model import (
    GRACE_MS,
    Connectivity,
    Health,
    Reported,
    connectivity,
    health,
    judge,
    late_after_ms,
    silent_after_ms,
)

NOW_MS = 1_790_000_000_000
INTERVALS_S = (0, 1, 60, 86_400)


def ages(interval_s):
    """On both sides of every limit."""
    limits = {0, GRACE_MS, late_after_ms(600)}
    limits |= {late_after_ms(interval_s), silent_after_ms(interval_s)}
    return [None, *sorted({limit + more for limit in limits for more in (-1, 0, 1)})]


def cases():
    for interval_s in INTERVALS_S:
        yield interval_s, None
        for is_connected, seen, read in itertools.product((True, False), ages(interval_s), ages(interval_s)):
            yield (
                interval_s,
                Reported(
                    is_connected=is_connected,
                    connect_time_ms=None,
                    disconnect_time_ms=None,
                    disconnect_reason="",
                    last_seen_ms=None if seen is None else NOW_MS - seen,
                    last_reading_ms=None if read is None else NOW_MS - read,
                    firmware_version="",
                    config_version=0,
                    hardware_revision="",
                ),
            )


def put(connection, reported):
    for interval_s in INTERVALS_S:
        catalogue.apply_type(connection, TypeSpec(f"every-{interval_s}", expected_interval_s=interval_s), "")
    rows = []
    for number, (interval_s, one) in enumerate(reported, 1):
        fleet.create_device(connection, DeviceSpec(f"d-{number}", f"every-{interval_s}"), "")
        if one is not None:
            columns = {name: getattr(one, name) for name in one.__struct_fields__}
            rows.append({"device_num": number, "type_num": 1, "node": "", "revision": 0, **columns})
    connection.execute(insert(device_state), rows)


def judged(connection):
    query = (
        select(devices.c.device_num, liveness.connectivity(NOW_MS), liveness.health(NOW_MS))
        .join(device_types, device_types.c.type_num == devices.c.type_num)
        .outerjoin(device_state, liveness.JOINED)
        .order_by(devices.c.device_num)
    )
    return [tuple(row) for row in connection.execute(query)]


@pytest.fixture
async def database(tmp_path, new_database):
    url = new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(tmp_path / "registry.db")
    opened = Database(url)
    await opened.open()
    yield opened
    opened.close()


async def test_sql_and_python_judge_alike(database):
    every = list(cases())
    await database.write(put, every)
    expected = [
        (number, connectivity(one, interval_s, NOW_MS), health(one, interval_s, NOW_MS))
        for number, (interval_s, one) in enumerate(every, 1)
    ]
    assert await database.read(judged) == expected
    assert {row[1] for row in expected} == set(Connectivity)
    assert {row[2] for row in expected} == set(Health)


def test_a_silent_device_behind_a_silent_gateway_says_so():
    silent = Reported(False, None, None, "", NOW_MS - 400_000, NOW_MS - 400_000, "", 0, "")
    assert judge(silent, 60, Connectivity.OFFLINE, NOW_MS).reasons == ("LATE", "GATEWAY_OFFLINE")
    assert judge(silent, 60, Connectivity.ONLINE, NOW_MS).reasons == ("LATE",)
    assert judge(silent, 0, Connectivity.OFFLINE, NOW_MS).reasons == ()


def test_a_device_that_left_says_so():
    left = Reported(False, 1, NOW_MS - 400_000, "timeout", NOW_MS - 400_000, None, "", 0, "")
    assert judge(left, 60, None, NOW_MS).reasons == ("NO_READING", "DISCONNECTED")
