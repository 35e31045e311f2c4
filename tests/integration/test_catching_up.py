"""The drain rule on a running platform: the spool empties at least at twice the rate at which it fills."""

import asyncio
import contextlib

import pytest

from loadtest.fault.devices import provision
from loadtest.fault.processes import Roles
from loadtest.fault.proxy import PASS, Fault, Proxy
from loadtest.fault.sequence import Sequence
from tests.support.flood import Flood

PER_MESSAGE = 500
STORE_BYTES_PER_S = 5e6
DEADLINE_S = 60.0
SETTINGS = """
ingest.max_in_flight_bytes = 40000000
ingest.spool.max_bytes = 60000000
ingest.watermarks.drain_backlog_s = 1.0
"""


async def until(condition):
    """Raises: TimeoutError."""
    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


def stored(roles):
    return roles.metric("ingest", 'cityfleet_ingest_write_readings_total{table="readings"}')


async def at_an_insert(roles):
    """(readings stored, readings ever in the spool) right after an insert: they are few and large."""
    before = stored(roles)
    await until(lambda: stored(roles) > before)
    done = stored(roles)
    return done, done + roles.metric("ingest", "cityfleet_ingest_spool_readings")


@pytest.mark.slow
async def test_a_slow_store_catches_up_twice_as_fast_as_devices_at_full_rate_fill_the_spool(tmp_path):
    sequence = Sequence("catching up", PER_MESSAGE, "water_level_m")
    async with contextlib.AsyncExitStack() as stack:
        roles = stack.enter_context(Roles(tmp_path, SETTINGS))
        proxy = Proxy(("127.0.0.1", roles.ports["store"]))
        stack.push_async_callback(proxy.close)
        await proxy.start()
        roles.environment_of["ingest"] = {"CITYFLEET_STORE__URL": proxy.url}
        await roles.up()
        tokens = await provision(roles, 2, 2)
        await proxy.switch(Fault("throttle", bytes_per_s=STORE_BYTES_PER_S))
        floods = []
        for number in range(2):
            gateway = f"gw-{number}"
            topic = f"cf/v1/g/{gateway}/telemetry/batch".encode()
            flood = Flood(roles, gateway, tokens[gateway], topic, sequence.fixed(f"wl-{number}"), number, sequence)
            floods.append(await stack.enter_async_context(flood))
        await until(lambda: roles.metric("ingest", "cityfleet_ingest_draining") == 1)
        await at_an_insert(roles)  # what was in memory when it began has come to the spool
        await at_an_insert(roles)
        stored_before, spooled_before = await at_an_insert(roles)
        for _ in range(5):
            stored_now, spooled_now = await at_an_insert(roles)
        assert roles.metric("ingest", "cityfleet_ingest_draining") == 1
        assert stored_now - stored_before >= 1.6 * (spooled_now - spooled_before), "inserts are seen a little late"
        assert all(flood.acked < flood.sent for flood in floods)
        await proxy.switch(PASS)
        for flood in floods:
            flood.stop.set()
        await until(lambda: all(flood.acked == flood.sent for flood in floods))
        total = sum(flood.sent for flood in floods) * PER_MESSAGE
        await asyncio.to_thread(roles.wait_for, "SELECT count() FROM ioc.readings", [[str(total)]], DEADLINE_S)
