"""Changes by filter, exports and operations of callers with a role for a part: what they reach and what they see."""

import itertools

import pytest
from google.longrunning import operations_pb2 as lro
from google.longrunning.operations_pb2_grpc import OperationsStub
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from cityfleet.registry.v1 import access_pb2
from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1.access_pb2_grpc import AccessServiceStub
from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from tests.support.access import account, grant
from tests.support.status import fails

MINE, OTHERS = "00070", "00097"
_counter = itertools.count(1)


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


@pytest.fixture
def nga(registry, stubs):
    """An operator of one ward: its id and channel, and the prefix of 10 devices in that ward and 10 in another."""
    prefix = f"r{next(_counter)}"
    batch = pb.BatchCreateDevicesRequest()
    for at in range(20):
        device = pb.Device(device_type="gauge", ward_code=MINE if at % 2 else OTHERS, labels={"set": prefix})
        batch.requests.add(device_id=f"{prefix}-{at:02}", device=device)
    stubs.devices.BatchCreateDevices(batch)
    with account(registry, f"nga-{prefix}", grant("operator", [MINE])) as channel:
        yield f"nga-{prefix}", channel, prefix


def update(prefix, field, value):
    request = pb.BulkUpdateDevicesRequest(filter=f"labels.set = {prefix}", device={field: value})
    request.update_mask.paths.append(field)
    return request


def ended(channel, operation):
    wait = lro.WaitOperationRequest(name=operation.name, timeout=Duration(seconds=60))
    operation = OperationsStub(channel).WaitOperation(wait)
    assert operation.done
    metadata = pb.BulkMetadata()
    operation.metadata.Unpack(metadata)
    return operation, metadata


def test_operations_of_an_account_that_is_gone_are_not_its_successors(nga, registry, stubs):
    account_id, channel, prefix = nga
    operation, _ = ended(channel, DeviceServiceStub(channel).BulkUpdateDevices(update(prefix, "site", "there")))
    AccessServiceStub(stubs.channel).DeleteAccount(access_pb2.DeleteAccountRequest(name=f"accounts/{account_id}"))
    get, everything = lro.GetOperationRequest(name=operation.name), lro.ListOperationsRequest(name="operations")
    with account(registry, account_id, grant("operator", [MINE])) as successor:
        assert not OperationsStub(successor).ListOperations(everything).operations
        with fails(StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND"):
            OperationsStub(successor).GetOperation(get)
    metadata = pb.BulkMetadata()
    OperationsStub(stubs.channel).GetOperation(get).metadata.Unpack(metadata)
    assert metadata.actor == f"accounts/{account_id} (deleted)"


def test_a_change_reaches_only_what_the_caller_has_the_role_for(nga, stubs):
    account_id, channel, prefix = nga
    devices = DeviceServiceStub(channel)
    _, metadata = ended(channel, devices.BulkUpdateDevices(update(prefix, "site", "here")))
    assert (metadata.total, metadata.succeeded, metadata.actor) == (10, 10, f"accounts/{account_id}")
    found = stubs.devices.ListDevices(pb.ListDevicesRequest(filter=f"labels.set = {prefix} AND site = here")).devices
    assert {device.ward_code for device in found} == {MINE}
    _, metadata = ended(channel, devices.BulkUpdateDevices(update(prefix, "ward_code", OTHERS)))
    assert (metadata.succeeded, metadata.failed) == (0, 10)
    assert {failure.status.code for failure in metadata.failures} == {StatusCode.PERMISSION_DENIED.value[0]}
    with fails(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"):
        devices.BulkUpdateDevices(update(prefix, "hardware_revision", ""))
    with fails(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"):
        request = pb.BulkDeleteDevicesRequest(filter="*", action=pb.BulkDeleteDevicesRequest.ACTION_PURGE)
        devices.BulkDeleteDevices(request)


def test_an_export_has_only_what_the_caller_may_see(nga):
    _, channel, prefix = nga
    request = pb.ExportDevicesRequest(filter=f"labels.set = {prefix}")
    responses = list(DeviceServiceStub(channel).ExportDevices(request))
    assert responses[0].total_devices == 10
    assert {device.ward_code for response in responses for device in response.devices} == {MINE}


def test_operations_of_others_are_not_there_but_for_administrators(stubs, nga):
    _, channel, prefix = nga
    own = DeviceServiceStub(channel).BulkUpdateDevices(update(prefix, "site", "own"))
    foreign = stubs.devices.BulkUpdateDevices(update(prefix, "site", "foreign"))
    admins, ngas = OperationsStub(stubs.channel), OperationsStub(channel)
    listed = lro.ListOperationsRequest(name="operations")
    assert [operation.name for operation in ngas.ListOperations(listed).operations] == [own.name]
    assert {own.name, foreign.name} <= {operation.name for operation in admins.ListOperations(listed).operations}
    for call in (
        lambda: ngas.GetOperation(lro.GetOperationRequest(name=foreign.name)),
        lambda: ngas.WaitOperation(lro.WaitOperationRequest(name=foreign.name)),
        lambda: ngas.CancelOperation(lro.CancelOperationRequest(name=foreign.name)),
        lambda: ngas.DeleteOperation(lro.DeleteOperationRequest(name=foreign.name)),
    ):
        with fails(StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND"):
            call()
    ended(stubs.channel, own)
    admins.DeleteOperation(lro.DeleteOperationRequest(name=own.name))
