"""ExportDevices on both databases: every device once in the order of ids, by filter, from where it stopped."""

import pytest
from grpc import StatusCode

from cityfleet.registry.v1 import device_pb2 as pb
from tests.support.status import fails


@pytest.fixture(scope="module")
def exported(stubs):
    """2500 devices in no order of their ids: gives their ids."""
    ids = [f"e-{at * 7919 % 2500:04}" for at in range(2500)]
    batch = pb.BatchCreateDevicesRequest()
    for device_id in ids:
        labels = {"half": "low" if device_id < "e-1250" else "high"}
        batch.requests.add(device_id=device_id, device=pb.Device(device_type="gauge", labels=labels))
    stubs.devices.BatchCreateDevices(batch)
    stubs.devices.DeleteDevice(pb.DeleteDeviceRequest(name="devices/e-0003"))
    return sorted(ids)


def export(stubs, **fields):
    """The total that was announced, and the devices."""
    responses = list(stubs.devices.ExportDevices(pb.ExportDevicesRequest(**fields)))
    assert [response.total_devices for response in responses[1:]] == [0] * (len(responses) - 1)
    return responses[0].total_devices, [device for response in responses for device in response.devices]


def ids_of(devices):
    return [device.name.removeprefix("devices/") for device in devices]


def test_every_device_comes_once_in_the_order_of_ids(stubs, exported):
    total, devices = export(stubs)
    assert ids_of(devices) == [device_id for device_id in exported if device_id != "e-0003"]
    assert total == len(devices) == 2499
    one = devices[100]
    assert one == stubs.devices.GetDevice(pb.GetDeviceRequest(name=one.name, view=pb.DEVICE_VIEW_BASIC))
    assert one.health == pb.HEALTH_UNKNOWN


def test_a_filter_and_deleted_ones(stubs, exported):
    total, devices = export(stubs, filter="labels.half = low", show_deleted=True)
    assert (total, ids_of(devices)) == (1250, [device_id for device_id in exported if device_id < "e-1250"])
    assert export(stubs, filter="state = deleted")[0] == 1
    assert export(stubs, filter="device_id = nothing") == (0, [])
    with fails(StatusCode.INVALID_ARGUMENT, "FILTER_FIELD_UNKNOWN"):
        export(stubs, filter="colour = red")


def test_it_goes_on_behind_an_id(stubs, exported):
    total, devices = export(stubs, filter="labels.half = high", resume_after="e-2000")
    assert (total, ids_of(devices)) == (1250, [device_id for device_id in exported if device_id > "e-2000"])
    assert export(stubs, resume_after="zzz")[1] == []


def test_who_does_not_read_on_holds_nothing_up(stubs, exported):
    call = stubs.devices.ExportDevices(pb.ExportDevicesRequest())
    assert next(call).total_devices == 2499
    for at in range(50):
        assert export(stubs, filter=f"device_id = e-{at + 10:04}")[0] == 1
    call.cancel()
