"""Whatever answers with a device says what it is like now, with its document where the view has it."""

import pytest

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1 import device_state_pb2
from cityfleet.registry.v1.device_state_pb2_grpc import DeviceStateServiceStub
from registry.db import sequence

DOCUMENT = '{"firmware_version": "2.1"}'
NAME = "devices/seen-1"


@pytest.fixture(scope="module")
def seen(registry, stubs):
    """Stubs, and two devices, the first of which was heard."""
    for device_id in ("seen-1", "seen-2"):
        request = pb.CreateDeviceRequest(device_id=device_id, device=pb.Device(device_type="gauge"))
        created = stubs.devices.CreateDevice(request).device
        assert (created.connectivity, created.health) == (pb.CONNECTIVITY_NEVER_SEEN, pb.HEALTH_UNKNOWN)
        if device_id == "seen-1":
            heard, now = created.device_num, sequence.now_ms()
    row = device_state_pb2.DeviceStateReport(
        device_num=heard, last_reading_ms=now, document=DOCUMENT.encode(), document_ms=now
    )
    request = device_state_pb2.ReportDeviceStatesRequest(node="a", run=1, reports=[row])
    list(DeviceStateServiceStub(stubs.channel).ReportDeviceStates(iter([request]), metadata=registry.metadata))
    return stubs


def change(**fields):
    return pb.UpdateDeviceRequest(device=pb.Device(name=NAME, **fields))


# By method: a call, whether its answer has the document. In this order, which leaves the device as it was.
CALLS = {
    "get": (lambda devices: devices.GetDevice(pb.GetDeviceRequest(name=NAME)), True),
    "get basic": (lambda devices: devices.GetDevice(pb.GetDeviceRequest(name=NAME, view="DEVICE_VIEW_BASIC")), False),
    "list": (lambda devices: devices.ListDevices(pb.ListDevicesRequest()).devices[0], False),
    "list full": (
        lambda devices: devices.ListDevices(pb.ListDevicesRequest(view="DEVICE_VIEW_FULL")).devices[0],
        True,
    ),
    "batch get": (
        lambda devices: devices.BatchGetDevices(pb.BatchGetDevicesRequest(names=[NAME])).devices[0],
        False,
    ),
    "batch get full": (
        lambda devices: devices.BatchGetDevices(
            pb.BatchGetDevicesRequest(names=[NAME], view="DEVICE_VIEW_FULL")
        ).devices[0],
        True,
    ),
    "update": (lambda devices: devices.UpdateDevice(change(display_name="x")), True),
    "batch update": (
        lambda devices: devices.BatchUpdateDevices(
            pb.BatchUpdateDevicesRequest(requests=[change(display_name="y")])
        ).devices[0],
        False,
    ),
    "rotate": (lambda devices: devices.RotateDeviceToken(pb.RotateDeviceTokenRequest(name=NAME)).device, True),
    "delete": (lambda devices: devices.DeleteDevice(pb.DeleteDeviceRequest(name=NAME)), True),
    "undelete": (lambda devices: devices.UndeleteDevice(pb.UndeleteDeviceRequest(name=NAME)), True),
    "decommission": (
        lambda devices: devices.DecommissionDevice(pb.DecommissionDeviceRequest(name=NAME, validate_only=True)),
        True,
    ),
}


@pytest.mark.parametrize("method", CALLS)
def test_an_answer_shows_the_state(seen, method):
    call, has_document = CALLS[method]
    device = call(seen.devices)
    assert device.name == NAME
    assert device.connectivity == pb.CONNECTIVITY_ONLINE
    assert device.health == pb.HEALTH_UNKNOWN  # its type says no interval
    assert device.reported.firmware_version == "2.1"
    assert device.reported.document == (DOCUMENT if has_document else "")


def test_a_read_mask_leaves_the_rest_out(seen):
    request = pb.GetDeviceRequest(name=NAME, read_mask={"paths": ["name", "reported.firmware_version"]})
    found = seen.devices.GetDevice(request)
    assert found == pb.Device(name=NAME, reported=pb.ReportedState(firmware_version="2.1"))
