"""The audit log: every change and every refusal with who, where and what; as a chain that shows what was done to it."""

import itertools
import json
import uuid

import grpc
import pytest

from cityfleet.registry.v1 import access_pb2, device_index_pb2, device_pb2
from cityfleet.registry.v1.access_pb2_grpc import AuditServiceStub

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def audit(stubs):
    return AuditServiceStub(stubs.channel)


def events(audit, filter_text="", order_by="", page_size=0):
    """All events that match, page by page."""
    request = access_pb2.ListAuditEventsRequest(filter=filter_text, order_by=order_by, page_size=page_size)
    found = []
    while True:
        page = audit.ListAuditEvents(request, timeout=20)
        found += page.audit_events
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def verified(audit, **known):
    return audit.VerifyAuditLog(access_pb2.VerifyAuditLogRequest(**known), timeout=60)


def number(event):
    return int(event.name.removeprefix("auditEvents/"))


def new_device(stubs, **fields):
    device_id = f"aud-{next(_numbers)}"
    request = device_pb2.CreateDeviceRequest(
        device_id=device_id, device=device_pb2.Device(device_type="gauge", **fields), request_id=str(uuid.uuid4())
    )
    return request, stubs.devices.CreateDevice(request, timeout=20)


def test_a_change_tells_who_what_when_and_by_which_request(stubs, audit):
    request, created = new_device(stubs, display_name="Cầu Long Biên", labels={"owner": "tnmt"})
    (event,) = events(audit, f'resource = "{created.device.name}"')
    assert event.actor == "accounts/admin"
    assert event.peer.startswith("127.0.0.1:")
    assert event.method == "cityfleet.registry.v1.DeviceService/CreateDevice"
    assert (event.request_id, event.result, event.before) == (request.request_id, "OK", "")
    assert event.event_time.ToMilliseconds() >= created.device.create_time.ToMilliseconds()
    after = json.loads(event.after)
    assert (after["display_name"], after["labels"], after["state"]) == ("Cầu Long Biên", {"owner": "tnmt"}, "active")


def test_before_and_after_tell_what_an_update_changed(stubs, audit):
    _, created = new_device(stubs, display_name="old")
    given = device_pb2.Device(name=created.device.name, display_name="new")
    for _ in range(2):  # the second changes nothing
        stubs.devices.UpdateDevice(device_pb2.UpdateDeviceRequest(device=given), timeout=20)
    update_event, _ = events(audit, f'resource = "{created.device.name}"')
    before, after = json.loads(update_event.before), json.loads(update_event.after)
    assert {key for key in after if before[key] != after[key]} == {"display_name"}
    assert (before["display_name"], after["display_name"]) == ("old", "new")


def test_a_request_repeated_is_one_event(stubs, audit):
    request, created = new_device(stubs)
    stubs.devices.CreateDevice(request, timeout=20)
    assert len(events(audit, f'resource = "{created.device.name}"')) == 1


def test_a_batch_is_an_event_for_each_of_its_devices(stubs, audit):
    ids = [f"aud-{next(_numbers)}" for _ in range(3)]
    requests = [device_pb2.CreateDeviceRequest(device_id=each, device={"device_type": "gauge"}) for each in ids]
    batch = device_pb2.BatchCreateDevicesRequest(requests=requests, request_id=str(uuid.uuid4()))
    stubs.devices.BatchCreateDevices(batch, timeout=20)
    found = events(audit, f'request_id = "{batch.request_id}"', order_by="event_time")
    assert [event.resource for event in found] == [f"devices/{each}" for each in ids]


def test_a_dry_run_leaves_no_event(stubs, audit):
    name = f"aud-{next(_numbers)}"
    stubs.devices.CreateDevice(
        device_pb2.CreateDeviceRequest(device_id=name, device={"device_type": "gauge"}, validate_only=True), timeout=20
    )
    assert events(audit, f'resource = "devices/{name}"') == []


def test_a_refused_change_is_an_event(stubs, audit):
    request, created = new_device(stubs)
    again = device_pb2.CreateDeviceRequest(device_id=request.device_id, device={"device_type": "gauge"})
    stale = device_pb2.DeleteDeviceRequest(name=created.device.name, etag="stale")
    unknown = device_pb2.UpdateDeviceRequest(device={"name": created.device.name, "device_type": "no-such-type"})
    for call, refused in (
        (stubs.devices.CreateDevice, again),
        (stubs.devices.DeleteDevice, stale),
        (stubs.devices.UpdateDevice, unknown),
    ):
        with pytest.raises(grpc.RpcError):
            call(refused, timeout=20)
    found = events(audit, f'resource = "{created.device.name}" AND result != OK', order_by="event_time")
    assert [(event.result, event.before, event.after) for event in found] == [
        ("ALREADY_EXISTS ALREADY_EXISTS", "", ""),
        ("ABORTED ETAG_MISMATCH", "", ""),
        ("INVALID_ARGUMENT DEVICE_TYPE_UNKNOWN", "", ""),
    ]


def test_what_nobody_may_do_is_an_event_but_reading_amiss_is_not(stubs, audit):
    last = number(events(audit, page_size=1)[0])
    with pytest.raises(grpc.RpcError):
        list(stubs.index.WatchDeviceIndex(device_index_pb2.WatchDeviceIndexRequest(), timeout=20))
    with pytest.raises(grpc.RpcError):
        stubs.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/not-there"), timeout=20)
    new = [event for event in events(audit) if number(event) > last]
    assert [event.method.rpartition("/")[2] for event in new] == ["WatchDeviceIndex"]
    assert new[0].result.startswith("PERMISSION_DENIED ")
