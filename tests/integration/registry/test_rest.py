"""REST and JSON beside gRPC: the same resources, the same errors."""

import contextlib
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest

from cityfleet.registry.v1.device_pb2 import GetDeviceRequest
from cityfleet.registry.v1.group_pb2 import DeleteGroupRequest
from cityfleet.registry.v1.group_pb2_grpc import GroupServiceStub
from registry.http.routes import routes_of
from registry.services import DESCRIPTORS

JSON = {"Content-Type": "application/json"}


def ask(url: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and JSON of the answer. Args: body: bytes as they are, anything else as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=JSON if headers is None else headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.load(exc)


@pytest.fixture(scope="module")
def api(registry, stubs) -> str:
    JSON["Authorization"] = f"Bearer {registry.admin_token}"
    return f"{registry.http}/v1"


def test_a_device_is_created_read_changed_and_listed(api, stubs):
    given = {"device_type": "gauge", "ward_code": "00070", "labels": {"owner": "rest"}}
    status, created = ask(f"{api}/devices?device_id=rest-1", "POST", given)
    assert status == 200
    assert created["token"]
    device = created["device"]
    assert (device["name"], device["ward_code"], device["labels"]) == ("devices/rest-1", "00070", {"owner": "rest"})
    assert ask(f"{api}/devices/rest-1") == (200, device)
    changed = {"display_name": "Long Biên", "etag": device["etag"]}
    status, updated = ask(f"{api}/devices/rest-1?update_mask=display_name", "PATCH", changed)
    assert (status, updated["display_name"], updated["labels"]) == (200, "Long Biên", {"owner": "rest"})
    assert stubs.devices.GetDevice(GetDeviceRequest(name="devices/rest-1")).display_name == "Long Biên"
    status, page = ask(f"{api}/devices?filter=labels.owner%20%3D%20%22rest%22&page_size=1")
    assert (status, [each["name"] for each in page["devices"]]) == (200, ["devices/rest-1"])
    status, gone = ask(f"{api}/devices/rest-1:decommission", "POST", {})
    assert (status, gone["state"]) == (200, "STATE_DECOMMISSIONED")


def test_a_type_is_applied_and_its_versions_are_listed(api):
    assert ask(f"{api}/deviceTypes/rest", "PUT", {"expected_interval_s": 60})[1]["outcome"] == "OUTCOME_CREATED"
    assert ask(f"{api}/deviceTypes/rest", "PUT", {"expectedIntervalS": 300})[1]["outcome"] == "OUTCOME_UPDATED"
    assert ask(f"{api}/deviceTypes/rest@1")[1]["expected_interval_s"] == 60
    status, listed = ask(f"{api}/deviceTypes/rest:listRevisions")
    assert (status, [kind["version"] for kind in listed["device_types"]]) == (200, [2, 1])
    assert ask(f"{api}/deviceTypes/rest?validate_only=true", "PUT", {"name": "deviceTypes/rest"})[0] == 200
    assert ask(f"{api}/deviceTypes/rest")[1]["expected_interval_s"] == 300
    assert ask(f"{api}/deviceTypes/rest", "DELETE") == (200, {})


def test_an_error_has_reason_fields_and_status(api):
    status, answer = ask(f"{api}/devices/nobody")
    assert (status, answer["error"]["code"], answer["error"]["status"]) == (404, 404, "NOT_FOUND")
    assert answer["error"]["details"][0]["reason"] == "DEVICE_NOT_FOUND"
    status, answer = ask(f"{api}/devices?device_id=Wrong", "POST", {"device_type": "gauge", "latitude": 91})
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    violations = answer["error"]["details"][1]["field_violations"]
    assert {"device_id", "longitude"} <= {violation["field"] for violation in violations}
    assert ask(f"{api}/metrics?metric_id=rain_mm", "POST", {"unit": "mm"})[0] == 409
    assert ask(f"{api}/metrics/rain_mm", "PATCH", {"description": "x", "etag": '"0"'})[0] == 409


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("GET", "/nothing", None, 404, "NO_SUCH_PATH"),
        ("GET", "/devices/a/b", None, 404, "NO_SUCH_PATH"),
        ("GET", "/devices/", None, 404, "NO_SUCH_PATH"),
        ("PUT", "/devices", {}, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/devices/wl-1", {}, 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/devices?colour=red", None, 400, "PARAMETER_UNKNOWN"),
        ("GET", "/devices?page_size=many", None, 400, "PARAMETER_INVALID"),
        ("POST", "/devices?device_id=x", b"{", 400, "BODY_INVALID"),
        ("POST", "/devices?device_id=x", b"\xff", 400, "BODY_INVALID"),
        ("POST", "/devices?device_id=x", {"colour": "red"}, 400, "BODY_INVALID"),
        ("POST", "/devices?device_id=x", b"[" * 100_000, 400, "BODY_INVALID"),
        ("POST", "/devices?device=x", {}, 400, "PARAMETER_UNKNOWN"),
        ("PATCH", "/devices/x", {"name": "devices/y"}, 400, "NAME_DIFFERS"),
        ("GET", "/devices/x", {}, 400, "BODY_NOT_ALLOWED"),
        ("POST", "/devices:batchGet", b" " * (17 << 20), 413, "BODY_TOO_LARGE"),
        ("POST", "/devices:batchGet", b'{"names": ["' + b"x" * (2 << 20) + b'"]}', 400, "NAME_INVALID"),
    ],
)
def test_what_stands_for_no_call_is_refused(api, method, path, body, status, reason):
    found, answer = ask(api + path, method, body)
    assert (found, answer["error"]["details"][0]["reason"]) == (status, reason)


def test_a_filter_may_be_as_long_as_over_grpc(api):
    for length, found in ((9_900, 200), (100_000, 400)):
        text = urllib.parse.quote(f"display_name = '{'Đ' * (length - 17) if found == 200 else 'x' * length}'")
        status, answer = ask(f"{api}/devices?filter={text}")
        assert status == found
        assert found == 200 or answer["error"]["details"][0]["reason"] == "FILTER_TOO_LONG"


def test_the_audit_log_has_the_clients_own_address_and_believes_nobody_else(registry, api, stubs):
    address = urllib.parse.urlsplit(registry.http)
    with contextlib.closing(http.client.HTTPConnection(address.hostname, address.port, timeout=60)) as client:
        client.request("POST", "/v1/groups?group_id=rest-peer", b"{}", JSON)
        client.getresponse().read()
        host, port = client.sock.getsockname()
    forged = (("cityfleet-forwarded", "guess 10.9.8.7:1"),)
    GroupServiceStub(stubs.channel).DeleteGroup(
        DeleteGroupRequest(name="groups/rest-peer"), metadata=forged, timeout=60
    )
    status, page = ask(f"{api}/auditEvents?filter=resource%20%3D%20%22groups/rest-peer%22")
    deleted, created = page["audit_events"]
    assert (status, created["peer"]) == (200, f"{host}:{port}")
    assert deleted["peer"].startswith("127.0.0.1:")


def test_a_form_of_a_web_page_is_refused(api):
    headers = {"Content-Type": "text/plain"}
    status, answer = ask(f"{api}/devices/wl-1:decommission", "POST", b"{}", headers)
    assert (status, answer["error"]["details"][0]["reason"]) == (400, "CONTENT_TYPE_NOT_JSON")


def test_every_unary_method_has_one_path():
    unary = [
        method.full_name
        for service in DESCRIPTORS
        for method in service.methods
        if not method.client_streaming and not method.server_streaming
    ]
    assert sorted(route.method.full_name for route in routes_of(DESCRIPTORS).values()) == sorted(unary)
