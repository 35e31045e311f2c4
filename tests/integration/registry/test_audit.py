"""The audit log: every change and every refusal with who, where and what; as a chain that shows what was done to it."""

import itertools
import json
import uuid

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cityfleet.registry.v1 import access_pb2, device_index_pb2, device_pb2
from cityfleet.registry.v1.access_pb2_grpc import AccessServiceStub, AuditServiceStub
from registry.api.refusals import LOGGED_AT_ONCE
from registry.filter.check import condition_of
from registry.filter.evaluate import holds
from registry.filter.fields import AUDIT_EVENTS
from runtime.bearer import bearer_channel

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def audit(stubs):
    return AuditServiceStub(stubs.channel)


def events(audit, filter_text="", order_by="", page_size=0):
    """All events that match, page by page."""
    request = access_pb2.ListAuditEventsRequest(filter=filter_text, order_by=order_by, page_size=page_size)
    found = []
    while True:
        page = audit.ListAuditEvents(request, timeout=60)
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
    return request, stubs.devices.CreateDevice(request, timeout=60)


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
        stubs.devices.UpdateDevice(device_pb2.UpdateDeviceRequest(device=given), timeout=60)
    update_event, _ = events(audit, f'resource = "{created.device.name}"')
    before, after = json.loads(update_event.before), json.loads(update_event.after)
    assert {key for key in after if before[key] != after[key]} == {"display_name"}
    assert (before["display_name"], after["display_name"]) == ("old", "new")


def test_a_request_repeated_is_one_event(stubs, audit):
    request, created = new_device(stubs)
    stubs.devices.CreateDevice(request, timeout=60)
    assert len(events(audit, f'resource = "{created.device.name}"')) == 1


def test_a_batch_is_an_event_for_each_of_its_devices(stubs, audit):
    ids = [f"aud-{next(_numbers)}" for _ in range(3)]
    requests = [device_pb2.CreateDeviceRequest(device_id=each, device={"device_type": "gauge"}) for each in ids]
    batch = device_pb2.BatchCreateDevicesRequest(requests=requests, request_id=str(uuid.uuid4()))
    stubs.devices.BatchCreateDevices(batch, timeout=60)
    found = events(audit, f'request_id = "{batch.request_id}"', order_by="event_time")
    assert [event.resource for event in found] == [f"devices/{each}" for each in ids]


def test_a_dry_run_leaves_no_event(stubs, audit):
    name = f"aud-{next(_numbers)}"
    stubs.devices.CreateDevice(
        device_pb2.CreateDeviceRequest(device_id=name, device={"device_type": "gauge"}, validate_only=True), timeout=60
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
            call(refused, timeout=60)
    found = events(audit, f'resource = "{created.device.name}" AND result != OK', order_by="event_time")
    assert [(event.result, event.before, event.after) for event in found] == [
        ("ALREADY_EXISTS ALREADY_EXISTS", "", ""),
        ("ABORTED ETAG_MISMATCH", "", ""),
        ("INVALID_ARGUMENT DEVICE_TYPE_UNKNOWN", "", ""),
    ]


def test_what_nobody_may_do_is_an_event_but_reading_amiss_is_not(stubs, audit):
    last = number(events(audit, page_size=1)[0])
    with pytest.raises(grpc.RpcError):
        list(stubs.index.WatchDeviceIndex(device_index_pb2.WatchDeviceIndexRequest(), timeout=60))
    with pytest.raises(grpc.RpcError):
        stubs.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/not-there"), timeout=60)
    new = [event for event in events(audit) if number(event) > last]
    assert [event.method.rpartition("/")[2] for event in new] == ["WatchDeviceIndex"]
    assert new[0].result.startswith("PERMISSION_DENIED ")


FILTERS = [
    'actor = "accounts/admin"',
    "actor = internal",
    "method:CreateDevice AND NOT result = OK",
    'resource = "devices/aud-*"',
    "result:already",
    "request_id:*",
    'peer = "127.0.0.1:*" AND result != OK',
    'event_time >= "{middle}"',
    'event_time > "{middle}" AND method:Device',
    'event_time <= "{middle}"',
    'event_time < "{middle}" OR result != OK',
    'event_time = "{middle}"',
    'NOT event_time >= "{middle}"',
    'event_time > "2999-01-01T00:00:00Z"',
    'event_time < "1999-01-01T00:00:00Z"',
    "Etag",
]


@pytest.fixture(scope="module")
def known(stubs, audit):
    """Some events of every kind; all there are, the oldest first."""
    for _ in range(3):
        request, _ = new_device(stubs)
        request.request_id = ""
        with pytest.raises(grpc.RpcError):
            stubs.devices.CreateDevice(request, timeout=60)
    return events(audit, order_by="event_time")


@pytest.mark.parametrize("filter_text", FILTERS)
def test_a_filter_finds_what_it_finds_in_memory(audit, known, filter_text):
    text = filter_text.format(middle=known[len(known) // 2].event_time.ToJsonString())
    condition = condition_of(text, AUDIT_EVENTS, 0)
    rows = [(event, {name: getattr(event, name) for name in AUDIT_EVENTS.fields}) for event in known]
    wanted = [
        event
        for event, row in rows
        if holds(condition, row | {"event_time": event.event_time.ToMilliseconds()}, lambda *_: False)
    ]
    last = number(known[-1])
    found = [event for event in events(audit, text, "event_time", page_size=2) if number(event) <= last]
    assert found == wanted
    assert [event for event in events(audit, text) if number(event) <= last] == wanted[::-1]


def test_a_list_that_cannot_be_says_why(audit, known):
    page = audit.ListAuditEvents(access_pb2.ListAuditEventsRequest(page_size=1), timeout=60)
    for reason, request in (
        ("FILTER_FIELD_UNKNOWN", {"filter": "before:x"}),
        ("ORDER_FIELD_UNKNOWN", {"order_by": "actor"}),
        ("PAGE_TOKEN_OF_OTHER_REQUEST", {"filter": "actor:*", "page_token": page.next_page_token}),
        ("PAGE_TOKEN_OF_OTHER_REQUEST", {"order_by": "event_time", "page_token": page.next_page_token}),
        ("PAGE_TOKEN_INVALID", {"page_token": "x"}),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            audit.ListAuditEvents(access_pb2.ListAuditEventsRequest(**request), timeout=60)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in rpc_status.from_call(refused.value).details)
        assert info.reason == reason


def test_the_log_verifies_and_tells_what_to_keep(stubs, audit):
    first = verified(audit)
    assert (first.first_broken, first.problem) == (0, "")
    assert first.events == first.last_event
    new_device(stubs)
    later = verified(audit, known_event=first.last_event, known_chain_sha256=first.chain_sha256)
    assert (later.first_broken, later.last_event) == (0, first.last_event + 1)
    other = verified(audit, known_event=first.last_event, known_chain_sha256=b"\0" * 32)
    assert other.first_broken == first.last_event
    assert verified(audit, known_event=10**9, known_chain_sha256=b"\0" * 32).first_broken == later.last_event + 1


def test_a_viewer_may_not_read_the_log_and_cannot_flood_it(registry, stubs, audit):
    access = AccessServiceStub(stubs.channel)
    account = access_pb2.Account(grants=[{"role": "ROLE_VIEWER"}])
    access.CreateAccount(access_pb2.CreateAccountRequest(account_id="aud-viewer", account=account), timeout=60)
    token = access.CreateAccessToken(access_pb2.CreateAccessTokenRequest(parent="accounts/aud-viewer"), timeout=60)
    with bearer_channel(registry.address, token.token) as channel:
        for _ in range(LOGGED_AT_ONCE + 5):
            with pytest.raises(grpc.RpcError) as refused:
                events(AuditServiceStub(channel))
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    found = events(audit, 'actor = "accounts/aud-viewer"')
    assert len(found) == LOGGED_AT_ONCE
    assert {event.method.rpartition("/")[2] for event in found} == {"ListAuditEvents"}
