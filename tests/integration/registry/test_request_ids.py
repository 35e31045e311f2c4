"""Request ids: the same request again is answered, not done again, whoever was killed meanwhile; another is refused."""

import itertools
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1 import group_pb2
from cityfleet.registry.v1.group_pb2_grpc import GroupServiceStub
from tests.integration.registry.conftest import Stubs
from tests.support.registry import running_registry

_numbers = itertools.count(1)


def creation(device_id=None, **fields):
    device_id = device_id or f"rid-{next(_numbers)}"
    return pb.CreateDeviceRequest(
        device_id=device_id, device=pb.Device(device_type="gauge"), request_id=str(uuid.uuid4()), **fields
    )


def refusal(call, request):
    with pytest.raises(grpc.RpcError) as refused:
        call(request, timeout=60)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(refused.value).details)
    return refused.value.code(), info.reason


def test_the_same_request_gets_the_same_answer_with_its_token(stubs):
    request = creation()
    first = stubs.devices.CreateDevice(request, timeout=60)
    request.request_id = request.request_id.upper()
    assert first.token
    assert stubs.devices.CreateDevice(request, timeout=60) == first


def test_what_was_done_is_not_done_again(stubs):
    created = stubs.devices.CreateDevice(creation(), timeout=60)
    request = pb.RotateDeviceTokenRequest(name=created.device.name, request_id=str(uuid.uuid4()))
    first = stubs.devices.RotateDeviceToken(request, timeout=60)
    label = pb.UpdateDeviceRequest(device=pb.Device(name=created.device.name, display_name="later"))
    later = stubs.devices.UpdateDevice(label, timeout=60)
    assert stubs.devices.RotateDeviceToken(request, timeout=60) == first
    assert stubs.devices.GetDevice(pb.GetDeviceRequest(name=created.device.name), timeout=60).etag == later.etag


def test_each_device_of_a_batch_gets_its_own_token_again(stubs):
    devices = [creation() for _ in range(3)]
    for each in devices:
        each.request_id = ""
    devices[1].token = "brought-by-the-caller"
    batch = pb.BatchCreateDevicesRequest(requests=devices, request_id=str(uuid.uuid4()))
    first = stubs.devices.BatchCreateDevices(batch, timeout=60)
    assert [bool(each.token) for each in first.created] == [True, False, True]
    assert stubs.devices.BatchCreateDevices(batch, timeout=60) == first


def test_the_same_id_with_another_request_is_refused(stubs, registry):
    request = creation()
    stubs.devices.CreateDevice(request, timeout=60)
    other = creation()
    other.request_id = request.request_id
    reused = (grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED")
    assert refusal(stubs.devices.CreateDevice, other) == reused
    # Another method, whose request happens to have the same bytes.
    delete = pb.DeleteDeviceRequest(name="devices/x", request_id=request.request_id)
    assert refusal(stubs.devices.DeleteDevice, delete) == reused
    with pytest.raises(grpc.RpcError) as gone:
        stubs.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{other.device_id}"), timeout=60)
    assert gone.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("request_id", ["1", "x" * 5000, "7f0c2a5e4f354d579c0d0f5a0d1a8c11", "\0" * 36])
def test_an_id_that_is_no_uuid_is_refused(stubs, request_id):
    request = creation()
    request.request_id = request_id
    assert refusal(stubs.devices.CreateDevice, request) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_INVALID")


def test_what_was_refused_may_be_tried_again_with_the_same_id(stubs):
    groups, group = GroupServiceStub(stubs.channel), f"g-{next(_numbers)}"
    request = group_pb2.ModifyGroupMembersRequest(name=f"groups/{group}", request_id=str(uuid.uuid4()))
    assert refusal(groups.ModifyGroupMembers, request)[0] is grpc.StatusCode.NOT_FOUND
    groups.CreateGroup(group_pb2.CreateGroupRequest(group_id=group), timeout=60)
    assert groups.ModifyGroupMembers(request, timeout=60).name == f"groups/{group}"


def test_a_dry_run_uses_no_id_up(stubs):
    request = creation(validate_only=True)
    stubs.devices.CreateDevice(request, timeout=60)
    request.validate_only = False
    created = stubs.devices.CreateDevice(request, timeout=60)
    assert created.device.device_num
    request.validate_only = True
    assert refusal(stubs.devices.CreateDevice, request)[0] is grpc.StatusCode.ALREADY_EXISTS


def test_many_at_once_are_one(stubs):
    request = creation()
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda _: stubs.devices.CreateDevice(request, timeout=60), range(32)))
    assert all(answer == answers[0] for answer in answers)


def test_the_answer_outlives_a_kill_and_tells_nobody_else(tmp_path, new_database, database_kind):
    with running_registry(tmp_path, new_database()) as registry:
        with registry.channel() as channel:
            Stubs(channel).apply_type("gauge")
            request = creation()
            first = Stubs(channel).devices.CreateDevice(request, timeout=60)
        registry.kill()
        registry.start()
        with registry.channel() as channel:
            assert Stubs(channel).devices.CreateDevice(request, timeout=60) == first
        if database_kind == "sqlite":
            assert registry.stop() == 0
            files = [path.read_bytes() for path in (tmp_path / "registry").iterdir()]
            assert any(request.device_id.encode() in content for content in files)
            assert not any(first.token.encode() in content for content in files)
