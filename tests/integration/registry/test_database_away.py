"""A PostgreSQL that is away: the registry says so and goes on when it is back; of several one leads."""

import asyncio
import urllib.error
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import create_engine, text

from cityfleet.registry.v1 import device_pb2, device_pb2_grpc
from registry.db import sequence
from registry.db.engine import READERS, Database
from registry.services import NAMES
from tests.support.postgresql import create_database
from tests.support.registry import running_registry, wait_until
from tests.support.status import fails

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
LOCK = 7


@pytest.fixture
def server(postgresql):
    """Statements outside of every registry's database."""
    engine = create_engine(f"{postgresql}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield lambda statement: connection.execute(text(statement))
    engine.dispose()


def take_away(server, name):
    server(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    server(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def is_ready(registry):
    try:
        with urllib.request.urlopen(f"{registry.http}/readyz", timeout=60) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        assert error.code == 503
        assert error.read().startswith(b"database: ")
        return False


def test_a_database_that_goes_away_and_comes_back_ends_nothing(tmp_path, postgresql, server):
    environ = {"CITYFLEET_REGISTRY__DATABASE_URL": create_database(postgresql, "away")}
    request = device_pb2.ListDevicesRequest()
    with running_registry(tmp_path, environ) as registry, registry.channel() as channel:
        pid = registry.pid
        devices = device_pb2_grpc.DeviceServiceStub(channel)
        checker = health_pb2_grpc.HealthStub(channel)
        watch = devices.WatchDevices(device_pb2.WatchDevicesRequest(), timeout=120)
        token = next(watch).resume_token
        assert is_ready(registry)
        take_away(server, "away")
        for _ in wait_until("the registry says that it cannot serve", 60):
            found = {checker.Check(health_pb2.HealthCheckRequest(service=name)).status for name in ("", *NAMES)}
            if found == {NOT_SERVING}:
                break
        assert not is_ready(registry)
        with fails(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"):
            devices.ListDevices(request)
        with fails(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE"):
            for _ in watch:
                pass
        server("ALTER DATABASE away ALLOW_CONNECTIONS true")
        for _ in wait_until("the registry serves again", 60):
            if is_ready(registry):
                break
        assert checker.Check(health_pb2.HealthCheckRequest()).status == SERVING
        assert not devices.ListDevices(request).devices
        resumed = devices.WatchDevices(device_pb2.WatchDevicesRequest(resume_token=token), timeout=60)
        assert next(resumed).kind == device_pb2.WatchDevicesResponse.KIND_BOOKMARK
        resumed.cancel()
        assert registry.pid == pid


async def test_no_call_fails_for_connections_from_before_a_restart_of_the_server(postgresql, server):
    database = Database(create_database(postgresql, "restarted"))
    try:
        await database.open()
        for read in (database.read, database.read, database.ask):
            # All connections there can be, of readers and of the writer.
            heads = await asyncio.gather(*(read(sequence.head) for _ in range(2 * READERS)))
            assert await database.write(sequence.head) == heads[0]
            server("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'restarted'")
    finally:
        database.close()


async def test_one_of_several_leads_and_another_when_it_is_gone(postgresql, server):
    url = create_database(postgresql, "led")
    leading, begun, onlookers = set(), [], set()

    async def lead(name):
        database = Database(url)

        async def work():
            leading.add(name)
            begun.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                leading.discard(name)

        async def follow():
            onlookers.add(name)

        try:
            await database.lead(LOCK, work, follow)
        finally:
            database.close()

    async def until(is_so):
        async with asyncio.timeout(60):
            while not is_so():
                await asyncio.sleep(0.05)

    tasks = {name: asyncio.create_task(lead(name)) for name in ("a", "b", "c")}
    await until(lambda: len(onlookers) == 2)
    assert (len(leading), len(begun)) == (1, 1)
    assert not leading & onlookers
    # Its connection breaks: it must stop, whoever is next.
    server(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database AS d ON d.oid = database "
        "WHERE locktype = 'advisory' AND granted AND datname = 'led'"
    )
    await until(lambda: len(begun) == 2 and leading == {begun[1]})
    tasks[begun[1]].cancel()
    await until(lambda: len(begun) == 3 and leading == {begun[2]})
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert not leading
