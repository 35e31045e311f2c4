"""Devices over gRPC: create, get, list, update, decommission, tokens, and the errors of each call."""

import threading

import pytest
from grpc import StatusCode

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from tests.support.provision import Provisioner
from tests.support.registry import running_registry
from tests.support.status import fails


def create(stubs, device_id, token="", **fields):
    device = pb.Device(**({"device_type": "gauge"} | fields))
    return stubs.devices.CreateDevice(pb.CreateDeviceRequest(device_id=device_id, device=device, token=token))


def get(stubs, device_id):
    return stubs.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{device_id}"))


def update(stubs, device_id, paths, etag="", **fields):
    given = pb.Device(name=f"devices/{device_id}", etag=etag, **fields)
    return stubs.devices.UpdateDevice(pb.UpdateDeviceRequest(device=given, update_mask={"paths": paths}))


def all_pages(stubs, page_size, filter_text=""):
    request, found = pb.ListDevicesRequest(page_size=page_size, filter=filter_text), []
    while True:
        page = stubs.devices.ListDevices(request)
        found += [device.name.removeprefix("devices/") for device in page.devices]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def test_a_created_device_is_the_one_that_is_read(stubs):
    create(stubs, "gw-a", device_type="gateway")
    created = create(
        stubs,
        "a-1",
        display_name="Hồ Tây",
        gateway="gw-a",
        ward_code="00097",
        site="Bờ đông",
        latitude=21.05,
        longitude=105.82,
        labels={"owner": "tnmt"},
    )
    device = get(stubs, "a-1")
    assert device == created.device
    assert device.name == "devices/a-1"
    assert device.state == pb.Device.STATE_ACTIVE
    assert (device.gateway, device.ward_code, dict(device.labels)) == ("gw-a", "00097", {"owner": "tnmt"})
    assert len(created.token) == 43
    assert device.create_time == device.update_time
    assert device.create_time.seconds > 1_700_000_000


def test_a_place_of_zero_is_a_place_and_none_is_none(stubs):
    assert create(stubs, "zero", latitude=0, longitude=0).device.HasField("latitude")
    assert not create(stubs, "nowhere").device.HasField("latitude")


def test_a_device_may_bring_its_token(stubs):
    assert create(stubs, "own-token", token="0123456789abcdef").token == ""
    with fails(StatusCode.INVALID_ARGUMENT, "TOKEN_LENGTH"):
        create(stubs, "own-token-2", token="short")


def test_an_id_is_taken_for_ever(stubs):
    create(stubs, "once")
    with fails(StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS") as failure:
        create(stubs, "once")
    assert failure.metadata == {"device": "once"}
    stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/once"))
    with fails(StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"):
        create(stubs, "once")


def test_a_dry_run_creates_nothing(stubs):
    request = pb.CreateDeviceRequest(device_id="dry", device=pb.Device(device_type="gauge"), validate_only=True)
    answer = stubs.devices.CreateDevice(request)
    assert (answer.token, answer.device.device_num, answer.device.etag) == ("", 0, "")
    with fails(StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND"):
        get(stubs, "dry")


def test_every_wrong_field_is_named_at_once(stubs):
    with fails(StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS") as failure:
        create(stubs, "Bad Id", device_type="none", ward_code="70", gateway="nobody", latitude=1)
    assert failure.violations == [
        ("device_id", "DEVICE_ID_INVALID"),
        ("ward_code", "WARD_UNKNOWN"),
        ("longitude", "PLACE_INCOMPLETE"),
        ("device_type", "DEVICE_TYPE_UNKNOWN"),
        ("gateway", "GATEWAY_UNKNOWN"),
    ]


def test_only_a_gateway_in_service_speaks_for_others(stubs):
    create(stubs, "gw-b", device_type="gateway")
    create(stubs, "gw-gone", device_type="gateway")
    create(stubs, "sensor")
    stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/gw-gone"))
    with fails(StatusCode.INVALID_ARGUMENT, "NOT_A_GATEWAY"):
        create(stubs, "b-1", gateway="sensor")
    with fails(StatusCode.INVALID_ARGUMENT, "GATEWAY_DECOMMISSIONED"):
        create(stubs, "b-1", gateway="gw-gone")
    with fails(StatusCode.INVALID_ARGUMENT, "GATEWAY_BEHIND_GATEWAY"):
        create(stubs, "b-1", device_type="gateway", gateway="gw-b")


def test_a_name_must_agree_with_the_id(stubs):
    with fails(StatusCode.INVALID_ARGUMENT, "NAME_DIFFERS"):
        create(stubs, "one", name="devices/two")
    with fails(StatusCode.INVALID_ARGUMENT, "NAME_INVALID"):
        stubs.devices.GetDevice(pb.GetDeviceRequest(name="sensors/x"))


def test_filters_find_exactly_what_matches(stubs):
    create(stubs, "gw-f", device_type="gateway", ward_code="00008")
    for number in range(6):
        labels = {"parity": "even" if number % 2 == 0 else "odd", "group": "f"}
        create(stubs, f"f-{number}", gateway="gw-f" if number < 4 else "", ward_code="00008", labels=labels)
    stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/f-0"))
    assert all_pages(stubs, 2, "gateway = gw-f") == ["f-0", "f-1", "f-2", "f-3"]
    assert all_pages(stubs, 2, 'ward_code = "00008" AND device_type = "gateway"') == ["gw-f"]
    assert all_pages(stubs, 2, "labels.group = f AND state = active AND labels.parity = even") == ["f-2", "f-4"]
    assert all_pages(stubs, 2, "labels.group = f AND state = decommissioned") == ["f-0"]
    assert all_pages(stubs, 2, "labels.group = f AND gateway = ''") == ["f-4", "f-5"]
    assert all_pages(stubs, 2, 'labels.group = f AND gateway = ""') == ["f-4", "f-5"]
    assert all_pages(stubs, 2, "device_type = unknown") == []
    assert all_pages(stubs, 2, 'labels.group = "F"') == []


def test_a_wrong_filter_lists_the_fields_there_are(stubs):
    with fails(StatusCode.INVALID_ARGUMENT, "FILTER_FIELD_UNKNOWN") as failure:
        stubs.devices.ListDevices(pb.ListDevicesRequest(filter="colour = red"))
    assert (
        "device_type, external_id, gateway, site_id, site, ward_code, hardware_revision, labels.KEY" in failure.message
    )


def test_a_page_token_belongs_to_its_filter(stubs):
    first = stubs.devices.ListDevices(pb.ListDevicesRequest(page_size=1, filter="state = active"))
    assert first.next_page_token
    with fails(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_OF_OTHER_REQUEST"):
        stubs.devices.ListDevices(pb.ListDevicesRequest(page_size=1, page_token=first.next_page_token))


def test_pages_are_complete_while_devices_are_added_and_changed(stubs):
    before = [f"p-{number:03d}" for number in range(60)]
    for device_id in before:
        create(stubs, device_id, labels={"page": "p"})
    done = threading.Event()

    def disturb():
        number = 0
        while not done.is_set():
            create(stubs, f"late-{number}", labels={"page": "p"})
            update(stubs, before[number % 60], ["site"], site=f"moved {number}")
            number += 1

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(5):
            found = all_pages(stubs, 3, "labels.page = p")
            assert [device_id for device_id in found if device_id.startswith("p-")] == before
            assert len(found) == len(set(found))
    finally:
        done.set()
        thread.join()


def test_an_update_changes_what_its_mask_names(stubs):
    device = create(stubs, "u-1", site="here", labels={"a": "1", "b": "2"}).device
    moved = update(stubs, "u-1", ["site", "latitude", "longitude"], site="there", latitude=21, longitude=105)
    assert (moved.site, moved.latitude, dict(moved.labels)) == ("there", 21, {"a": "1", "b": "2"})
    assert moved.etag != device.etag
    labelled = update(stubs, "u-1", ["labels.a", "labels.b"], labels={"a": "3", "c": "not named"})
    assert dict(labelled.labels) == {"a": "3"}
    assert all_pages(stubs, 10, "labels.b = 2 AND labels.a = 1") == []
    cleared = update(stubs, "u-1", ["latitude", "longitude", "labels"])
    assert not cleared.HasField("latitude")
    assert not cleared.labels
    whole = update(stubs, "u-1", ["*"], device_type="gauge", display_name="new")
    assert (whole.site, whole.display_name) == ("", "new")
    implied = update(stubs, "u-1", [], site="implied")
    assert (implied.site, implied.display_name) == ("implied", "new")


def test_an_update_without_a_change_leaves_the_etag(stubs):
    device = create(stubs, "u-2", site="here").device
    assert update(stubs, "u-2", ["site"], site="here") == device


def test_an_update_of_an_old_version_is_refused(stubs):
    etag = create(stubs, "u-3").device.etag
    current = update(stubs, "u-3", ["site"], etag=etag, site="one")
    with fails(StatusCode.ABORTED, "ETAG_MISMATCH") as failure:
        update(stubs, "u-3", ["site"], etag=etag, site="two")
    assert failure.metadata["etag"] == current.etag
    assert get(stubs, "u-3").site == "one"


@pytest.mark.parametrize(
    ("paths", "fields", "reason"),
    [
        (["state"], {}, "FIELD_NOT_UPDATABLE"),
        (["device_num"], {}, "FIELD_NOT_UPDATABLE"),
        (["colour"], {}, "FIELD_NOT_UPDATABLE"),
        (["ward_code"], {"ward_code": "1"}, "WARD_UNKNOWN"),
        (["device_type"], {}, "DEVICE_TYPE_MISSING"),
        (["device_type"], {"device_type": "none"}, "DEVICE_TYPE_UNKNOWN"),
        (["gateway"], {"gateway": "u-4"}, "GATEWAY_ITSELF"),
        (["latitude"], {"latitude": 1}, "PLACE_INCOMPLETE"),
        (["labels.A"], {"labels": {"A": "x"}}, "LABEL_KEY_INVALID"),
    ],
)
def test_wrong_updates_are_refused(stubs, paths, fields, reason):
    if not all_pages(stubs, 1, "labels.only = u-4"):
        create(stubs, "u-4", labels={"only": "u-4"})
    with fails(StatusCode.INVALID_ARGUMENT, reason):
        update(stubs, "u-4", paths, **fields)


def test_a_gateway_in_use_stays(stubs):
    create(stubs, "gw-c", device_type="gateway")
    create(stubs, "c-1", gateway="gw-c")
    with fails(StatusCode.FAILED_PRECONDITION, "GATEWAY_IN_USE") as failure:
        stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/gw-c"))
    assert failure.metadata["devices_behind"] == "1"
    with fails(StatusCode.FAILED_PRECONDITION, "GATEWAY_IN_USE"):
        update(stubs, "gw-c", ["device_type"], device_type="gauge")
    assert update(stubs, "c-1", ["gateway"]).gateway == ""
    gone = stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/gw-c"))
    assert gone.state == pb.Device.STATE_DECOMMISSIONED


def test_decommissioning_again_changes_nothing(stubs):
    create(stubs, "d-1")
    request = pb.DecommissionDeviceRequest(name="devices/d-1")
    gone = stubs.devices.DecommissionDevice(request)
    assert stubs.devices.DecommissionDevice(request) == gone
    with fails(StatusCode.ABORTED, "ETAG_MISMATCH"):
        stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/d-1", etag='"1"'))
    with fails(StatusCode.FAILED_PRECONDITION, "DEVICE_DECOMMISSIONED"):
        update(stubs, "d-1", ["site"], site="new")
    with fails(StatusCode.FAILED_PRECONDITION, "DEVICE_DECOMMISSIONED"):
        stubs.devices.RotateDeviceToken(pb.RotateDeviceTokenRequest(name="devices/d-1"))


def test_unknown_devices_are_not_found(stubs):
    name = "devices/nobody"
    for call, request in (
        (stubs.devices.GetDevice, pb.GetDeviceRequest(name=name)),
        (stubs.devices.UpdateDevice, pb.UpdateDeviceRequest(device=pb.Device(name=name, site="x"))),
        (stubs.devices.DecommissionDevice, pb.DecommissionDeviceRequest(name=name)),
        (stubs.devices.RotateDeviceToken, pb.RotateDeviceTokenRequest(name=name)),
    ):
        with fails(StatusCode.NOT_FOUND, "DEVICE_NOT_FOUND"):
            call(request)


def test_numbers_are_kept_and_never_used_again_after_a_crash(tmp_path, new_database):
    with running_registry(tmp_path, new_database()) as registry:
        with registry.channel() as channel:
            with Provisioner(registry.channel()) as fleet:
                fleet.type("gauge", {"rain_mm": None})
                fleet.device("n-1", "gauge")
                fleet.device("n-2", "gauge")
            DeviceServiceStub(channel).DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/n-2"))
            before = DeviceServiceStub(channel).ListDevices(pb.ListDevicesRequest()).devices
        registry.kill()
        registry.start()
        with registry.channel() as channel:
            devices = DeviceServiceStub(channel)
            assert devices.ListDevices(pb.ListDevicesRequest()).devices == before
            request = pb.CreateDeviceRequest(device_id="n-3", device=pb.Device(device_type="gauge"))
            assert devices.CreateDevice(request).device.device_num == 3
