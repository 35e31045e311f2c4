"""Every method that changes something takes a request id and leaves an event; nothing secret is in any event."""

import json
import uuid

import pytest
from google.longrunning import operations_pb2
from google.protobuf.message_factory import GetMessageClass

from cityfleet.registry.v1 import access_pb2
from cityfleet.registry.v1.access_pb2_grpc import AuditServiceStub
from registry.api.refusals import is_change
from registry.services import DESCRIPTORS as SERVICES
from tests.integration.registry.test_audit import events, number, verified

PACKAGE = "cityfleet.registry.v1"
GAUGE = {"name": "deviceTypes/am-gauge"}
SQUARE = [[105.0, 21.0], [105.1, 21.0], [105.1, 21.1], [105.0, 21.1], [105.0, 21.0]]
BOUNDARIES = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"ward_code": "00070"},
            "geometry": {"type": "Polygon", "coordinates": [SQUARE]},
        }
    ],
}
TOKEN = "brought-by-the-caller"

# Requests in an order in which each finds what it needs; a list: a stream.
CALLS = [
    ("MetricService/CreateMetric", {"metric_id": "am_m", "metric": {"unit": "m"}}),
    ("MetricService/UpdateMetric", {"metric": {"name": "metrics/am_m", "description": "another"}}),
    ("DeviceTypeService/ApplyDeviceType", {"device_type": GAUGE}),
    ("DeviceTypeService/ApplyDeviceType", {"device_type": {"name": "deviceTypes/am-other"}}),
    ("DeviceTypeService/DeleteDeviceType", {"name": "deviceTypes/am-other"}),
    ("SiteService/CreateSite", {"site_id": "am-s", "site": {"kind": "pole"}}),
    ("SiteService/UpdateSite", {"site": {"name": "sites/am-s", "kind": "bts"}}),
    ("SiteService/BatchUpdateSites", {"requests": [{"site": {"name": "sites/am-s", "display_name": "two"}}]}),
    ("SiteService/DeleteSite", {"name": "sites/am-s"}),
    ("SiteService/UndeleteSite", {"name": "sites/am-s"}),
    ("SiteService/BatchDeleteSites", {"requests": [{"name": "sites/am-s"}]}),
    ("WardService/LoadWardBoundaries", [{"geojson": json.dumps(BOUNDARIES).encode()}]),
    ("DeviceService/CreateDevice", {"device_id": "am-1", "device": {"device_type": "am-gauge"}, "token": TOKEN}),
    ("DeviceService/CreateDevice", {"device_id": "am-2", "device": {"device_type": "am-gauge"}}),
    ("DeviceService/UpdateDevice", {"device": {"name": "devices/am-1", "display_name": "one"}}),
    (
        "DeviceService/BatchCreateDevices",
        {"requests": [{"device_id": "am-3", "device": {"device_type": "am-gauge"}}]},
    ),
    ("DeviceService/BatchUpdateDevices", {"requests": [{"device": {"name": "devices/am-3", "display_name": "three"}}]}),
    ("DeviceService/RotateDeviceToken", {"name": "devices/am-1"}),
    (
        "DeviceService/ImportDevices",
        [{"rows": [{"row": 1, "device": {"name": "devices/am-4", "device_type": "am-gauge"}, "token": TOKEN + "4"}]}],
    ),
    ("DeviceService/DecommissionDevice", {"name": "devices/am-4"}),
    ("DeviceService/DeleteDevice", {"name": "devices/am-4"}),
    ("DeviceService/UndeleteDevice", {"name": "devices/am-4"}),
    (
        "DeviceService/BatchCreateDevices",
        {"requests": [{"device_id": "am-5", "device": {"device_type": "am-gauge"}}]},
    ),
    ("DeviceService/BatchDeleteDevices", {"requests": [{"name": "devices/am-5"}]}),
    ("DeviceService/BulkUpdateDevices", {"filter": "device_id = am-3", "device": {"display_name": "3"}}),
    ("DeviceService/BulkDeleteDevices", {"filter": "device_id = am-3", "action": "ACTION_DECOMMISSION"}),
    ("GroupService/CreateGroup", {"group_id": "am-g", "group": {}}),
    ("GroupService/UpdateGroup", {"group": {"name": "groups/am-g", "display_name": "G"}}),
    ("GroupService/ModifyGroupMembers", {"name": "groups/am-g", "add_devices": ["devices/am-1"]}),
    ("GroupService/DeleteGroup", {"name": "groups/am-g"}),
    ("GroupService/CreateSavedQuery", {"saved_query_id": "am-q", "saved_query": {"filter": "state = active"}}),
    ("GroupService/UpdateSavedQuery", {"saved_query": {"name": "savedQueries/am-q", "display_name": "Q"}}),
    ("GroupService/DeleteSavedQuery", {"name": "savedQueries/am-q"}),
    ("OperatorService/CreateOperator", {"operator_id": "am-o", "operator": {"subscribe_filters": ["a/#"]}}),
    ("OperatorService/UpdateOperator", {"operator": {"name": "operators/am-o", "display_name": "O"}}),
    ("OperatorService/RotateOperatorToken", {"name": "operators/am-o"}),
    ("OperatorService/DeleteOperator", {"name": "operators/am-o"}),
    ("AccessService/CreateAccount", {"account_id": "am-a", "account": {"grants": [{"role": "ROLE_VIEWER"}]}}),
    ("AccessService/UpdateAccount", {"account": {"name": "accounts/am-a", "display_name": "A"}}),
    ("AccessService/CreateAccessToken", {"parent": "accounts/am-a"}),
    ("AccessService/RevokeAccessToken", {"name": "accounts/am-a/tokens/{token}"}),
    ("AccessService/DeleteAccount", {"name": "accounts/am-a"}),
    ("google.longrunning.Operations/DeleteOperation", {"name": "{operation}"}),
]
# Of devices, by ingest: no change of the registry. And what finds nothing to cancel changes nothing.
NO_EVENT = {f"{PACKAGE}.DeviceStateService/ReportDeviceStates", "google.longrunning.Operations/CancelOperation"}


def full(method):
    return method if method.startswith("google") else f"{PACKAGE}.{method}"


METHODS = {
    f"{service.full_name}/{method.name}": method
    for service in SERVICES
    for method in service.methods
    if is_change(f"{service.full_name}/{method.name}")
}


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


def call(channel, method, given):
    """The last answer."""
    descriptor = METHODS[method]
    kind = GetMessageClass(descriptor.input_type)
    kinds = (descriptor.client_streaming, descriptor.server_streaming)
    name = "_".join("stream" if streams else "unary" for streams in kinds)
    requests = [kind(**each) for each in (given if isinstance(given, list) else [given])]
    answer = getattr(channel, name)(
        f"/{method}",
        request_serializer=kind.SerializeToString,
        response_deserializer=GetMessageClass(descriptor.output_type).FromString,
    )(iter(requests) if descriptor.client_streaming else requests[0], timeout=60)
    return list(answer)[-1] if descriptor.server_streaming else answer


def test_each_method_that_changes_something_is_tried_here():
    assert {full(method) for method, _ in CALLS} | NO_EVENT == set(METHODS)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_each_method_that_changes_something_takes_a_request_id(method):
    if METHODS[method].client_streaming or method.startswith("google."):
        return
    assert "request_id" in METHODS[method].input_type.fields_by_name


def test_each_leaves_an_event_and_none_tells_a_token(registry, stubs):
    audit = AuditServiceStub(stubs.channel)
    secrets, operation, token = {TOKEN, registry.admin_token}, "", ""
    for short, given in CALLS:
        method = full(short)
        if isinstance(given, dict):
            given = {
                key: value.format(operation=operation, token=token) if isinstance(value, str) else value
                for key, value in given.items()
            }
            if "request_id" in METHODS[method].input_type.fields_by_name:
                given["request_id"] = str(uuid.uuid4())
        last = number(events(audit, page_size=1)[0])
        answer = call(stubs.channel, method, given)
        new = [event for event in events(audit, f'method = "{method}"') if number(event) > last]
        assert new, method
        assert {event.actor for event in new} == {"accounts/admin"}
        assert {event.result for event in new} == {"OK"}
        if isinstance(given, dict) and "request_id" in given:
            assert given["request_id"] in {event.request_id for event in new}
        if isinstance(answer, operations_pb2.Operation):
            operation = answer.name
            wait_for(stubs.channel, operation)
        if isinstance(answer, access_pb2.CreateAccessTokenResponse):
            token = answer.access_token.name.rpartition("/")[2]
        secrets |= {answer.token} if getattr(answer, "token", "") else set()
    told = "".join(f"{event.before}{event.after}" for event in events(audit))
    assert not [secret for secret in secrets if secret in told]
    assert not verified(audit).first_broken


def wait_for(channel, operation):
    request = operations_pb2.WaitOperationRequest(name=operation)
    call_wait = channel.unary_unary(
        "/google.longrunning.Operations/WaitOperation",
        request_serializer=operations_pb2.WaitOperationRequest.SerializeToString,
        response_deserializer=operations_pb2.Operation.FromString,
    )
    assert call_wait(request, timeout=60).done
