"""The judge of the fault scenarios: it sees every reading that is gone, doubled, altered, made up, or in quarantine."""

import asyncio
import contextlib

import pytest

from loadtest.fault import checker
from loadtest.fault.devices import provision
from loadtest.fault.processes import Roles
from loadtest.fault.publisher import Fleet
from loadtest.fault.sequence import BASE_MS

PER_MESSAGE = 5
# The same rows go in and out several times.
INSERT = "INSERT INTO cityfleet.readings SETTINGS insert_deduplicate = 0"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A platform without faults, and a fleet that has published 200 messages of five readings."""

    async def publish(roles):
        await roles.up()
        tokens = await provision(roles, 2, 4, 2)
        async with Fleet(
            roles.mqtt_port, tokens, "seed", gateways=2, gauges=4, alone=2, per_message=PER_MESSAGE, count=200
        ) as fleet:
            await fleet.acknowledges(200)
            assert await fleet.drain(10)
        await checker.settle(roles, 30)
        return fleet

    with Roles(tmp_path_factory.mktemp("checker")) as roles:
        yield roles, asyncio.run(publish(roles))


@contextlib.contextmanager
def altered(roles, *statements):
    """The tables as they are after these statements; put back at the end."""
    roles.query("CREATE TABLE cityfleet.kept_readings AS cityfleet.readings", "admin")
    roles.query("INSERT INTO cityfleet.kept_readings SELECT * FROM cityfleet.readings", "admin")
    try:
        for statement in statements:
            roles.query(statement, "admin")
        yield
    finally:
        roles.query("SYSTEM START MERGES cityfleet.readings", "admin")
        roles.query("TRUNCATE TABLE cityfleet.readings", "admin")
        roles.query(f"{INSERT} SELECT * FROM cityfleet.kept_readings", "admin")
        roles.query("DROP TABLE cityfleet.kept_readings SYNC", "admin")


def first_of(roles, device="wl-3", offset=7):
    """The WHERE of one stored reading."""
    number = roles.query(f"SELECT device_num FROM ioc.devices WHERE device_id = '{device}'")[0][0]
    return f"device_num = {number} AND toUnixTimestamp64Milli(ts) = {BASE_MS + offset}"


def test_a_run_without_faults_passes(told):
    roles, fleet = told
    outcome = checker.check(roles, [fleet])
    assert outcome.failed == ""
    assert outcome.acknowledged == outcome.stored == 200 * PER_MESSAGE


def test_a_reading_that_is_gone_is_missing(told):
    roles, fleet = told
    with altered(roles, f"DELETE FROM cityfleet.readings WHERE {first_of(roles)}"):
        outcome = checker.check(roles, [fleet])
    assert outcome.missing == ["wl-3 message 1: 4 of 5 readings stored"]
    assert outcome.missing_readings == 1
    assert "1 acknowledged readings missing" in outcome.failed


def test_rows_of_an_insert_made_twice_are_doubled_though_the_views_show_them_once(told):
    roles, fleet = told
    with altered(
        roles,
        "SYSTEM STOP MERGES cityfleet.readings",
        f"{INSERT} SELECT * FROM cityfleet.kept_readings WHERE {first_of(roles)}",
    ):
        outcome = checker.check(roles, [fleet])
    assert outcome.doubled == ["wl-3 message 1: sent 1 times, 6 rows in cityfleet.readings"]
    assert outcome.stored == 200 * PER_MESSAGE
    assert not outcome.missing


def test_another_value_is_wrong(told):
    roles, fleet = told
    row = first_of(roles, "wl-5", 0)
    with altered(
        roles,
        f"DELETE FROM cityfleet.readings WHERE {row}",
        f"{INSERT} SELECT * REPLACE (value + 0.001 AS value) FROM cityfleet.kept_readings WHERE {row}",
    ):
        outcome = checker.check(roles, [fleet])
    assert outcome.wrong_values == ["wl-5 message 0: 1 values"]


def test_a_reading_that_nobody_sent_is_unexpected(told):
    roles, fleet = told
    last = BASE_MS + PER_MESSAGE * len(fleet.devices[0].sends)
    with altered(
        roles,
        f"{INSERT} SELECT * REPLACE (fromUnixTimestamp64Milli({last}, 'UTC') AS ts)"
        # In a query of its own: in the same one the condition's `ts` would be the new one.
        f" FROM (SELECT * FROM cityfleet.kept_readings WHERE {first_of(roles, 'wl-0', 0)})",
    ):
        outcome = checker.check(roles, [fleet])
    assert outcome.unexpected == [f"wl-0 message {len(fleet.devices[0].sends)}: never sent"]


def test_a_latest_that_is_behind_is_missing(told):
    roles, fleet = told
    number = roles.query("SELECT device_num FROM ioc.devices WHERE device_id = 'wl-1'")[0][0]
    roles.query("CREATE TABLE cityfleet.kept_latest AS cityfleet.latest", "admin")
    roles.query("INSERT INTO cityfleet.kept_latest SELECT * FROM cityfleet.latest FINAL", "admin")
    try:
        roles.query("TRUNCATE TABLE cityfleet.latest", "admin")
        roles.query(
            f"INSERT INTO cityfleet.latest SELECT * FROM cityfleet.kept_latest WHERE device_num != {number}", "admin"
        )
        outcome = checker.check(roles, [fleet])
    finally:
        roles.query(
            f"INSERT INTO cityfleet.latest SELECT * FROM cityfleet.kept_latest WHERE device_num = {number}", "admin"
        )
        roles.query("DROP TABLE cityfleet.kept_latest SYNC", "admin")
    assert [line.split(" is ")[0] for line in outcome.missing] == ["wl-1: ioc.latest"]
