"""The device index: who a token belongs to, what a snapshot retires, what is replaced in place."""

from hashlib import sha256

import pytest

from ext.telemetry.frames import ENCODING_NAMES
from ext.telemetry.index import (
    AUTH_DECOMMISSIONED,
    AUTH_NOT_LOADED,
    AUTH_UNKNOWN_DEVICE,
    AUTH_WRONG_TOKEN,
    DeviceIndex,
)


def digest(token: bytes) -> bytes:
    return sha256(token).digest()


@pytest.fixture
def index() -> DeviceIndex:
    index = DeviceIndex()
    index.put_metric(1, "water_level_m", "m")
    index.put_type(1, "gauge", False, "senml-json", [(1, -1.0, 12.5)])
    index.put_type(2, "gateway", True, "batch", [])
    index.put_device(11, "wl-1", 1, "00070", 12, [digest(b"one"), digest(b"two")], True)
    index.put_device(12, "gw-1", 2, "", 0, [digest(b"gw")], True)
    return index


def test_every_valid_token_authenticates(index: DeviceIndex) -> None:
    slot = index.find_device("wl-1")
    assert slot >= 0
    assert index.authenticate(b"wl-1", b"one") == slot
    assert index.authenticate(b"wl-1", b"two") == slot


def test_wrong_token_and_unknown_device_are_told_apart(index: DeviceIndex) -> None:
    assert index.authenticate(b"wl-1", b"gw") == AUTH_WRONG_TOKEN
    assert index.authenticate(b"wl-1", b"") == AUTH_WRONG_TOKEN
    assert index.authenticate(b"wl-2", b"one") == AUTH_UNKNOWN_DEVICE
    assert index.authenticate(b"", b"one") == AUTH_UNKNOWN_DEVICE


def test_decommissioned_device_keeps_its_slot_but_cannot_authenticate(index: DeviceIndex) -> None:
    slot = index.find_device("wl-1")
    index.put_device(11, "wl-1", 1, "00070", 0, [], False)
    assert index.find_device(b"wl-1") == slot
    assert index.authenticate(b"wl-1", b"one") == AUTH_DECOMMISSIONED
    assert not index.device(slot)["is_active"]


def test_facts_of_a_device_come_from_it_and_its_type(index: DeviceIndex) -> None:
    assert index.device(index.find_device("gw-1")) == {
        "device_id": "gw-1",
        "device_num": 12,
        "gateway_num": 0,
        "type_num": 2,
        "device_type": "gateway",
        "external_id": "",
        "ward_code": "",
        "is_active": True,
        "is_gateway": True,
        "default_encoding": ENCODING_NAMES["batch"],
    }
    assert index.device(index.find_device("wl-1"))["ward_code"] == "00070"


def test_snapshot_retires_what_it_does_not_name(index: DeviceIndex) -> None:
    index.begin_snapshot()
    assert index.authenticate(b"wl-1", b"one") >= 0
    index.put_type(2, "gateway", True, "batch", [])
    index.put_device(12, "gw-1", 2, "", 0, [digest(b"gw")], True)
    index.end_snapshot()
    assert index.authenticate(b"wl-1", b"one") == AUTH_DECOMMISSIONED
    assert index.authenticate(b"gw-1", b"gw") >= 0
    assert index.device(index.find_device("wl-1"))["device_type"] == ""


def test_snapshot_cut_short_retires_nothing(index: DeviceIndex) -> None:
    index.begin_snapshot()
    index.begin_snapshot()
    for num, name in ((11, "wl-1"), (12, "gw-1")):
        index.put_device(num, name, 1, "", 0, [digest(b"t")], True)
    index.end_snapshot()
    assert index.authenticate(b"wl-1", b"t") >= 0
    with pytest.raises(RuntimeError):
        index.end_snapshot()


def test_type_change_reaches_its_devices(index: DeviceIndex) -> None:
    index.put_type(1, "gauge", True, "batch", [])
    facts = index.device(index.find_device("wl-1"))
    assert facts["is_gateway"]
    assert facts["default_encoding"] == ENCODING_NAMES["batch"]


def test_hundred_thousand_devices_are_found_by_their_own_id() -> None:
    index = DeviceIndex()
    names = [f"dev-{n:x}-{n % 7}" for n in range(100_000)]
    for num, name in enumerate(names, 1):
        index.put_device(num, name, 1, f"{num % 126:05}", 0, [], True)
    assert len(index) == len(names)
    assert [index.find_device(name) for name in names] == list(range(len(names)))
    assert index.find_device("dev-") == -1
    assert index.device(77_777)["device_num"] == 77_778


@pytest.mark.parametrize("device_id", ["", "UPPER", "a/b", "a" * 64, "ü", "a b"])
def test_bad_device_id_is_refused(index: DeviceIndex, device_id: str) -> None:
    with pytest.raises(ValueError):
        index.put_device(1, device_id, 1, "", 0, [], True)


def test_numbers_and_hashes_out_of_range_are_refused(index: DeviceIndex) -> None:
    with pytest.raises(ValueError):
        index.put_device(0, "a", 1, "", 0, [], True)
    with pytest.raises(ValueError):
        index.put_device(2**32, "a", 1, "", 0, [], True)
    with pytest.raises(ValueError):
        index.put_device(1, "a", 1, "", 0, [b"short"], True)
    with pytest.raises(ValueError):
        index.put_metric(0, "m", "m")
    with pytest.raises(ValueError):
        index.put_metric(2, "water_level_m", "m")
    with pytest.raises(ValueError):
        index.put_type(1, "t", False, "batch", [(1, float("nan"), None)])
    assert index.find_device("a") == -1
    with pytest.raises(IndexError):
        index.device_id(99)


def test_a_stranger_is_not_yet_known_while_the_first_snapshot_is_awaited():
    index = DeviceIndex()
    index.awaits_snapshot = True
    assert index.authenticate(b"wl-1", b"any") == AUTH_NOT_LOADED
    index.begin_snapshot()
    index.end_snapshot()
    assert index.authenticate(b"wl-1", b"any") == AUTH_UNKNOWN_DEVICE


def test_metric_may_change_its_unit_and_units_may_be_added(index: DeviceIndex) -> None:
    index.put_unit(1, "cm", 0.01, 0.0)
    with pytest.raises(ValueError):
        index.put_unit(1, "m", 1.0, 0.0)
    with pytest.raises(ValueError):
        index.put_unit(1, "x", 0.0, 0.0)
    with pytest.raises(ValueError):
        index.put_unit(1, "x" * 16, 1.0, 0.0)
    with pytest.raises(KeyError):
        index.put_unit(2, "cm", 0.01, 0.0)
    index.put_metric(1, "water_level_m", "cm")
    index.put_unit(1, "m", 100.0, 0.0)


def test_metric_number_may_get_another_name(index: DeviceIndex) -> None:
    index.put_metric(1, "level_m", "m")
    index.put_metric(2, "water_level_m", "m")
    with pytest.raises(ValueError):
        index.put_metric(3, "level_m", "m")


def test_thousand_metrics_and_types_are_kept_apart() -> None:
    index = DeviceIndex()
    for num in range(1, 1001):
        index.put_metric(num, f"metric_{num}", "m")
        index.put_type(num, f"type-{num}", False, "batch", [(n, None, None) for n in range(1, num + 1, 97)])
    for num in (1, 500, 1000):
        index.put_device(num, f"d-{num}", num, "", 0, [], True)
        assert index.device(index.find_device(f"d-{num}"))["device_type"] == f"type-{num}"


def test_external_id_finds_its_device_until_another_takes_it(index: DeviceIndex) -> None:
    index.put_device(11, "wl-1", 1, "", 0, [], True, "0004a30b001c0530")
    slot = index.find_device("wl-1")
    assert index.find_external_id("0004a30b001c0530") == slot
    assert index.device(slot)["external_id"] == "0004a30b001c0530"
    index.put_device(13, "wl-3", 1, "", 0, [], True, "0004a30b001c0530")
    assert index.find_external_id(b"0004a30b001c0530") == index.find_device("wl-3")
    assert index.device(slot)["external_id"] == ""
    # The first one's own change comes later: it must not take away what is the other's now.
    index.put_device(11, "wl-1", 1, "", 0, [], True, "plant/edge")
    assert index.find_external_id("0004a30b001c0530") == index.find_device("wl-3")
    assert index.find_external_id("plant/edge") == slot
    index.put_device(11, "wl-1", 1, "", 0, [], False)
    assert index.find_external_id("plant/edge") == -1
    assert index.find_external_id("") == -1
    with pytest.raises(ValueError):
        index.put_device(11, "wl-1", 1, "", 0, [], True, "x" * 192)


def test_operator_is_known_by_its_token_alone_while_it_is_active(index: DeviceIndex) -> None:
    assert not index.put_operator("desk", digest(b"one"), ["cf/v1/#"], [], True)
    found = index.authenticate_operator(b"desk", b"one")
    assert found is not None
    assert (found.name, found.subscribe_filters, found.publish_filters) == ("desk", (b"cf/v1/#",), ())
    assert index.authenticate_operator(b"desk", b"two") is None
    assert index.authenticate_operator(b"nobody", b"one") is None
    assert not index.put_operator("desk", digest(b"one"), ["cf/v1/#"], [], True)
    assert index.put_operator("desk", digest(b"two"), ["cf/v1/#"], [], True)
    assert index.authenticate_operator(b"desk", b"one") is None
    assert index.put_operator("desk", b"", [], [], False)
    assert index.authenticate_operator(b"desk", b"two") is None


def test_snapshot_retires_operators_too(index: DeviceIndex) -> None:
    index.put_operator("stays", digest(b"t"), [], [], True)
    index.put_operator("goes", digest(b"t"), [], [], True)
    index.begin_snapshot()
    index.put_operator("stays", digest(b"t"), [], [], True)
    index.end_snapshot()
    assert index.authenticate_operator(b"stays", b"t") is not None
    assert index.authenticate_operator(b"goes", b"t") is None
