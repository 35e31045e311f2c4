"""The end of devices, and batches, through gRPC: delete, undelete, purge; all or none."""

import grpc
import pytest
from sqlalchemy import create_engine, text

from cityfleet.registry.v1 import device_index_pb2
from cityfleet.registry.v1 import device_pb2 as pb
from registry.db import dimensions, index, sequence
from registry.db.engine import Database, sqlite_url
from registry.devices import catalogue, fleet, lifecycle
from registry.devices.model import DeviceSpec, TypeSpec
from tests.support.registry import running_registry, wait_until


def create(stubs, device_id: str, **fields: object) -> pb.CreateDeviceResponse:
    device = {"device_type": "gauge", **fields}
    return stubs.devices.CreateDevice(pb.CreateDeviceRequest(device_id=device_id, device=device))


def get(stubs, device_id: str) -> pb.Device:
    return stubs.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{device_id}"))


def code(error: pytest.ExceptionInfo[grpc.RpcError]) -> grpc.StatusCode:
    return error.value.code()


def test_a_deleted_device_comes_back_without_its_token_and_external_id(stubs):
    create(stubs, "del-1", external_id="ext-del-1")
    deleted = stubs.devices.DeleteDevice(pb.DeleteDeviceRequest(name="devices/del-1"))
    assert deleted.state == pb.Device.STATE_DELETED
    assert deleted.purge_time.seconds - deleted.delete_time.seconds == 30 * 86_400
    with pytest.raises(grpc.RpcError) as twice:
        stubs.devices.DeleteDevice(pb.DeleteDeviceRequest(name="devices/del-1"))
    assert code(twice) == grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.RpcError) as taken:
        create(stubs, "del-1")
    assert code(taken) == grpc.StatusCode.ALREADY_EXISTS
    with pytest.raises(grpc.RpcError) as frozen:
        stubs.devices.UpdateDevice(pb.UpdateDeviceRequest(device={"name": "devices/del-1", "site": "x"}))
    assert code(frozen) == grpc.StatusCode.FAILED_PRECONDITION
    create(stubs, "del-2", external_id="ext-del-1")
    back = stubs.devices.UndeleteDevice(pb.UndeleteDeviceRequest(name="devices/del-1"))
    assert (back.state, back.external_id, back.HasField("delete_time")) == (pb.Device.STATE_ACTIVE, "", False)
    assert stubs.devices.RotateDeviceToken(pb.RotateDeviceTokenRequest(name="devices/del-1")).token


def test_a_decommissioned_device_that_was_deleted_comes_back_decommissioned(stubs):
    create(stubs, "dec-1")
    stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/dec-1"))
    stubs.devices.DeleteDevice(pb.DeleteDeviceRequest(name="devices/dec-1"))
    back = stubs.devices.UndeleteDevice(pb.UndeleteDeviceRequest(name="devices/dec-1"))
    assert back.state == pb.Device.STATE_DECOMMISSIONED


def test_a_dry_run_deletes_nothing(stubs):
    create(stubs, "dry-del")
    would = stubs.devices.DeleteDevice(pb.DeleteDeviceRequest(name="devices/dry-del", validate_only=True))
    assert would.state == pb.Device.STATE_DELETED
    assert get(stubs, "dry-del").state == pb.Device.STATE_ACTIVE


def test_a_batch_is_created_whole_with_its_gateway_or_not_at_all(stubs):
    def one(device_id: str, **fields: object) -> dict[str, object]:
        return {"device_id": device_id, "device": {"device_type": "gauge", **fields}}

    batch = [one("b-1", gateway="b-gw"), one("b-gw", device_type="gateway"), one("b-2", device_type="nothing")]
    with pytest.raises(grpc.RpcError) as refused:
        stubs.devices.BatchCreateDevices(pb.BatchCreateDevicesRequest(requests=batch))
    assert "requests[2].device_type" in refused.value.details()
    with pytest.raises(grpc.RpcError) as unmade:
        get(stubs, "b-gw")
    assert code(unmade) == grpc.StatusCode.NOT_FOUND
    dry = stubs.devices.BatchCreateDevices(pb.BatchCreateDevicesRequest(requests=batch[:2], validate_only=True))
    assert [each.token for each in dry.created] == ["", ""]
    made = stubs.devices.BatchCreateDevices(pb.BatchCreateDevicesRequest(requests=batch[:2]))
    assert [each.device.name for each in made.created] == ["devices/b-1", "devices/b-gw"]
    assert all(each.token for each in made.created)
    assert get(stubs, "b-1").gateway == "b-gw"
    with pytest.raises(grpc.RpcError) as twice:
        stubs.devices.BatchCreateDevices(pb.BatchCreateDevicesRequest(requests=[one("b-9"), one("b-9")]))
    assert code(twice) == grpc.StatusCode.INVALID_ARGUMENT


def test_a_batch_of_updates_is_all_or_none(stubs):
    for name in ("u-1", "u-2"):
        create(stubs, name)
    changes = [
        pb.UpdateDeviceRequest(device={"name": "devices/u-1", "site": "there"}),
        pb.UpdateDeviceRequest(device={"name": "devices/u-2", "etag": '"1"', "site": "there"}),
    ]
    with pytest.raises(grpc.RpcError) as stale:
        stubs.devices.BatchUpdateDevices(pb.BatchUpdateDevicesRequest(requests=changes))
    assert code(stale) == grpc.StatusCode.ABORTED
    assert get(stubs, "u-1").site == ""
    changes[1].device.etag = ""
    changes.append(pb.UpdateDeviceRequest(device={"name": "devices/u-3", "device_type": "gauge"}, allow_missing=True))
    done = stubs.devices.BatchUpdateDevices(pb.BatchUpdateDevicesRequest(requests=changes)).devices
    assert [(device.name, device.site) for device in done] == [
        ("devices/u-1", "there"),
        ("devices/u-2", "there"),
        ("devices/u-3", ""),
    ]


def test_a_batch_of_deletions_is_all_or_none(stubs):
    create(stubs, "e-gw", device_type="gateway")
    for name in ("e-1", "e-2"):
        create(stubs, name, gateway="e-gw")

    def delete(*names: str, etags: dict[str, str] | None = None, **fields: object) -> list[tuple[str, int]]:
        requests = [{"name": f"devices/{name}", "etag": (etags or {}).get(name, "")} for name in names]
        answer = stubs.devices.BatchDeleteDevices(pb.BatchDeleteDevicesRequest(requests=requests, **fields))
        return [(device.name.removeprefix("devices/"), device.state) for device in answer.devices]

    everything, gone = ("e-gw", "e-2", "e-1"), pb.Device.STATE_DELETED
    for names, etags, status, reason in (
        (("e-1", "e-2"), {"e-2": '"1"'}, grpc.StatusCode.ABORTED, "ETAG_MISMATCH"),
        (("e-1", "e-9"), {}, grpc.StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND"),
        (("e-1", "e-1"), {}, grpc.StatusCode.INVALID_ARGUMENT, "requests[1].name"),
        (("e-gw", "e-1"), {}, grpc.StatusCode.FAILED_PRECONDITION, "GATEWAY_IN_USE"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            delete(*names, etags=etags)
        assert code(refused) == status
        assert reason in refused.value.details() + str(refused.value.trailing_metadata())
    assert delete(*everything, validate_only=True) == [(name, gone) for name in everything]
    assert {get(stubs, name).state for name in everything} == {pb.Device.STATE_ACTIVE}
    again = {"request_id": "6a9b4c40-6c8f-4b6c-9f0c-1a2b3c4d5e6f", "etags": {"e-1": get(stubs, "e-1").etag}}
    assert delete(*everything, **again) == delete(*everything, **again) == [(name, gone) for name in everything]
    with pytest.raises(grpc.RpcError) as twice:
        delete("e-1")
    assert code(twice) == grpc.StatusCode.FAILED_PRECONDITION
    create(stubs, "e-3")
    assert delete("e-9", "e-3", "e-1", allow_missing=True) == [("e-3", gone)]
    assert delete("e-9", "e-3", allow_missing=True) == []
    with pytest.raises(grpc.RpcError) as none:
        delete()
    assert code(none) == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as inner:
        stubs.devices.BatchDeleteDevices(
            pb.BatchDeleteDevicesRequest(requests=[{"name": "devices/e-3", "validate_only": True}])
        )
    assert "requests[0].validate_only" in inner.value.details()


def test_an_external_id_given_to_two_devices_of_a_batch_is_refused(stubs):
    for name in ("x-1", "x-2"):
        create(stubs, name)
    changes = [{"device": {"name": f"devices/{name}", "external_id": "ext-x"}} for name in ("x-1", "x-2")]
    with pytest.raises(grpc.RpcError) as twice:
        stubs.devices.BatchUpdateDevices(pb.BatchUpdateDevicesRequest(requests=changes))
    assert code(twice) == grpc.StatusCode.INVALID_ARGUMENT
    assert "requests[1].external_id" in twice.value.details()


def test_what_is_wrong_with_a_device_created_by_an_update_is_named_by_its_place(stubs):
    changes = [
        {"device": {"name": "devices/w-1", "device_type": "gauge"}, "allow_missing": True},
        {"device": {"name": "devices/w-2", "device_type": "nothing"}, "allow_missing": True},
    ]
    with pytest.raises(grpc.RpcError) as wrong:
        stubs.devices.BatchUpdateDevices(pb.BatchUpdateDevicesRequest(requests=changes))
    assert "requests[1].device_type" in wrong.value.details()
    with pytest.raises(grpc.RpcError) as unmade:
        get(stubs, "w-1")
    assert code(unmade) == grpc.StatusCode.NOT_FOUND


def test_batch_get_answers_in_order_or_not_at_all(stubs):
    for name in ("g-1", "g-2"):
        create(stubs, name)
    names = ["devices/g-2", "devices/g-1"]
    found = stubs.devices.BatchGetDevices(pb.BatchGetDevicesRequest(names=names)).devices
    assert [device.name for device in found] == names
    with pytest.raises(grpc.RpcError) as missing:
        stubs.devices.BatchGetDevices(pb.BatchGetDevicesRequest(names=[*names, "devices/g-3"]))
    assert code(missing) == grpc.StatusCode.NOT_FOUND
    # With documents of 16 kB an answer of more would not arrive.
    with pytest.raises(grpc.RpcError) as many:
        stubs.devices.BatchGetDevices(pb.BatchGetDevicesRequest(names=names * 101, view=pb.DEVICE_VIEW_FULL))
    assert code(many) == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as none:
        stubs.devices.BatchGetDevices(pb.BatchGetDevicesRequest())
    assert code(none) == grpc.StatusCode.INVALID_ARGUMENT


def test_moves_behind_gateways_are_kept(stubs):
    for name in ("m-gw1", "m-gw2"):
        create(stubs, name, device_type="gateway")
    create(stubs, "m-1", gateway="m-gw1")
    stubs.devices.UpdateDevice(pb.UpdateDeviceRequest(device={"name": "devices/m-1", "display_name": "no move"}))
    stubs.devices.UpdateDevice(pb.UpdateDeviceRequest(device={"name": "devices/m-1", "gateway": "m-gw2"}))
    request = pb.ListDevicePlacementsRequest(parent="devices/m-1")
    assert [each.gateway for each in stubs.devices.ListDevicePlacements(request).placements] == ["m-gw2", "m-gw1"]


def test_a_purged_device_is_gone_but_its_id_and_number_stay_taken(tmp_path, new_database, stubs):
    environ = new_database()
    with running_registry(tmp_path, environ) as running:
        with running.channel() as channel:
            stubs = type(stubs)(channel)
            stubs.apply_type("gauge")
            number = create(stubs, "p-1", labels={"owner": "tnmt"}).device.device_num
            request = device_index_pb2.WatchDeviceIndexRequest()
            for response in stubs.index.WatchDeviceIndex(request, metadata=running.metadata):
                request.resume_token = response.resume_token
                if response.resume_token:
                    break
            stubs.devices.DeleteDevice(pb.DeleteDeviceRequest(name="devices/p-1"))
        running.stop()
        file = f"sqlite:///{tmp_path / 'registry' / 'registry.db'}"
        engine = create_engine(environ.get("CITYFLEET_REGISTRY__DATABASE_URL", file))
        with engine.begin() as connection:
            connection.execute(text("UPDATE devices SET purge_time_ms = 1 WHERE purge_time_ms IS NOT NULL"))
        engine.dispose()
        running.start()
        with running.channel() as channel:
            stubs = type(stubs)(channel)
            for _ in wait_until("the device is purged"):
                try:
                    get(stubs, "p-1")
                except grpc.RpcError as exc:
                    assert exc.code() == grpc.StatusCode.NOT_FOUND
                    break
            with pytest.raises(grpc.RpcError) as used:
                create(stubs, "p-1")
            assert code(used) == grpc.StatusCode.ALREADY_EXISTS
            assert create(stubs, "p-2").device.device_num > number
            # An ingest node that was away all the while must not go on to accept its token.
            watch = stubs.index.WatchDeviceIndex(request, metadata=running.metadata)
            heard = [(device.device_id, device.is_active) for device in next(watch).devices]
            assert heard == [("p-1", False), ("p-2", True)]
            watch.cancel()


async def test_what_is_left_of_a_purged_device_is_told_in_its_turn(tmp_path, new_database):
    url = new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(tmp_path / "registry.db")
    database = Database(url)
    await database.open()
    await database.write(catalogue.apply_type, TypeSpec("gauge", expected_interval_s=60), "")
    for number in range(3):
        await database.write(fleet.create_device, DeviceSpec(f"d-{number}", "gauge", ward_code="00070"), "")
    before = (await database.read(sequence.head)).revision
    for number in (0, 2):
        await database.write(lifecycle.delete_device, f"d-{number}", "")
    assert await database.write(lifecycle.purge_devices, ["d-2", "d-0"]) == 2
    head = (await database.read(sequence.head)).revision
    assert head == before + 4
    for after, found in ((0, [1, 3]), (head - 1, [3]), (head, [])):
        rows = await database.read(dimensions.purged_between, after, head, 10)
        assert [row.device_num for row in rows] == found
        assert all((row.device_type, row.ward_code, row.state) == ("gauge", "00070", "deleted") for row in rows)
        assert [row[0] for row in await database.read(index.rows_since, max(after, before), 10)] == found
    assert (await database.read(dimensions.expected, head)).devices == 3
    database.close()
