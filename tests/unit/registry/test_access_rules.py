"""The table of who may call what: no method without a rule, and what each kind of rule lets whom do."""

import pytest
from google.longrunning import operations_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from cityfleet.registry.v1 import (
    access_pb2,
    device_index_pb2,
    device_pb2,
    device_state_pb2,
    device_type_pb2,
    group_pb2,
    metric_pb2,
    operator_pb2,
    site_pb2,
)
from registry.access.caller import INTERNAL, Bounds, Caller, Grant, Role
from registry.access.rules import RULES, Reach, admitted, rule_of
from registry.errors import PermissionDeniedError

FILES = (
    access_pb2,
    device_index_pb2,
    device_pb2,
    device_state_pb2,
    device_type_pb2,
    group_pb2,
    metric_pb2,
    operations_pb2,
    operator_pb2,
    site_pb2,
)
METHODS = {
    f"{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
WARD = Bounds(ward_codes=frozenset({"00070"}))
LABEL = Bounds(labels=(("owner", "tnmt"),))
DEVICES = "cityfleet.registry.v1.DeviceService/"


def may(method: str, *grants: Grant, request=None) -> bool:
    rule = rule_of(method)
    try:
        admitted(Caller("accounts/a", grants), method, rule, rule.role_for(request))
    except PermissionDeniedError:
        return False
    return True


def test_every_method_has_a_rule_and_every_rule_a_method():
    assert set(RULES) == set(METHODS)


def test_every_method_that_is_about_named_devices_or_sites_names_them():
    for name, rule in RULES.items():
        assert (rule.names is not None) == (rule.reach is Reach.NAMED), name


@pytest.mark.parametrize("method", [name for name, rule in RULES.items() if rule.names is not None])
def test_what_a_request_names_is_found_in_an_empty_one_too(method):
    request = METHODS[method].input_type._concrete_class()
    rule = RULES[method]
    assert rule.role_for(request) >= rule.role
    assert all(not each.name for each in rule.named_in(request))


def test_methods_that_name_a_resource_have_its_name_checked():
    """Of the services of devices and sites: who has `name`, `parent` or the resource itself in the request."""
    for name, method in METHODS.items():
        if not name.startswith((DEVICES, "cityfleet.registry.v1.SiteService/")):
            continue
        fields = set(method.input_type.fields_by_name)
        is_created = "device_id" in fields or "site_id" in fields
        names_one = fields & {"name", "names", "parent"} or fields >= {"device", "allow_missing"}
        if names_one and not is_created:
            assert RULES[name].reach is Reach.NAMED, name


def test_each_role_may_what_the_lower_ones_may():
    for method in RULES:
        allowed = [may(method, Grant(role)) for role in (Role.VIEWER, Role.OPERATOR, Role.ENGINEER, Role.ADMIN)]
        assert allowed == sorted(allowed), method


def test_who_has_no_role_may_only_look_after_his_own():
    assert {method for method in RULES if may(method)} == {
        name for name, rule in RULES.items() if rule.reach is Reach.OWN
    }


def test_nobody_but_the_services_may_call_what_is_for_them():
    for method, rule in RULES.items():
        if rule.reach is Reach.SERVICES:
            assert not may(method, Grant(Role.ADMIN))
            assert admitted(INTERNAL, method, rule, rule.role).is_everything


def test_a_role_with_bounds_does_not_reach_what_has_no_ward():
    admin = Grant(Role.ADMIN, WARD)
    for name, rule in RULES.items():
        assert may(name, admin) == (rule.reach not in (Reach.WHOLE, Reach.SERVICES)), name


def test_the_scope_of_a_call_is_that_of_the_role_that_it_needs():
    caller = Caller("accounts/a", (Grant(Role.VIEWER), Grant(Role.OPERATOR, WARD), Grant(Role.ENGINEER, LABEL)))

    def scope(name, request=None):
        rule = rule_of(DEVICES + name)
        return admitted(caller, DEVICES + name, rule, rule.role_for(request))

    assert scope("ListDevices").is_everything
    assert set(scope("DecommissionDevice").bounds or ()) == {WARD, LABEL}
    assert scope("DeleteDevice").bounds == (LABEL,)


@pytest.mark.parametrize(
    ("paths", "fields", "role"),
    [
        (["labels.floor", "gateway"], {}, Role.OPERATOR),
        ([], {"ward_code": "00070"}, Role.OPERATOR),
        (["device_type"], {}, Role.ENGINEER),
        ([], {"external_id": "x"}, Role.ENGINEER),
        (["*"], {}, Role.ENGINEER),
    ],
)
def test_what_is_changed_decides_who_may_change_it(paths, fields, role):
    device, mask = device_pb2.Device(**fields), FieldMask(paths=paths)
    request = device_pb2.UpdateDeviceRequest(device=device, update_mask=mask)
    assert rule_of(DEVICES + "UpdateDevice").role_for(request) is role
    batch = device_pb2.BatchUpdateDevicesRequest(requests=[device_pb2.UpdateDeviceRequest(), request])
    assert rule_of(DEVICES + "BatchUpdateDevices").role_for(batch) is role
    bulk = device_pb2.BulkUpdateDevicesRequest(device=device, update_mask=mask)
    assert rule_of(DEVICES + "BulkUpdateDevices").role_for(bulk) is role


def test_an_update_that_may_create_is_an_engineers():
    request = device_pb2.UpdateDeviceRequest(allow_missing=True)
    assert rule_of(DEVICES + "UpdateDevice").role_for(request) is Role.ENGINEER


def test_to_purge_is_for_administrators_and_so_is_what_is_not_known_yet():
    action = device_pb2.BulkDeleteDevicesRequest.Action
    roles = {
        name: rule_of(DEVICES + "BulkDeleteDevices").role_for(device_pb2.BulkDeleteDevicesRequest(action=number))
        for name, number in [*action.items(), ("later", 99)]
    }
    assert roles.pop("ACTION_DECOMMISSION") is Role.OPERATOR
    assert roles.pop("ACTION_DELETE") is roles.pop("ACTION_UNDELETE") is Role.ENGINEER
    assert set(roles.values()) == {Role.ADMIN}
