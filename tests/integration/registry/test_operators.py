"""Operators and external ids: over gRPC, by the command, and as the watch of the device index tells of them."""

import hashlib
import json

import pytest
from grpc import StatusCode

from cityfleet.registry.v1 import device_index_pb2, device_pb2
from cityfleet.registry.v1 import operator_pb2 as pb
from cityfleet.registry.v1.device_index_pb2_grpc import DeviceIndexServiceStub
from cityfleet.registry.v1.operator_pb2_grpc import OperatorServiceStub
from tests.support.status import fails


@pytest.fixture(scope="module")
def operators(stubs):
    return OperatorServiceStub(stubs.channel)


def create(operators, name, token="", **fields):
    return operators.CreateOperator(
        pb.CreateOperatorRequest(operator_id=name, operator=pb.Operator(**fields), token=token)
    )


def index_of(registry, stubs):
    """Devices and operators of a whole snapshot, by name."""
    call = DeviceIndexServiceStub(stubs.channel).WatchDeviceIndex(
        device_index_pb2.WatchDeviceIndexRequest(), metadata=registry.metadata, timeout=60
    )
    devices, operators = {}, {}
    for response in call:
        devices |= {device.device_id: device for device in response.devices}
        operators |= {operator.operator: operator for operator in response.operators}
        if response.phase == response.PHASE_SNAPSHOT_COMPLETE:
            call.cancel()
            return devices, operators
    raise AssertionError("the watch ended")


def test_an_operator_reaches_the_index_with_its_filters_and_the_hash_of_its_token(registry, stubs, operators):
    created = create(operators, "watch-1", subscribe_filters=["cf/v1/#"], publish_filters=["cf/v1/d/+/commands"])
    assert len(created.token) == 43
    assert operators.GetOperator(pb.GetOperatorRequest(name="operators/watch-1")) == created.operator
    found = index_of(registry, stubs)[1]["watch-1"]
    assert found.token_sha256 == hashlib.sha256(created.token.encode()).digest()
    assert (list(found.subscribe_filters), list(found.publish_filters)) == (["cf/v1/#"], ["cf/v1/d/+/commands"])
    assert found.is_active


def test_each_change_of_an_operator_arrives(registry, stubs, operators):
    token = create(operators, "watch-2").token
    call = DeviceIndexServiceStub(stubs.channel).WatchDeviceIndex(
        device_index_pb2.WatchDeviceIndexRequest(), metadata=registry.metadata, timeout=60
    )
    while next(call).phase != device_index_pb2.WatchDeviceIndexResponse.PHASE_SNAPSHOT_COMPLETE:
        pass

    def change():
        (found,) = next(call).operators
        assert found.operator == "watch-2"
        return found

    rotated = operators.RotateOperatorToken(pb.RotateOperatorTokenRequest(name="operators/watch-2"))
    assert rotated.token != token
    assert change().token_sha256 == hashlib.sha256(rotated.token.encode()).digest()
    update = pb.UpdateOperatorRequest(operator=pb.Operator(name="operators/watch-2", disabled=True))
    operators.UpdateOperator(update)
    assert (change().is_active, update.operator.disabled) == (False, True)
    update.operator.disabled = False
    update.update_mask.paths.append("disabled")
    operators.UpdateOperator(update)
    assert change().is_active
    operators.DeleteOperator(pb.DeleteOperatorRequest(name="operators/watch-2"))
    found = change()
    assert not found.is_active
    assert not found.token_sha256
    create(operators, "watch-2", subscribe_filters=["a"])
    assert list(change().subscribe_filters) == ["a"]
    call.cancel()


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("Bad", {}, "OPERATOR_ID_INVALID"),
        ("a" * 64, {}, "OPERATOR_ID_INVALID"),
        ("f", {"subscribe_filters": [""]}, "FILTER_INVALID"),
        ("f", {"subscribe_filters": ["a/#/b"]}, "FILTER_INVALID"),
        ("f", {"subscribe_filters": ["a#"]}, "FILTER_INVALID"),
        ("f", {"publish_filters": ["a+/b"]}, "FILTER_INVALID"),
        ("f", {"publish_filters": ["a\0b"]}, "FILTER_INVALID"),
        ("f", {"subscribe_filters": ["$share/g/a"]}, "FILTER_INVALID"),
        ("f", {"subscribe_filters": ["a" * 1025]}, "FILTER_INVALID"),
        ("f", {"subscribe_filters": ["a"] * 65}, "TOO_MANY_FILTERS"),
        ("f", {"token": "short"}, "TOKEN_LENGTH"),
    ],
)
def test_a_wrong_operator_is_refused(operators, name, fields, reason):
    with fails(StatusCode.INVALID_ARGUMENT, reason):
        create(operators, name, **fields)


def test_names_are_unique_and_unknown_ones_not_found(operators):
    create(operators, "watch-3")
    with fails(StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"):
        create(operators, "watch-3")
    with fails(StatusCode.NOT_FOUND, "OPERATOR_NOT_FOUND"):
        operators.RotateOperatorToken(pb.RotateOperatorTokenRequest(name="operators/nobody"))


def test_the_command_makes_lists_changes_and_deletes(registry):
    def cf(*arguments):
        done = registry.run_cli("operator", *arguments)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    code, out, err = cf("create", "desk", "-s", "cf/v1/d/+/state", "-s", "cf/v1/#", "-o", "json")
    assert code == 0, err
    made = json.loads(out)
    assert len(made["token"]) == 43
    assert made["subscribe_filters"] == ["cf/v1/d/+/state", "cf/v1/#"]
    code, out, _ = cf("update", "desk", "--disable", "--subscribe", "", "-o", "json")
    changed = json.loads(out)
    assert (code, changed["state"], changed["subscribe_filters"]) == (0, "disabled", [])
    code, out, _ = cf("rotate", "desk")
    assert code == 0
    assert "operator:desk" in out
    assert made["token"] not in out
    assert "desk" in cf("list", "-o", "name")[1].split()
    assert cf("delete", "desk")[0] == 2
    assert cf("delete", "desk", "--yes")[0] == 0
    assert cf("rotate", "desk")[0] == 3


def test_an_external_id_belongs_to_one_device_and_is_free_again_afterwards(registry, stubs):
    def make(name, external_id, **fields):
        device = device_pb2.Device(device_type="gauge", external_id=external_id, **fields)
        return stubs.devices.CreateDevice(device_pb2.CreateDeviceRequest(device_id=name, device=device)).device

    assert make("x-1", "0004a30b001c0530").external_id == "0004a30b001c0530"
    with fails(StatusCode.INVALID_ARGUMENT, "EXTERNAL_ID_TAKEN"):
        make("x-2", "0004a30b001c0530")
    make("x-2", "plant/edge/level")
    update = device_pb2.UpdateDeviceRequest(
        device=device_pb2.Device(name="devices/x-2", external_id="0004a30b001c0530"),
        update_mask={"paths": ["external_id"]},
    )
    with fails(StatusCode.INVALID_ARGUMENT, "EXTERNAL_ID_TAKEN"):
        stubs.devices.UpdateDevice(update)
    stubs.devices.DecommissionDevice(device_pb2.DecommissionDeviceRequest(name="devices/x-1"))
    assert stubs.devices.UpdateDevice(update).external_id == "0004a30b001c0530"
    page = stubs.devices.ListDevices(device_pb2.ListDevicesRequest(filter='external_id = "0004a30b001c0530"'))
    assert [device.name for device in page.devices] == ["devices/x-2"]
    devices, _ = index_of(registry, stubs)
    assert (devices["x-1"].external_id, devices["x-2"].external_id) == ("", "0004a30b001c0530")


@pytest.mark.parametrize(
    ("external_id", "reason"),
    [
        ("0004A30B001C0530", "DEVEUI_NOT_LOWERCASE"),
        (" a", "EXTERNAL_ID_INVALID"),
        ("a\x01b", "EXTERNAL_ID_INVALID"),
        ("ü" * 96, "TEXT_TOO_LONG"),
    ],
    ids=["capitals", "space", "control", "long"],
)
def test_a_wrong_external_id_is_refused(stubs, external_id, reason):
    device = device_pb2.Device(device_type="gauge", external_id=external_id)
    with fails(StatusCode.INVALID_ARGUMENT, reason):
        stubs.devices.CreateDevice(device_pb2.CreateDeviceRequest(device_id="x-wrong", device=device))


@pytest.mark.parametrize("is_dry_run", [True, False])
def test_an_import_judges_external_ids_row_by_row(registry, stubs, tmp_path, is_dry_run):
    rows = tmp_path / "fleet.csv"
    name = f"xi{int(is_dry_run)}"
    rows.write_text(
        "device_id,device_type,external_id,token\n"
        f"{name}-1,gauge,{name}/a,token-of-the-first-1\n"
        f"{name}-2,gauge,{name}/a,token-of-the-second\n"
        f"{name}-3,gauge,,token-of-the-third-1\n",
        encoding="utf-8",
    )
    done = registry.run_cli("import", "devices", str(rows), *(["--dry-run"] if is_dry_run else []), "-o", "json")
    assert done.returncode == 5, done.stderr
    (summary,) = json.loads(done.stdout)
    assert (summary["created"], summary["failed"]) == (2, 1)
    assert "EXTERNAL_ID_TAKEN" in done.stderr
