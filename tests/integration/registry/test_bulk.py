"""Changes by filter through gRPC, on both databases: what they do, whom they leave alone, and what a crash leaves."""

import itertools
import json
import uuid

import pytest
from google.longrunning import operations_pb2 as lro
from google.longrunning.operations_pb2_grpc import OperationsStub
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from cityfleet.registry.v1 import access_pb2
from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1.access_pb2_grpc import AuditServiceStub
from tests.support.registry import running_registry, wait_until
from tests.support.status import fails

DELETE = pb.BulkDeleteDevicesRequest
_counter = itertools.count(1)


@pytest.fixture
def prefix():
    return f"t{next(_counter)}"


@pytest.fixture
def operations(stubs):
    return OperationsStub(stubs.channel)


def fill(stubs, prefix, count, **fields):
    """Devices prefix-0 to prefix-(count-1), labelled by the prefix and their parity."""
    for start in range(0, count, 2000):
        batch = pb.BatchCreateDevicesRequest()
        for at in range(start, min(start + 2000, count)):
            labels = {"set": prefix, "parity": "odd" if at % 2 else "even"}
            device = pb.Device(device_type="gauge", labels=labels, **fields)
            batch.requests.add(device_id=f"{prefix}-{at}", device=device)
        stubs.devices.BatchCreateDevices(batch)


def ended(operations, operation):
    """The operation when it is done, and its metadata."""
    wait = lro.WaitOperationRequest(name=operation.name, timeout=Duration(seconds=60))
    operation = operations.WaitOperation(wait)
    assert operation.done
    metadata = pb.BulkMetadata()
    operation.metadata.Unpack(metadata)
    return operation, metadata


def counts(metadata):
    return metadata.total, metadata.succeeded, metadata.unchanged, metadata.failed


def matching(stubs, text):
    return stubs.devices.AggregateDevices(pb.AggregateDevicesRequest(filter=text)).total_devices


def update(filter_text, *paths, device=None, **fields):
    request = pb.BulkUpdateDevicesRequest(filter=filter_text, device=device or pb.Device(), **fields)
    request.update_mask.paths.extend(paths)
    return request


def test_an_update_reaches_all_that_match_and_no_other(stubs, operations, prefix):
    fill(stubs, prefix, 700)
    stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name=f"devices/{prefix}-0"))
    one = update(
        f"labels.set = {prefix} AND device_id = {prefix}-2", "labels.season", device={"labels": {"season": "wet"}}
    )
    _, metadata = ended(operations, stubs.devices.BulkUpdateDevices(one))
    assert counts(metadata) == (1, 1, 0, 0)

    request = update(
        f"labels.set = {prefix} AND labels.parity = even",
        "labels.season",
        "site",
        device={"labels": {"season": "wet"}, "site": "Long Biên"},
        expected_count=350,
    )
    request.update_mask.paths.remove("site")
    done, metadata = ended(operations, stubs.devices.BulkUpdateDevices(request))
    assert done.name.startswith("operations/bulk-update-")
    assert counts(metadata) == (350, 348, 1, 1)
    (failure,) = metadata.failures
    assert failure.name == f"devices/{prefix}-0"
    assert failure.status.code == StatusCode.FAILED_PRECONDITION.value[0]
    result = pb.BulkDevicesResponse()
    done.response.Unpack(result)
    assert counts(result.result) == counts(metadata)
    assert metadata.actor == "accounts/admin"
    assert matching(stubs, f"labels.set = {prefix} AND labels.season = wet") == 349
    assert matching(stubs, f'labels.set = {prefix} AND site = "Long Biên"') == 0
    device = stubs.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{prefix}-4"))
    assert dict(device.labels) == {"set": prefix, "parity": "even", "season": "wet"}


def test_a_device_that_the_change_does_not_fit_fails_alone(stubs, operations, prefix):
    stubs.devices.CreateDevice(pb.CreateDeviceRequest(device_id=f"{prefix}-gw", device={"device_type": "gateway"}))
    fill(stubs, prefix, 3, gateway=f"{prefix}-gw")
    text = f'device_id = "{prefix}-*"'
    kept = stubs.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{prefix}-gw"))
    _, metadata = ended(
        operations, stubs.devices.BulkUpdateDevices(update(text, "device_type", device={"device_type": "gauge"}))
    )
    assert counts(metadata) == (4, 0, 3, 1)
    assert "3 active devices" in metadata.failures[0].status.message
    _, metadata = ended(
        operations, stubs.devices.BulkUpdateDevices(update(text, "gateway", device={"gateway": f"{prefix}-gw"}))
    )
    assert counts(metadata) == (4, 0, 3, 1)
    assert stubs.devices.GetDevice(pb.GetDeviceRequest(name=kept.name)).etag == kept.etag


def test_what_is_wrong_for_every_device_is_refused_at_once(stubs, prefix):
    fill(stubs, prefix, 2)
    text = f"labels.set = {prefix}"
    change = {"labels": {"season": "wet"}}
    for request, reason in (
        (update("", "labels.season", device=change), "FILTER_REQUIRED"),
        (update("colour = red", "labels.season", device=change), "FILTER_FIELD_UNKNOWN"),
        (update(text), "NOTHING_TO_CHANGE"),
        (update(text, "state", device={}), "FIELD_NOT_UPDATABLE"),
        (update(text, "device_type", device={"device_type": "nothing"}), "DEVICE_TYPE_UNKNOWN"),
        (update(text, "gateway", device={"gateway": "nothing"}), "GATEWAY_UNKNOWN"),
        (update(text, "site_id", device={"site_id": "nothing"}), "SITE_UNKNOWN"),
        (update(text, "ward_code", device={"ward_code": "99999"}), "WARD_UNKNOWN"),
        (update(text, "latitude", "longitude", device={"latitude": 100, "longitude": 0}), "LATITUDE_INVALID"),
        (update(text, "labels.season", device={"labels": {"season": "x" * 300}}), "TEXT_TOO_LONG"),
        (update(text, "external_id", device={"external_id": "one"}), "EXTERNAL_ID_OF_ONE"),
        (update(text, "site", device={"site": "x", "labels": {"a": "x" * 300_000}}), "REQUEST_TOO_LARGE"),
        (update(text, "labels.season", device=change | {"name": f"devices/{prefix}-0"}), "NOT_BY_FILTER"),
    ):
        with fails(StatusCode.INVALID_ARGUMENT, reason):
            stubs.devices.BulkUpdateDevices(request)
    with fails(StatusCode.FAILED_PRECONDITION, "COUNT_DIFFERS") as failure:
        stubs.devices.BulkUpdateDevices(update(text, "labels.season", device=change, expected_count=3))
    assert failure.metadata == {"matching": "2", "expected_count": "3"}
    with fails(StatusCode.INVALID_ARGUMENT, "ACTION_UNKNOWN"):
        stubs.devices.BulkDeleteDevices(DELETE(filter=text))
    assert matching(stubs, f"{text} AND labels.season = wet") == 0


def test_gateways_go_after_what_is_behind_them_and_come_back_before(stubs, operations, prefix):
    stubs.devices.CreateDevice(
        pb.CreateDeviceRequest(device_id=f"{prefix}-gw", device={"device_type": "gateway", "labels": {"set": prefix}})
    )
    fill(stubs, prefix, 4, gateway=f"{prefix}-gw")
    text = f"labels.set = {prefix}"

    def run(action, dry_run=False):
        request = DELETE(filter=text, action=action, validate_only=dry_run)
        return ended(operations, stubs.devices.BulkDeleteDevices(request))

    for dry_run in (True, False):
        done, metadata = run(DELETE.ACTION_DELETE, dry_run)
        assert (counts(metadata), "dry-run" in done.name) == ((5, 5, 0, 0), dry_run)
        assert matching(stubs, text) == (5 if dry_run else 0)
    for dry_run in (True, False):
        assert counts(run(DELETE.ACTION_UNDELETE, dry_run)[1]) == (5, 5, 0, 0)
        assert matching(stubs, text) == (0 if dry_run else 5)
    assert counts(run(DELETE.ACTION_PURGE)[1]) == (0, 0, 0, 0)
    assert counts(run(DELETE.ACTION_DECOMMISSION)[1]) == (5, 5, 0, 0)
    assert counts(run(DELETE.ACTION_DECOMMISSION)[1]) == (5, 0, 5, 0)
    run(DELETE.ACTION_DELETE)
    assert counts(run(DELETE.ACTION_PURGE)[1]) == (5, 5, 0, 0)
    with fails(StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND"):
        stubs.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{prefix}-gw"))


def test_a_gateway_with_others_behind_it_stays(stubs, operations, prefix):
    stubs.devices.CreateDevice(pb.CreateDeviceRequest(device_id=f"{prefix}-gw", device={"device_type": "gateway"}))
    fill(stubs, prefix, 2, gateway=f"{prefix}-gw")
    for dry_run in (True, False):
        request = DELETE(
            filter=f"device_id = {prefix}-gw OR device_id = {prefix}-1",
            action=DELETE.ACTION_DECOMMISSION,
            validate_only=dry_run,
        )
        _, metadata = ended(operations, stubs.devices.BulkDeleteDevices(request))
        assert counts(metadata) == (2, 1, 0, 1)
        assert "1 active devices" in metadata.failures[0].status.message


def test_a_dry_run_says_all_and_changes_nothing(stubs, operations, prefix):
    fill(stubs, prefix, 300)
    before = stubs.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{prefix}-7"))
    request = update(f"labels.set = {prefix}", "site", device={"site": "elsewhere"}, validate_only=True)
    done, metadata = ended(operations, stubs.devices.BulkUpdateDevices(request))
    assert done.name.startswith("operations/dry-run-update-")
    assert counts(metadata) == (300, 300, 0, 0)
    assert stubs.devices.GetDevice(pb.GetDeviceRequest(name=before.name)) == before


def test_what_is_killed_goes_on_and_does_nothing_twice(tmp_path, new_database, stubs):
    make = type(stubs)
    with running_registry(tmp_path, new_database()) as registry:
        with registry.channel() as channel:
            stubs, operations = make(channel), OperationsStub(channel)
            stubs.apply_type("gauge")
            fill(stubs, "kill", 3000)
            begun = stubs.devices.BulkUpdateDevices(update("*", "site", device={"site": "after"}, expected_count=3000))
            for _ in wait_until("some are done, not all"):
                operation = operations.GetOperation(lro.GetOperationRequest(name=begun.name))
                metadata = pb.BulkMetadata()
                operation.metadata.Unpack(metadata)
                if metadata.processed:
                    break
            registry.kill()
            assert not operation.done
        registry.start()
        with registry.channel() as channel:
            stubs, operations = make(channel), OperationsStub(channel)
            stubs.devices.CreateDevice(pb.CreateDeviceRequest(device_id="late", device={"device_type": "gauge"}))
            _, metadata = ended(operations, begun)
            assert counts(metadata) == (3000, 3000, 0, 0)
            assert matching(stubs, "site = after") == 3000


def test_a_cancelled_one_stops_where_it_is(stubs, operations, prefix):
    fill(stubs, prefix, 3000)
    begun = stubs.devices.BulkUpdateDevices(update(f"labels.set = {prefix}", "site", device={"site": prefix}))
    operations.CancelOperation(lro.CancelOperationRequest(name=begun.name))
    done, metadata = ended(operations, begun)
    assert done.error.code == StatusCode.CANCELLED.value[0]
    assert metadata.is_cancel_requested
    assert matching(stubs, f"site = {prefix}") == metadata.succeeded < 3000
    listed = operations.ListOperations(lro.ListOperationsRequest(name="operations", page_size=1)).operations
    assert [operation.name for operation in listed] == [begun.name]


def test_a_request_repeated_begins_nothing_and_the_audit_has_who_asked(stubs, operations, prefix):
    fill(stubs, prefix, 3)
    request = update(f"labels.set = {prefix}", "labels.season", device={"labels": {"season": "wet"}}, expected_count=3)
    request.request_id = str(uuid.uuid4())
    begun = stubs.devices.BulkUpdateDevices(request)
    ended(operations, begun)
    request_again = update(request.filter, "site", device={"site": "x"}, request_id=request.request_id)
    assert stubs.devices.BulkUpdateDevices(request).name == begun.name
    with fails(StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED"):
        stubs.devices.BulkUpdateDevices(request_again)
    listed = access_pb2.ListAuditEventsRequest(filter=f'resource = "{begun.name}"', order_by="event_time")
    asked, done = AuditServiceStub(stubs.channel).ListAuditEvents(listed).audit_events
    for event in (asked, done):
        assert (event.actor, event.request_id) == ("accounts/admin", request.request_id)
        assert event.method.endswith("/BulkUpdateDevices")
        assert event.peer
    assert json.loads(asked.after) == {"filter": request.filter, "matching": 3}
    told = json.loads(done.after)
    assert told == {"devices": [f"{prefix}-{at}" for at in range(3)], "set": {}, "labels": {"season": "wet"}}
