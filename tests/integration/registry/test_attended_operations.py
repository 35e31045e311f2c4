"""Imports and exports as operations, on both databases: seen, cancelled and waited for by others, always ended."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.longrunning import operations_pb2 as lro
from google.longrunning.operations_pb2_grpc import OperationsStub
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from cityfleet.registry.v1 import access_pb2
from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1.access_pb2_grpc import AccessServiceStub, AuditServiceStub
from runtime.bearer import bearer_channel
from tests.integration.registry.conftest import Stubs
from tests.integration.registry.test_audit import events
from tests.support.postgresql import create_database
from tests.support.registry import running_registry, wait_until
from tests.support.status import fails


@pytest.fixture(scope="module")
def operations(registry):
    with registry.channel() as channel:
        yield OperationsStub(channel)


def rows_of(prefix, count, **fields):
    given = {"device_type": "gauge"} | fields
    return [pb.ImportRow(row=at + 1, device=pb.Device(name=f"devices/{prefix}-{at}", **given)) for at in range(count)]


class Import:
    """An import whose client sends when it is told to."""

    def __init__(self, stubs):
        self._requests = queue.SimpleQueue()
        self.call = stubs.devices.ImportDevices(iter(self._requests.get, None), timeout=90)
        self.operation = ""

    def send(self, rows, **fields):
        self._requests.put(pb.ImportDevicesRequest(rows=rows, **fields))
        response = next(self.call)
        self.operation = self.operation or response.operation
        return response

    def end(self):
        """No more requests; returns the answers that are left."""
        self._requests.put(None)
        return list(self.call)


@contextmanager
def importing(stubs):
    one = Import(stubs)
    try:
        yield one
    finally:
        one.call.cancel()
        one._requests.put(None)


def get(operations, name):
    found = operations.GetOperation(lro.GetOperationRequest(name=name))
    metadata = pb.BulkMetadata()
    assert found.metadata.Unpack(metadata)
    return found, metadata


def numbers(metadata):
    return {
        name: getattr(metadata, name)
        for name in ("total", "processed", "succeeded", "created", "unchanged", "failed")
        if getattr(metadata, name)
    }


def ended(operations, name, code):
    """The error of an operation that has ended early, or is about to, and how far it was."""
    wait = lro.WaitOperationRequest(name=name, timeout=Duration(seconds=60))
    found = operations.WaitOperation(wait)
    assert (found.done, found.error.code) == (True, code), found
    return found.error.message, numbers(get(operations, name)[1])


def noted(operations, name, processed):
    for _ in wait_until(f"{processed} are noted", 30):
        _, metadata = get(operations, name)
        if metadata.processed >= processed:
            return metadata


def test_another_client_sees_how_far_an_import_is_and_what_was_wrong(stubs, operations):
    with importing(stubs) as one:
        one.send([*rows_of("seen", 20), *rows_of("Wrong", 2)])
        one.send([*rows_of("seen", 30), pb.ImportRow(row=31, device=pb.Device(name="devices/seen-x"))])
        metadata = noted(operations, one.operation, 53)
        assert numbers(metadata) == {"processed": 53, "succeeded": 30, "created": 30, "unchanged": 20, "failed": 3}
        assert (metadata.actor, metadata.method.rpartition("/")[2]) == ("accounts/admin", "ImportDevices")
        told = [(each.row, each.name, each.status.code) for each in metadata.failures]
        invalid = code_pb2.INVALID_ARGUMENT
        assert told == [
            (1, "devices/Wrong-0", invalid),
            (2, "devices/Wrong-1", invalid),
            (31, "devices/seen-x", invalid),
        ]
        assert "not a device id" in metadata.failures[0].status.message
        listed = operations.ListOperations(lro.ListOperationsRequest(name="operations", filter="done = false"))
        assert one.operation in [each.name for each in listed.operations]
        changed = rows_of("seen", 5, site="elsewhere")
        assert one.send(changed, update_existing=True).operation == ""  # it counts in the first message only
        assert one.end() == []
    found, metadata = get(operations, one.operation)
    assert found.done
    assert not found.HasField("error")
    assert (metadata.processed, metadata.failed, metadata.end_time.seconds > 0) == (58, 8, True)


def test_updated_rows_are_not_created_ones(stubs, operations):
    with importing(stubs) as one:
        one.send(rows_of("up", 4), update_existing=True)
        one.send(rows_of("up", 3, site="there"), update_existing=True)
        one.end()
    assert numbers(get(operations, one.operation)[1]) == {"processed": 7, "succeeded": 7, "created": 4}


def test_rows_that_wait_for_their_gateway_count_when_they_come_again(stubs, operations):
    late = rows_of("late", 3, gateway="late-gw")
    with importing(stubs) as one:
        results = one.send(late, repeats_late=True).results
        assert [each.outcome for each in results] == [pb.ImportRowResult.OUTCOME_FAILED] * 3
        gateway = pb.Device(name="devices/late-gw", device_type="gateway")
        one.send([pb.ImportRow(row=4, device=gateway)], repeats_late=True)
        one.send(late)
        one.end()
    _, metadata = get(operations, one.operation)
    assert numbers(metadata) == {"processed": 4, "succeeded": 4, "created": 4}
    assert not metadata.failures


def test_an_import_is_cancelled_by_another_client(stubs, operations):
    with importing(stubs) as one:
        one.send(rows_of("cancel", 7))
        operations.CancelOperation(lro.CancelOperationRequest(name=one.operation))
        with fails(grpc.StatusCode.CANCELLED, "CANCELLED") as failure:
            next(one.call)
        assert f"{one.operation} was cancelled after 7 rows" in failure.message
    message, far = ended(operations, one.operation, code_pb2.CANCELLED)
    assert "what is done stays done" in message
    assert far == {"processed": 7, "succeeded": 7, "created": 7}
    with importing(stubs) as again:
        results = again.send(rows_of("cancel", 9)).results
        again.end()
    assert [each.outcome for each in results].count(pb.ImportRowResult.OUTCOME_UNCHANGED) == 7


def test_who_sends_without_end_is_stopped_within_a_chunk(stubs, operations):
    """Cancelled while its client is not waiting for anything."""
    stop = threading.Event()

    def batches():
        at = 0
        while not stop.is_set():
            yield pb.ImportDevicesRequest(rows=rows_of(f"endless-{at}", 50))
            at += 1

    call = stubs.devices.ImportDevices(batches(), timeout=90)
    try:
        name = next(call).operation
        noted(operations, name, 100)
        operations.CancelOperation(lro.CancelOperationRequest(name=name))
        with fails(grpc.StatusCode.CANCELLED, "CANCELLED"):
            for _ in call:
                pass
    finally:
        stop.set()
        call.cancel()
    _, far = ended(operations, name, code_pb2.CANCELLED)
    counted = stubs.devices.AggregateDevices(pb.AggregateDevicesRequest(filter='device_id = "endless-*"'))
    assert far["created"] == counted.total_devices


def test_who_waits_is_told_when_it_is_through(stubs, operations):
    with importing(stubs) as one, ThreadPoolExecutor(1) as other:
        one.send(rows_of("wait", 3))
        waiting = other.submit(
            operations.WaitOperation, lro.WaitOperationRequest(name=one.operation, timeout=Duration(seconds=60))
        )
        one.send(rows_of("wait-more", 2))
        assert not waiting.done()
        one.end()
        found = waiting.result(60)
    response = pb.BulkDevicesResponse()
    assert found.done
    assert found.response.Unpack(response)
    assert numbers(response.result) == {"processed": 5, "succeeded": 5, "created": 5}


def test_a_client_that_goes_away_leaves_an_end(stubs, operations):
    with importing(stubs) as one:
        one.send(rows_of("gone", 6))
    message, far = ended(operations, one.operation, code_pb2.ABORTED)
    assert message == "its client went away after 6 rows; run it again: what is done stays done"
    assert far == {"processed": 6, "succeeded": 6, "created": 6}


def test_an_import_that_is_refused_midway_says_why(stubs, operations):
    with importing(stubs) as one:
        one.send(rows_of("refused", 2))
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_ROWS"):
            one.send(rows_of("refused", 5001))
    message, far = ended(operations, one.operation, code_pb2.INVALID_ARGUMENT)
    assert "at most 5000 rows" in message
    assert far["processed"] == 2


def test_a_dry_run_is_one_too_and_nothing_is_changed(stubs, operations):
    with importing(stubs) as one:
        one.send([*rows_of("dry", 3), *rows_of("Dry", 1)], validate_only=True)
        metadata = noted(operations, one.operation, 4)
        assert one.operation.startswith("operations/dry-run-import-")
        assert numbers(metadata) == {"processed": 4, "succeeded": 3, "created": 3, "failed": 1}
        operations.CancelOperation(lro.CancelOperationRequest(name=one.operation))
        with fails(grpc.StatusCode.CANCELLED, "CANCELLED"):
            next(one.call)
    assert "nothing was changed" in ended(operations, one.operation, code_pb2.CANCELLED)[0]
    assert not stubs.devices.AggregateDevices(pb.AggregateDevicesRequest(filter='device_id = "dry-*"')).total_devices


def test_an_export_is_an_operation(stubs, operations):
    with importing(stubs) as one:
        one.send(rows_of("out", 25))
        one.end()
    responses = list(stubs.devices.ExportDevices(pb.ExportDevicesRequest(filter='device_id = "out-*"')))
    assert [response.operation != "" for response in responses] == [True, False]
    found, metadata = get(operations, responses[0].operation)
    assert found.done
    assert numbers(metadata) == {"total": 25, "processed": 25, "succeeded": 25}
    assert metadata.method.endswith("/ExportDevices")
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FILTER_FIELD_UNKNOWN"):
        list(stubs.devices.ExportDevices(pb.ExportDevicesRequest(filter="colour = red")))


@pytest.fixture(scope="module")
def large(stubs):
    """More than the buffers on the way of an export take."""
    with importing(stubs) as one:
        for part in range(3):
            labels = {f"key-{at}": "x" * 250 for at in range(10)}
            rows = [
                pb.ImportRow(
                    row=at, device=pb.Device(name=f"devices/wide-{part}-{at}", device_type="gauge", labels=labels)
                )
                for at in range(1000)
            ]
            one.send(rows)
        one.end()
    return "labels.key-1: *"


def test_an_export_whose_client_does_not_read_on_is_seen_and_cancelled(stubs, operations, large):
    call = stubs.devices.ExportDevices(pb.ExportDevicesRequest(filter=large), timeout=90)
    name = next(call).operation
    metadata = noted(operations, name, 1)
    assert 0 < metadata.processed < metadata.total == 3000
    operations.CancelOperation(lro.CancelOperationRequest(name=name))
    message, far = ended(operations, name, code_pb2.CANCELLED)
    assert "was cancelled after" in message
    assert far["processed"] < 3000
    with pytest.raises(grpc.RpcError) as caught:
        for _ in call:
            pass
    assert caught.value.code() is grpc.StatusCode.CANCELLED


def test_an_export_whose_client_goes_away_leaves_an_end(stubs, operations, large):
    call = stubs.devices.ExportDevices(pb.ExportDevicesRequest(filter=large), timeout=90)
    name = next(call).operation
    call.cancel()
    message, _ = ended(operations, name, code_pb2.ABORTED)
    assert "its client went away after" in message
    assert "from the last device that came" in message


def test_operations_are_their_beginners_and_an_administrators(registry, stubs, operations):
    with registry.channel() as channel:
        access = AccessServiceStub(channel)
        tokens = []
        for account_id, role in (("importer", "ENGINEER"), ("looker", "VIEWER")):
            grant = access_pb2.Grant(role=access_pb2.Role.Value(f"ROLE_{role}"))
            account = access_pb2.Account(grants=[grant])
            access.CreateAccount(access_pb2.CreateAccountRequest(account_id=account_id, account=account))
            made = access.CreateAccessToken(access_pb2.CreateAccessTokenRequest(parent=f"accounts/{account_id}"))
            tokens.append(made.token)
    with bearer_channel(registry.address, tokens[0]) as own, bearer_channel(registry.address, tokens[1]) as others:
        with importing(Stubs(own)) as one:
            one.send(rows_of("whose", 2))
            name = lro.GetOperationRequest(name=one.operation)
            with fails(grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND"):
                OperationsStub(others).GetOperation(name)
            with fails(grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND"):
                OperationsStub(others).CancelOperation(lro.CancelOperationRequest(name=one.operation))
            assert get(operations, one.operation)[1].actor == "accounts/importer"
            OperationsStub(own).CancelOperation(lro.CancelOperationRequest(name=one.operation))
            with fails(grpc.StatusCode.CANCELLED, "CANCELLED"):
                next(one.call)
        exported = next(
            iter(Stubs(others).devices.ExportDevices(pb.ExportDevicesRequest(filter="device_id = whose-0")))
        )
        assert get(OperationsStub(others), exported.operation)[1].actor == "accounts/looker"


def test_beginning_and_early_end_are_audited(registry, stubs, operations):
    with importing(stubs) as one:
        one.send(rows_of("audit", 2), update_existing=True)
        operations.CancelOperation(lro.CancelOperationRequest(name=one.operation))
        with fails(grpc.StatusCode.CANCELLED, "CANCELLED"):
            next(one.call)
    ended(operations, one.operation, code_pb2.CANCELLED)
    with registry.channel() as channel:
        found = events(AuditServiceStub(channel), f'resource = "{one.operation}"')
    told = sorted((event.method.rpartition("/")[2], event.result, event.after) for event in found)
    assert told == [
        ("CancelOperation", "OK", '{"is_cancel_requested":true}'),
        ("ImportDevices", "CANCELLED", '{"processed":2,"total":0}'),
        ("ImportDevices", "OK", '{"update_existing":true}'),
    ]


def test_the_command_says_its_operation_and_shows_it(registry, stubs, operations, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("device_id,device_type\ncmd-1,gauge\ncmd-2,none\n", encoding="utf-8")
    done = registry.run_cli("import", "devices", str(path), "--tokens-out", str(tmp_path / "tokens.csv"))
    assert done.returncode == 5
    name = done.stderr.split(" began;")[0].split()[-1]
    shown = registry.run_cli("operation", "get", name)
    assert "row 2 (devices/cmd-2): device_type: there is no device type `none`" in shown.stderr
    exported = registry.run_cli("export", "devices", str(tmp_path / "out.csv"), "--filter", "device_id = cmd-1")
    name = exported.stderr.split(" began;")[0].split()[-1]
    assert name.startswith("export-")
    assert numbers(get(operations, f"operations/{name}")[1])["succeeded"] == 1


def test_a_killed_registry_leaves_an_end(tmp_path, new_database):
    with running_registry(tmp_path / "killed", new_database()) as registry:
        with registry.channel() as channel:
            stubs = Stubs(channel)
            stubs.apply_type("gauge")
            with importing(stubs) as one:
                one.send(rows_of("killed", 11))
                noted(OperationsStub(channel), one.operation, 11)
                registry.kill()
                with pytest.raises(grpc.RpcError):
                    next(one.call)
        registry.start()
        with registry.channel() as channel:
            message, far = ended(OperationsStub(channel), one.operation, code_pb2.ABORTED)
            assert "the registry that it ran in is gone after at least 11 rows" in message
            assert "what is done stays done" in message
            assert far["created"] == 11
            with importing(Stubs(channel)) as again:
                results = again.send(rows_of("killed", 12)).results
                again.end()
            assert [each.outcome for each in results].count(pb.ImportRowResult.OUTCOME_UNCHANGED) == 11
            assert get(OperationsStub(channel), again.operation)[0].done


def test_a_registry_that_stops_says_so(tmp_path, new_database):
    with running_registry(tmp_path / "stopped", new_database()) as registry:
        with registry.channel() as channel:
            stubs = Stubs(channel)
            stubs.apply_type("gauge")
            with importing(stubs) as one:
                one.send(rows_of("stopped", 4))
                assert registry.stop() == 0
        registry.start()
        with registry.channel() as channel:
            found, metadata = get(OperationsStub(channel), one.operation)
            assert found.done
            assert found.error.code == code_pb2.ABORTED
            assert "the registry was stopped after 4 rows" in found.error.message
            assert metadata.created == 4


@pytest.fixture(scope="module")
def pair(tmp_path_factory, postgresql):
    environ = {"CITYFLEET_REGISTRY__DATABASE_URL": create_database(postgresql, "attended_pair")}
    folder = tmp_path_factory.mktemp("pair")
    with running_registry(folder / "one", environ) as one, running_registry(folder / "other", environ) as other:
        with one.channel() as channel:
            Stubs(channel).apply_type("gauge")
        yield one, other


def test_another_registry_shows_and_cancels_an_import_and_ends_those_of_a_dead_one(pair):
    one, other = pair
    with one.channel() as near, other.channel() as far:
        others = OperationsStub(far)
        with importing(Stubs(near)) as first:
            first.send(rows_of("pair", 5))
            assert numbers(noted(others, first.operation, 5))["created"] == 5
            others.CancelOperation(lro.CancelOperationRequest(name=first.operation))
            with fails(grpc.StatusCode.CANCELLED, "CANCELLED"):
                next(first.call)
        ended(others, first.operation, code_pb2.CANCELLED)
        with importing(Stubs(near)) as second:
            second.send(rows_of("pair-2", 8))
            noted(others, second.operation, 8)
            one.kill()
            message, told = ended(others, second.operation, code_pb2.ABORTED)
        assert "the registry that it ran in is gone after at least 8 rows" in message
        assert told["created"] == 8
