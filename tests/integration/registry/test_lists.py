"""Lists of devices through gRPC, on both databases: filters, orders, pages, read masks, counts."""

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from cityfleet.registry.v1 import device_pb2 as pb
from tests.support.status import fails

WARDS = ["00070", "00082", "00091"]


@pytest.fixture(scope="module")
def fleet(stubs):
    """A gateway, and 30 gauges: behind it if even, in three wards, some with a place at Long Bien bridge."""
    rows = [pb.ImportRow(row=0, device=pb.Device(name="devices/gw-1", device_type="gateway", ward_code="00070"))]
    for at in range(30):
        device = pb.Device(
            name=f"devices/wl-{at:02}",
            device_type="gauge",
            display_name=f"Trạm {chr(ord('a') + at % 5)}{'_' if at % 2 else '%'}",
            ward_code=WARDS[at % 3],
            gateway="gw-1" if at % 2 == 0 else "",
            labels={"owner": "tnmt" if at < 10 else "evn"} | ({"net.slice": "iot"} if at == 7 else {}),
        )
        if at < 4:
            device.latitude, device.longitude = 21.0435 + at * 0.01, 105.8576
        rows.append(pb.ImportRow(row=at + 1, device=device))
    requests = [pb.ImportDevicesRequest(rows=rows[:1]), pb.ImportDevicesRequest(rows=rows[1:])]
    results = [result for answer in stubs.devices.ImportDevices(iter(requests)) for result in answer.results]
    assert not [result.errors for result in results if result.errors]
    stubs.devices.DecommissionDevice(pb.DecommissionDeviceRequest(name="devices/wl-29"))
    return stubs.devices


def ids(devices) -> list[str]:
    return [device.name.removeprefix("devices/") for device in devices]


def listed(fleet, **fields) -> list[str]:
    """All pages."""
    request, found = pb.ListDevicesRequest(**fields), []
    while True:
        page = fleet.ListDevices(request)
        found += ids(page.devices)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", ["gw-1", *(f"wl-{at:02}" for at in range(30))]),
        ("device_type = gateway", ["gw-1"]),
        ("device_id = wl-0* AND ward_code = 00070", ["wl-00", "wl-03", "wl-06", "wl-09"]),
        ("gateway = gw-1 AND device_num < 8", ["wl-00", "wl-02", "wl-04"]),
        ("gateway:* device_id > wl-26", ["wl-28"]),
        ("NOT gateway:* AND labels.owner = tnmt", ["wl-01", "wl-03", "wl-05", "wl-07", "wl-09"]),
        ("state = decommissioned", ["wl-29"]),
        ("labels:net.slice OR device_id = gw-1", ["gw-1", "wl-07"]),
        ('display_name:"TRạM A%" labels.owner = evn', ["wl-10", "wl-20"]),
        ("near(21.0435, 105.8576, 1200)", ["wl-00", "wl-01"]),
        ("near(21.0435, 105.8576, 100000) -near(21.0435, 105.8576, 2000)", ["wl-02", "wl-03"]),
        ("connectivity != never_seen OR health = good", []),
        ("health = unknown device_id = wl-05", ["wl-05"]),
        ("reported.last_seen_time:* OR reported.firmware_version:*", []),
        ("NOT reported.last_seen_time > ago(1h) AND reported.firmware_version = '' wl-05", ["wl-05"]),
        ("create_time > ago(1h) AND update_time <= 2100-01-01 AND external_id = '' AND site_id = '' 05", ["wl-05"]),
        ('device_type = "ga*" gateway = "*-1" device_id < wl-03', ["wl-00", "wl-02"]),
    ],
)
def test_a_filter_finds_its_devices(fleet, text, expected):
    assert listed(fleet, filter=text, page_size=4) == expected


@pytest.mark.parametrize(
    "order_by",
    [
        "device_id desc",
        "ward_code, device_id desc",
        "ward_code desc, gateway, device_num desc",
        "display_name desc, ward_code desc",
        "labels.owner, labels.net.slice desc, device_type",
        "health, connectivity desc, reported.last_seen_time, update_time desc",
        "state desc, site_id, external_id, create_time",
    ],
)
def test_pages_in_any_order_have_each_device_once(fleet, order_by):
    whole = fleet.ListDevices(pb.ListDevicesRequest(order_by=order_by)).devices
    assert len(whole) == 31

    def value(device, path):
        field, _, key = path.partition(".")
        if path in ("device_id", "device_num"):
            return getattr(device, path, device.name)
        return device.labels.get(key, "") if field == "labels" else str(getattr(device, field))

    expected = sorted(whole, key=lambda device: device.device_num)
    if not order_by.startswith(("health", "state")):
        keys = [part.split() for part in order_by.split(", ")]
        if all(key[-1] == "desc" for key in keys):
            expected.reverse()
        for path, *desc in reversed(keys):
            expected.sort(key=lambda device, path=path: value(device, path), reverse=bool(desc))
        assert ids(whole) == ids(expected)
    for size in (1, 7):
        assert listed(fleet, order_by=order_by, page_size=size) == ids(whole)


def test_a_device_that_comes_meanwhile_moves_no_other(fleet):
    request = pb.ListDevicesRequest(filter='device_id = "wl-*"', order_by="device_id desc", page_size=10)
    first = fleet.ListDevices(request)
    fleet.UpdateDevice(
        pb.UpdateDeviceRequest(device=pb.Device(name="devices/wl-25", site="x"), update_mask=FieldMask(paths=["site"]))
    )
    request.page_token = first.next_page_token
    assert ids(fleet.ListDevices(request).devices) == [f"wl-{at:02}" for at in range(19, 9, -1)]


def test_a_token_goes_with_its_request_only(fleet):
    token = fleet.ListDevices(pb.ListDevicesRequest(page_size=1)).next_page_token
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_OF_OTHER_REQUEST"):
        fleet.ListDevices(pb.ListDevicesRequest(page_size=1, page_token=token, order_by="device_id"))


def test_a_read_mask_leaves_the_rest_out(fleet):
    request = pb.ListDevicesRequest(filter="device_id = wl-07", read_mask=FieldMask(paths=["name", "labels"]))
    (device,) = fleet.ListDevices(request).devices
    assert device == pb.Device(name="devices/wl-07", labels={"owner": "tnmt", "net.slice": "iot"})


@pytest.mark.parametrize(
    ("fields", "reason", "says"),
    [
        ({"filter": "colour = red"}, "FILTER_FIELD_UNKNOWN", "ward_code"),
        ({"filter": "a" * 100_000}, "FILTER_TOO_LONG", "10000"),
        ({"filter": "in_group(x)"}, "FILTER_VALUE_INVALID", "no group"),
        ({"filter": "in_query(x)"}, "FILTER_VALUE_INVALID", "no saved query"),
        ({"order_by": "colour"}, "ORDER_FIELD_UNKNOWN", "ward_code"),
        ({"order_by": "labels"}, "ORDER_FIELD_UNKNOWN", "labels.KEY"),
        ({"order_by": "ward_code down"}, "ORDER_SYNTAX", "desc"),
        ({"order_by": "ward_code, ward_code"}, "ORDER_SYNTAX", "twice"),
        ({"read_mask": FieldMask(paths=["colour"])}, "READ_MASK_INVALID", "ward_code"),
        ({"page_size": -1}, "PAGE_SIZE_NEGATIVE", "0"),
    ],
)
def test_a_list_that_cannot_be_says_why(fleet, fields, reason, says):
    with fails(grpc.StatusCode.INVALID_ARGUMENT, reason) as told:
        fleet.ListDevices(pb.ListDevicesRequest(**fields))
    assert says in told.message


@pytest.mark.parametrize(
    ("group_by", "text", "expected"),
    [
        ([], "", [([], 31)]),
        (["ward_code"], "", [(["00070"], 11), (["00082"], 10), (["00091"], 10)]),
        (
            ["device_type", "state"],
            "",
            [(["gauge", "active"], 29), (["gateway", "active"], 1), (["gauge", "decommissioned"], 1)],
        ),
        (["gateway"], "state = active", [([""], 15), (["gw-1"], 15)]),
        (["labels.owner"], "device_type = gauge", [(["evn"], 20), (["tnmt"], 10)]),
        (["health", "connectivity", "site_id"], "", [(["unknown", "never_seen", ""], 31)]),
        (["reported.firmware_version", "hardware_revision"], "ward_code = 00091", [(["", ""], 10)]),
        (["ward_code"], "device_id = nobody", []),
    ],
)
def test_devices_are_counted_by_what_they_have_in_common(fleet, group_by, text, expected):
    answer = fleet.AggregateDevices(pb.AggregateDevicesRequest(filter=text, group_by=group_by))
    assert [(list(group.values), group.devices) for group in answer.groups] == expected
    assert (answer.total_devices, answer.total_groups) == (sum(count for _, count in expected), len(expected))


def test_totals_are_of_the_groups_left_out_too(fleet):
    answer = fleet.AggregateDevices(pb.AggregateDevicesRequest(group_by=["ward_code"], max_groups=1))
    assert ([group.devices for group in answer.groups], answer.total_devices, answer.total_groups) == ([11], 31, 3)


@pytest.mark.parametrize(
    "group_by", [["colour"], ["labels"], ["ward_code"] * 2, ["ward_code", "state", "health", "gateway"]]
)
def test_a_count_by_what_there_is_not_is_refused(fleet, group_by):
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "GROUP_BY_INVALID"):
        fleet.AggregateDevices(pb.AggregateDevicesRequest(group_by=group_by))
