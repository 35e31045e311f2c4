"""Operations on a SQLite database: chunks once each, progress, cancelling, takeover, errors, waiting."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Connection, text

from cityfleet.registry.v1.device_pb2 import BulkUpdateDevicesRequest
from registry.api.bulk import WORKS
from registry.audit.event import Origin
from registry.db import audit as db_audit
from registry.db import operations as db
from registry.db.engine import Database, sqlite_url
from registry.devices import bulk
from registry.devices.fleet import Change
from registry.devices.model import DeviceSpec
from registry.errors import InvalidError, NotFoundError, PreconditionError, Violation
from registry.operations import rules
from registry.operations.model import MAX_FAILURES, Failure, Operation, Progress, Step
from registry.operations.runner import MAX_TRIES, Runner

METHOD = "cityfleet.registry.v1.DeviceService/BulkUpdateDevices"


class Counting:
    """Settles two numbers a chunk, up to `total`; every fifth fails."""

    def __init__(self, total: int, on_chunk: Callable[[int], None] = lambda position: None) -> None:
        self.total = total
        self.seen: list[int] = []
        self.on_chunk = on_chunk

    def __call__(self, connection: object, operation: Operation) -> Step:
        numbers = list(range(operation.position + 1, min(operation.position + 2, self.total) + 1))
        self.seen += numbers
        self.on_chunk(operation.position)
        failures = [Failure(f"devices/{at}", "InvalidError", "BAD", "bad") for at in numbers if at % 5 == 0]
        progress = operation.progress.plus(succeeded=len(numbers) - len(failures), unchanged=0, failures=failures)
        return Step(numbers[-1], progress, numbers[-1] == self.total)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Database]:
    database = Database(sqlite_url(path / "registry.db"))
    try:
        await database.open()
        yield database
    finally:
        database.close()


@asynccontextmanager
async def running(runner: Runner) -> AsyncIterator[Runner]:
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def begin(database: Database, total: int) -> str:
    begun = await database.write(rules.begin, "bulk-update", METHOD, "accounts/an", b"", total)
    return begun.operation_id


def test_each_chunk_is_done_once_and_counted(tmp_path):
    async def run() -> None:
        async with opened(tmp_path) as database:
            work = Counting(11)
            async with running(Runner(database, {METHOD: work})) as runner:
                name = await begin(database, 11)
                assert name == "bulk-update-1"
                runner.wake()
                done = await runner.wait(name, 20)
            assert work.seen == list(range(1, 12))
            assert done.is_done
            assert done.ending is None
            assert (done.progress.processed, done.progress.succeeded, done.progress.failed) == (11, 9, 2)
            assert [failure.name for failure in done.progress.failures] == ["devices/5", "devices/10"]

    asyncio.run(run())


def test_what_another_process_left_is_gone_on_with(tmp_path):
    async def run() -> None:
        async with opened(tmp_path) as database:
            name = await begin(database, 6)
            await database.write(db.claim, "dead", 1, 0, 4)
            left = await database.read(rules.get, name)
            await database.write(db.save_step, left, Counting(6)(None, left), 1)
            work = Counting(6)
            async with running(Runner(database, {METHOD: work})) as runner:
                assert (await runner.wait(name, 20)).progress.processed == 6
            assert work.seen == [3, 4, 5, 6]

    asyncio.run(run())


def test_a_worker_that_is_alive_is_left_alone(tmp_path):
    async def run() -> None:
        async with opened(tmp_path) as database:
            name = await begin(database, 6)
            await database.write(db.claim, "alive", 2**60, 0, 4)
            work = Counting(6)
            async with running(Runner(database, {METHOD: work})) as runner:
                assert not (await runner.wait(name, 0.3)).is_done
            assert work.seen == []

    asyncio.run(run())


def test_a_runner_that_leaves_gives_back_what_it_has(tmp_path):
    async def run() -> None:
        async with opened(tmp_path) as database:
            name = await begin(database, 10**9)
            work = Counting(10**9)
            async with running(Runner(database, {METHOD: work})):
                while not work.seen:
                    await asyncio.sleep(0.01)
            left = await database.read(rules.get, name)
            assert (left.worker, left.is_done) == ("", False)
            assert left.position == left.progress.processed == work.seen[-1]

    asyncio.run(run())


def test_cancelling_ends_it_before_the_next_chunk(tmp_path):
    async def run() -> None:
        async with opened(tmp_path) as database:
            name = await begin(database, 10**9)
            work = Counting(10**9)
            async with running(Runner(database, {METHOD: work})) as runner:
                while not work.seen:
                    await asyncio.sleep(0.01)
                with pytest.raises(PreconditionError):
                    await database.write(rules.delete, name)
                await database.write(rules.cancel, name)
                done = await runner.wait(name, 20)
            assert done.is_done
            assert done.ending is not None
            assert done.ending.reason == "CANCELLED"
            assert done.progress.processed == work.seen[-1]
            await database.write(rules.cancel, name)
            await database.write(rules.delete, name)
            with pytest.raises(NotFoundError):
                await database.read(rules.get, name)

    asyncio.run(run())


def test_an_error_ends_it_with_its_reason(tmp_path):
    def fail(position: int) -> None:
        if position == 4:
            raise InvalidError([Violation("filter", "FILTER_SYNTAX", "no")])

    async def run() -> None:
        async with opened(tmp_path) as database:
            name = await begin(database, 8)
            async with running(Runner(database, {METHOD: Counting(8, fail)})) as runner:
                done = await runner.wait(name, 20)
            assert done.ending is not None
            assert (done.ending.error, done.ending.reason) == ("InvalidError", "FILTER_SYNTAX")
            assert done.progress.processed == 4

    asyncio.run(run())


class Refused:
    """A work whose second chunk the database does not take, so often."""

    def __init__(self, statement: str, times: int) -> None:
        self.statement, self.times = statement, times
        self.refused = 0
        self.work = Counting(6)

    def __call__(self, connection: Connection, operation: Operation) -> Step:
        if operation.position == 2 and self.refused < self.times:
            self.refused += 1
            connection.execute(text(self.statement))
        return self.work(connection, operation)


def ended(tmp_path: Path, work: Refused) -> Operation:
    async def run() -> Operation:
        async with opened(tmp_path) as database:
            name = await begin(database, 6)
            async with running(Runner(database, {METHOD: work}, retry_s=0.001)) as runner:
                return await runner.wait(name, 30)

    return asyncio.run(run())


def test_a_chunk_that_the_database_never_takes_ends_it(tmp_path):
    work = Refused("INSERT INTO nowhere VALUES (1)", 10**9)  # SQLite's OperationalError, as for a disk that is full
    done = ended(tmp_path, work)
    assert work.refused == MAX_TRIES
    assert done.ending is not None
    assert (done.ending.reason, done.progress.processed) == ("DATABASE_ERROR", 2)
    assert "nowhere" in done.ending.message


def test_a_chunk_that_can_never_be_taken_is_not_tried_again(tmp_path):
    work = Refused("INSERT INTO sync_positions VALUES ('x', 1), ('x', 1)", 10**9)
    done = ended(tmp_path, work)
    assert work.refused == 1
    assert done.ending is not None
    assert done.ending.reason == "DATABASE_ERROR"


def test_a_chunk_that_is_taken_at_last_is_done_once(tmp_path):
    work = Refused("INSERT INTO nowhere VALUES (1)", MAX_TRIES - 1)
    before = sample("cityfleet_registry_operation_items_total", method="BulkUpdateDevices", outcome="succeeded")
    done = ended(tmp_path, work)
    assert (done.ending, done.progress.processed) == (None, 6)
    assert work.work.seen == [1, 2, 3, 4, 5, 6]
    counted = sample("cityfleet_registry_operation_items_total", method="BulkUpdateDevices", outcome="succeeded")
    assert counted - before == done.progress.succeeded == 5
    assert sample("cityfleet_registry_operation_seconds_count", method="BulkUpdateDevices", result="OK") >= 1
    assert sample("cityfleet_registry_operations_running") == 0


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_failures_are_kept_up_to_a_number_and_written_only_when_there_are_more(tmp_path):
    many = [Failure(f"devices/{at}", "InvalidError", "BAD", "bad") for at in range(MAX_FAILURES + 7)]
    first = Progress(5000).plus(succeeded=1, unchanged=0, failures=many[:-20])
    assert first.plus(succeeded=1, unchanged=2, failures=[]).failures is first.failures
    full = first.plus(succeeded=0, unchanged=0, failures=many[-20:])
    assert (full.failed, full.failures) == (len(many), tuple(many[:MAX_FAILURES]))
    assert full.plus(succeeded=0, unchanged=0, failures=many[:1]).failures is full.failures

    async def run() -> None:
        async with opened(tmp_path) as database:
            name = await begin(database, 5000)
            operation = await database.read(rules.get, name)
            await database.write(db.save_step, operation, Step(1, full, False), 1)
            kept = await database.read(rules.get, name)
            assert kept.progress == full
            further = kept.progress.plus(succeeded=1, unchanged=0, failures=[])
            await database.write(db.save_step, kept, Step(2, further, True), 2)
            assert (await database.read(rules.get, name)).progress == further

    asyncio.run(run())


def test_the_newest_come_first(tmp_path):
    async def run() -> None:
        async with opened(tmp_path) as database:
            for _ in range(3):
                await begin(database, 1)
            page = await database.read(db.list_operations, 0, 2)
            assert [operation.operation_num for operation in page] == [3, 2]
            rest = await database.read(db.list_operations, 2, 2, is_done=False, actor="accounts/an")
            assert [operation.operation_num for operation in rest] == [1]

    asyncio.run(run())


def test_what_an_account_began_ends_with_the_account(tmp_path):
    method = "cityfleet.registry.v1.DeviceService/BulkUpdateDevices"
    message = BulkUpdateDevicesRequest(filter="*", device={"site": "x"}).SerializeToString()
    asked = bulk.Asked(Origin("accounts/gone", method), message, "*", False)
    change = bulk.Update(Change(DeviceSpec("", "", site="x"), frozenset({"site"})))

    async def run() -> None:
        async with opened(tmp_path) as database:
            begun = await database.write(bulk.begin, asked, change)
            async with running(Runner(database, WORKS)) as runner:
                done = await runner.wait(begun.operation_id, 20)
            assert done.ending is not None
            assert (done.ending.error, done.ending.reason) == ("PermissionDeniedError", "ACCOUNT_GONE")
            *_, noted = await database.read(db_audit.events_after, 0, 10)
            assert (noted.origin.actor, noted.result) == ("accounts/gone", "ACCOUNT_GONE")
            assert noted.resource == f"operations/{begun.operation_id}"

    asyncio.run(run())
