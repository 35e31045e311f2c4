"""Several registries on one PostgreSQL: numbers once, changes heard by all, connections that the server ends."""

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import text

from cityfleet.registry.v1 import access_pb2, device_index_pb2, device_pb2
from cityfleet.registry.v1.access_pb2_grpc import AccessServiceStub, AuditServiceStub
from cityfleet.registry.v1.device_index_pb2_grpc import DeviceIndexServiceStub
from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from registry.db import engine, sequence
from registry.db.engine import Database
from registry.devices import catalogue
from runtime.bearer import bearer_channel
from tests.integration.registry.test_audit import events, verified
from tests.support.postgresql import create_database
from tests.support.provision import Provisioner
from tests.support.registry import running_registry, wait_until


@pytest.fixture(scope="module")
def pair(tmp_path_factory, postgresql):
    """Two registries, started at once on an empty database."""
    environ = {"CITYFLEET_REGISTRY__DATABASE_URL": create_database(postgresql, "pair")}
    started = [running_registry(tmp_path_factory.mktemp("several") / str(at), environ) for at in range(2)]
    with ThreadPoolExecutor(2) as starter:
        # Both or none have to be ended.
        waiting = [starter.submit(one.__enter__) for one in started]
        try:
            yield [one.result() for one in waiting]
        finally:
            for one, future in zip(started, waiting, strict=True):
                if future.exception() is None:
                    one.__exit__(None, None, None)


@pytest.fixture
async def databases(postgresql):
    url = create_database(postgresql, f"direct_{next(_numbers)}")
    opened = [Database(url), Database(url)]
    await asyncio.gather(*(database.open() for database in opened))
    for database in opened:
        await database.write(catalogue.plant_starter_catalogue)
    listening = [asyncio.create_task(database.listen()) for database in opened]
    yield opened
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    for database in opened:
        database.close()


_numbers = iter(range(100))


def test_a_watcher_of_one_hears_what_the_other_writes(pair):
    one, other = pair
    with Provisioner(one.channel()) as fleet, other.channel() as channel:
        fleet.type("gauge", {"rain_mm": None})
        call = DeviceIndexServiceStub(channel).WatchDeviceIndex(
            device_index_pb2.WatchDeviceIndexRequest(), metadata=other.metadata, timeout=60
        )
        while next(call).phase != device_index_pb2.WatchDeviceIndexResponse.PHASE_SNAPSHOT_COMPLETE:
            pass
        fleet.device("heard-1", "gauge")
        # Before the next bookmark, which would show it too.
        response = next(call)
        assert response.phase == device_index_pb2.WatchDeviceIndexResponse.PHASE_CHANGES
        assert [device.device_id for device in response.devices] == ["heard-1"]
        call.cancel()


def test_writers_at_once_take_each_number_once(pair):
    with Provisioner(pair[0].channel()) as one, Provisioner(pair[1].channel()) as other:
        one.type("gauge", {"rain_mm": None})

        def create(number):
            fleet = one if number % 2 else other
            device = device_pb2.Device(device_type="gauge")
            request = device_pb2.CreateDeviceRequest(device_id=f"at-once-{number}", device=device)
            return fleet.devices.CreateDevice(request).device

        with ThreadPoolExecutor(8) as callers:
            made = list(callers.map(create, range(60)))
        assert len({device.device_num for device in made}) == 60
        assert len({device.etag for device in made}) == 60


def test_engineers_who_edit_one_device_lose_no_change(pair):
    """Read, change, write with the etag; who comes too late reads again. One of them at each registry."""
    with Provisioner(pair[0].channel()) as one, Provisioner(pair[1].channel()) as other:
        one.type("gauge", {"rain_mm": None})
        one.device("edited", "gauge")
        watch = other.devices.WatchDevices(device_pb2.WatchDevicesRequest(filter="device_id = edited"), timeout=60)

        def count(number):
            devices = (one, other)[number % 2].devices
            refused = 0
            for _ in range(10):
                while True:
                    device = devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/edited"))
                    device.labels["n"] = str(int(device.labels.get("n", "0")) + 1)
                    update = device_pb2.UpdateDeviceRequest(device=device, update_mask={"paths": ["labels.n"]})
                    try:
                        devices.UpdateDevice(update)
                        break
                    except grpc.RpcError as exc:
                        assert exc.code() is grpc.StatusCode.ABORTED
                        refused += 1
            return refused

        with ThreadPoolExecutor(4) as engineers:
            assert sum(engineers.map(count, range(4))) > 0
        for response in watch:
            if [device.labels["n"] for device in response.devices] == ["40"]:
                break
        watch.cancel()


def test_writers_at_once_make_one_chain_and_answer_a_request_id_once(pair):
    with Provisioner(pair[0].channel()) as one, Provisioner(pair[1].channel()) as other:
        one.type("gauge", {"rain_mm": None})
        device = device_pb2.Device(device_type="gauge")
        ids = [str(uuid.uuid4()) for _ in range(15)]

        def create(number):
            fleet = one if number % 2 else other
            request = device_pb2.CreateDeviceRequest(
                device_id=f"chain-{number // 4}", device=device, request_id=ids[number // 4]
            )
            return fleet.devices.CreateDevice(request, timeout=60).device

        with ThreadPoolExecutor(8) as callers:
            made = list(callers.map(create, range(60)))
    assert [made[at] for at in range(0, 60, 4)] == [made[at + 3] for at in range(0, 60, 4)]
    assert len({device.device_num for device in made}) == 15
    with pair[0].channel() as channel:
        audit = AuditServiceStub(channel)
        assert verified(audit).first_broken == 0
        assert len(events(audit, 'resource = "devices/chain-*"')) == 15


def test_a_token_that_one_revokes_ends_at_the_other(pair):
    one, other = pair
    with one.channel() as channel:
        access = AccessServiceStub(channel)
        access.CreateAccount(access_pb2.CreateAccountRequest(account_id="leaver", account=access_pb2.Account()))
        made = access.CreateAccessToken(access_pb2.CreateAccessTokenRequest(parent="accounts/leaver"))
        with bearer_channel(other.address, made.token) as own:
            leaver = AccessServiceStub(own)
            leaver.WhoAmI(access_pb2.WhoAmIRequest())
            access.RevokeAccessToken(access_pb2.RevokeAccessTokenRequest(name=made.access_token.name))
            for _ in wait_until("the token is refused", 20):
                try:
                    leaver.WhoAmI(access_pb2.WhoAmIRequest())
                except grpc.RpcError as exc:
                    assert exc.code() is grpc.StatusCode.UNAUTHENTICATED
                    return


async def test_tables_are_known_after_very_many_devices(databases, monkeypatch):
    """Without waiting for PostgreSQL's own idea of when to look at them."""
    monkeypatch.setattr(engine, "MANY_ROWS", 10)
    monkeypatch.setattr(engine, "CALM_S", 0.01)
    one, _ = databases

    def looked_at(connection):
        names = "('devices', 'device_labels', 'device_tokens')"
        query = f"SELECT count(last_vacuum), count(last_analyze) FROM pg_stat_user_tables WHERE relname IN {names}"
        return tuple(connection.execute(text(query)).one())

    keeping = asyncio.create_task(one.keep_known())
    try:
        one.grew(9)
        await asyncio.sleep(0)
        assert await one.read(looked_at) == (0, 0)
        one.grew(1)
        async with asyncio.timeout(60):
            while await one.read(looked_at) != (3, 3):
                await asyncio.sleep(0.05)
    finally:
        keeping.cancel()


async def test_one_registry_at_a_time_looks_at_the_tables(databases, monkeypatch):
    monkeypatch.setattr(engine, "MANY_ROWS", 10)
    monkeypatch.setattr(engine, "CALM_S", 0.01)
    one, other = databases

    def vacuums(connection):
        query = "SELECT coalesce(sum(vacuum_count), 0) FROM pg_stat_user_tables WHERE relname = 'devices'"
        return int(connection.execute(text(query)).scalar_one())

    def attempts(connection):
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_try_advisory_lock%'"
        return int(connection.execute(text(query)).scalar_one())

    with other._reader_engine.connect() as holder:
        holder.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": engine.VACUUM_LOCK})
        holder.commit()
        keeping = asyncio.create_task(one.keep_known())
        try:
            one.grew(10)
            async with asyncio.timeout(60):
                while not await other.read(attempts):
                    await asyncio.sleep(0.01)
            assert await other.read(vacuums) == 0
            assert not keeping.done()
            holder.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": engine.VACUUM_LOCK})
            holder.commit()
            async with asyncio.timeout(60):
                while await other.read(vacuums) == 0:
                    await asyncio.sleep(0.05)
        finally:
            keeping.cancel()


async def test_a_commit_rings_the_bell_of_the_other(databases):
    one, other = databases
    before = one.bell.revision
    await one.write(catalogue.create_metric, "wind_speed_m_s", "m/s", "")
    assert await other.bell.wait(before, 20)
    assert other.bell.revision == one.bell.revision


async def test_a_reader_sees_one_state_while_another_process_writes(databases):
    one, other = databases
    loop = asyncio.get_running_loop()
    between, go_on = asyncio.Event(), asyncio.Event()

    def twice(connection):
        first = sequence.head(connection).revision
        loop.call_soon_threadsafe(between.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(timeout=60)
        return first, sequence.head(connection).revision

    reading = asyncio.create_task(other.read(twice))
    await between.wait()
    await one.write(catalogue.create_metric, "wind_speed_m_s", "m/s", "")
    go_on.set()
    first, second = await reading
    assert first == second < one.bell.revision


async def test_connections_that_the_server_ends_are_made_again(databases):
    one, other = databases

    def end_all(connection):
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        connection.execute(text(f"{ended} AND pid <> pg_backend_pid()"))

    await one.read(end_all)
    before = one.bell.revision
    await one.write(catalogue.create_metric, "wind_speed_m_s", "m/s", "")
    assert await other.bell.wait(before, 20)
    assert (await other.read(sequence.head)).revision == one.bell.revision


def test_an_operation_of_one_that_is_killed_is_done_by_the_other(pair):
    one, other = pair
    with Provisioner(one.channel()) as fleet:
        fleet.type("gauge", {"rain_mm": None})
        batch = device_pb2.BatchCreateDevicesRequest()
        for at in range(3000):
            batch.requests.add(device_id=f"many-{at}", device={"device_type": "gauge", "labels": {"set": "many"}})
        fleet.devices.BatchCreateDevices(batch)
        request = device_pb2.BulkUpdateDevicesRequest(filter="labels.set = many", device={"site": "after"})
        begun = fleet.devices.BulkUpdateDevices(request)
    one.kill()
    with other.channel() as channel:
        wait = operations_pb2.WaitOperationRequest(name=begun.name, timeout=Duration(seconds=60))
        done = operations_pb2_grpc.OperationsStub(channel).WaitOperation(wait)
        assert done.done
        result = device_pb2.BulkDevicesResponse()
        done.response.Unpack(result)
        assert (result.result.processed, result.result.succeeded) == (3000, 3000)
        stub = DeviceServiceStub(channel)
        counted = stub.AggregateDevices(device_pb2.AggregateDevicesRequest(filter="site = after"))
        assert counted.total_devices == 3000
