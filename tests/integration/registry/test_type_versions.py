"""Versions of device types, their schemas and their end, over gRPC."""

from grpc import StatusCode

from cityfleet.registry.v1 import device_type_pb2 as pb
from cityfleet.registry.v1.device_pb2 import CreateDeviceRequest, Device
from tests.support.registry import running_registry
from tests.support.status import fails

Outcome = pb.ApplyDeviceTypeResponse
WHOLE = {
    "display_name": "River gauge",
    "expected_interval_s": 300,
    "metrics": [
        {"metric": "water_level_m", "min_value": -5, "resolution": 0.001},
        {"metric": "battery_pct", "expected_interval_s": 86_400},
    ],
    "config_schema": '{"type":"object","properties":{"period_s":{"type":"integer"}}}',
    "commands": [
        {
            "command": "reboot",
            "description": "Starts again",
            "parameters_schema": '{"type":"object"}',
            "result_schema": "{}",
            "is_idempotent": True,
        }
    ],
    "hardware_revisions": ["A1", "B2"],
}


def get(stubs, name: str) -> pb.DeviceType:
    return stubs.types.GetDeviceType(pb.GetDeviceTypeRequest(name=f"deviceTypes/{name}"))


def versions(stubs, name: str, **fields: object) -> pb.ListDeviceTypeRevisionsResponse:
    return stubs.types.ListDeviceTypeRevisions(pb.ListDeviceTypeRevisionsRequest(name=f"deviceTypes/{name}", **fields))


def delete(stubs, name: str, etag: str = "") -> None:
    stubs.types.DeleteDeviceType(pb.DeleteDeviceTypeRequest(name=f"deviceTypes/{name}", etag=etag))


def test_every_field_is_kept(stubs):
    applied = stubs.apply_type("whole", **WHOLE).device_type
    given = pb.DeviceType(name="deviceTypes/whole", **WHOLE)
    for field in ("metrics", "config_schema", "commands", "hardware_revisions"):
        assert getattr(applied, field) == getattr(given, field)
    assert get(stubs, "whole") == applied
    assert stubs.apply_type("whole", **WHOLE).outcome == Outcome.OUTCOME_UNCHANGED
    spaced = WHOLE | {"config_schema": WHOLE["config_schema"].replace(":", " : ")}
    assert stubs.apply_type("whole", **spaced).outcome == Outcome.OUTCOME_UNCHANGED


def test_a_version_stays_as_it_was(stubs):
    first = stubs.apply_type("history", **WHOLE).device_type
    second = stubs.apply_type("history", **WHOLE | {"expected_interval_s": 60}).device_type
    third = stubs.apply_type("history", **WHOLE | {"commands": []}).device_type
    assert [kind.version for kind in (first, second, third)] == [1, 2, 3]
    for now in (first, second, third):
        then = get(stubs, f"history@{now.version}")
        assert then.name == f"deviceTypes/history@{now.version}"
        assert not then.etag
        then.name, then.etag = now.name, now.etag
        assert then == now


def test_versions_are_listed_the_newest_first(stubs):
    for interval_s in range(1, 6):
        stubs.apply_type("listed", expected_interval_s=interval_s)
    whole = versions(stubs, "listed")
    assert [kind.version for kind in whole.device_types] == [5, 4, 3, 2, 1]
    assert [kind.expected_interval_s for kind in whole.device_types] == [5, 4, 3, 2, 1]
    paged, token = [], ""
    while not paged or token:
        page = versions(stubs, "listed", page_size=2, page_token=token)
        paged += page.device_types
        token = page.next_page_token
    assert paged == list(whole.device_types)
    token = versions(stubs, "listed", page_size=2).next_page_token
    stubs.apply_type("listed-2")
    with fails(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_OF_OTHER_REQUEST"):
        versions(stubs, "listed-2", page_token=token)


def test_a_former_version_can_be_applied_again(stubs):
    stubs.apply_type("rollback", **WHOLE)
    stubs.apply_type("rollback", expected_interval_s=1)
    then = get(stubs, "rollback@1")
    then.name = "deviceTypes/rollback"
    again = stubs.types.ApplyDeviceType(pb.ApplyDeviceTypeRequest(device_type=then))
    assert (again.outcome, again.device_type.version) == (Outcome.OUTCOME_UPDATED, 3)
    assert again.device_type.commands == then.commands


def test_a_version_that_never_was_is_not_found(stubs):
    stubs.apply_type("young")
    with fails(StatusCode.NOT_FOUND, "DEVICE_TYPE_REVISION_NOT_FOUND") as failure:
        get(stubs, "young@2")
    assert failure.metadata == {"device_type": "young", "version": "2"}
    with fails(StatusCode.NOT_FOUND, "DEVICE_TYPE_NOT_FOUND"):
        get(stubs, "nothing@1")
    for wrong in ("young@", "young@0", "young@-1", "young@1@1", "young@x", "young@99999999999999999999"):
        with fails(StatusCode.INVALID_ARGUMENT, "VERSION_INVALID"):
            get(stubs, wrong)
    with fails(StatusCode.INVALID_ARGUMENT, "TYPE_ID_INVALID"):
        stubs.apply_type("young@1")


def test_wrong_schemas_and_commands_name_their_fields(stubs):
    with fails(StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS") as failure:
        stubs.apply_type(
            "wrong",
            config_schema='{"type":"thing"}',
            commands=[{"command": "Reboot"}, {"command": "ok", "result_schema": "{"}],
        )
    assert failure.violations == [
        ("config_schema", "SCHEMA_INVALID"),
        ("commands[0].command", "COMMAND_INVALID"),
        ("commands[1].result_schema", "SCHEMA_NOT_JSON"),
    ]


def test_a_deleted_type_is_gone_until_it_is_applied_again(stubs):
    first = stubs.apply_type("passing", **WHOLE).device_type
    with fails(StatusCode.ABORTED, "ETAG_MISMATCH"):
        delete(stubs, "passing", '"1"')
    delete(stubs, "passing", first.etag)
    with fails(StatusCode.NOT_FOUND, "DEVICE_TYPE_NOT_FOUND"):
        get(stubs, "passing")
    with fails(StatusCode.NOT_FOUND, "DEVICE_TYPE_NOT_FOUND"):
        delete(stubs, "passing")
    with fails(StatusCode.NOT_FOUND, "DEVICE_TYPE_NOT_FOUND"):
        versions(stubs, "passing")
    listed = stubs.types.ListDeviceTypes(pb.ListDeviceTypesRequest(page_size=1000)).device_types
    assert "deviceTypes/passing" not in [kind.name for kind in listed]
    with fails(StatusCode.INVALID_ARGUMENT, "DEVICE_TYPE_UNKNOWN"):
        stubs.devices.CreateDevice(CreateDeviceRequest(device_id="late", device=Device(device_type="passing")))
    again = stubs.apply_type("passing", display_name="Another")
    assert (again.outcome, again.device_type.version) == (Outcome.OUTCOME_CREATED, 2)
    assert again.device_type.type_num == first.type_num
    assert [kind.display_name for kind in versions(stubs, "passing").device_types] == ["Another", "River gauge"]


def test_a_type_that_devices_have_is_not_deleted(stubs):
    stubs.apply_type("used")
    stubs.devices.CreateDevice(CreateDeviceRequest(device_id="used-1", device=Device(device_type="used")))
    with fails(StatusCode.FAILED_PRECONDITION, "DEVICE_TYPE_IN_USE") as failure:
        delete(stubs, "used")
    assert failure.metadata == {"device_type": "used", "device": "used-1"}


def test_a_dry_run_of_a_deleted_type_leaves_it_deleted(stubs):
    stubs.apply_type("undecided")
    delete(stubs, "undecided")
    request = pb.ApplyDeviceTypeRequest(device_type=pb.DeviceType(name="deviceTypes/undecided"), validate_only=True)
    planned = stubs.types.ApplyDeviceType(request)
    assert (planned.outcome, planned.device_type.version) == (Outcome.OUTCOME_CREATED, 2)
    assert not planned.device_type.etag
    with fails(StatusCode.NOT_FOUND, "DEVICE_TYPE_NOT_FOUND"):
        get(stubs, "undecided")


def test_a_type_file_goes_round(tmp_path):
    text = """
device_type: gauge
expected_interval_s: 300
hardware_revisions: [A1]
config_schema: {type: object, properties: {period_s: {type: integer, minimum: 1}}}
metrics:
  - {metric: water_level_m, resolution: 0.001, expected_interval_s: 60}
commands:
  - {command: reboot, is_idempotent: true}
  - {command: set_period, description: Set it, parameters_schema: {type: object}, result_schema: {type: string}}
"""
    with running_registry(tmp_path) as registry:
        assert registry.run_cli("type", "apply", "-f", "-", stdin=text).returncode == 0
        shown = registry.run_cli("type", "get", "gauge", "-o", "yaml")
        again = registry.run_cli("type", "apply", "-f", "-", "-o", "json", stdin=shown.stdout)
        assert '"outcome": "unchanged"' in again.stdout, again.stderr
        changed = registry.run_cli("type", "apply", "-f", "-", stdin="device_type: gauge")
        assert changed.returncode == 0
        listed = registry.run_cli("type", "revisions", "gauge", "-o", "csv").stdout.splitlines()
        assert listed[0].startswith("version,begin_time,changed")
        assert [line.split(",")[0] for line in listed[1:]] == ["2", "1"]
        former = registry.run_cli("type", "get", "gauge@1", "-o", "yaml")
        back = registry.run_cli("type", "apply", "-f", "-", "-o", "json", stdin=former.stdout)
        assert '"outcome": "updated"' in back.stdout, back.stderr
        now = registry.run_cli("type", "get", "gauge", "-o", "json").stdout
        assert '"command": "set_period"' in now
        deleted = registry.run_cli("type", "delete", "gauge")
        assert deleted.returncode == 0, deleted.stderr
        assert registry.run_cli("type", "get", "gauge").returncode == 3
        dated = "{device_type: x, config_schema: {const: 2026-01-01}}"
        wrong = registry.run_cli("type", "apply", "-f", "-", stdin=dated)
        assert wrong.returncode == 2
        assert "config_schema" in wrong.stderr
