"""The device index is what a dict would be, and its feed reads what the protobuf runtime reads."""

from hashlib import sha256
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from cityfleet.registry.v1 import device_index_pb2 as pb
from ext.telemetry.index import AUTH_DECOMMISSIONED, AUTH_UNKNOWN_DEVICE, AUTH_WRONG_TOKEN, DeviceIndex
from ext.telemetry.index_feed import DeviceStream

TOKENS = [f"token-{n}".encode() for n in range(4)]
DIGESTS = [sha256(token).digest() for token in TOKENS]

ids = st.sampled_from(["a", "b", "wl-1", "w" * 63, "gw-0042", "z-9"])
externals = st.sampled_from(["", "", "0004a30b001c0530", "plant/edge", "plant/edge/Pegel ü", "x" * 191])
changes = st.tuples(
    ids,
    st.integers(1, 2**32 - 1),
    st.sampled_from(["", "00070", "123456789012345"]),
    externals,
    st.lists(st.integers(0, 3), max_size=3, unique=True),
    st.booleans(),
)


class Twin:
    """What the index should know, in dicts."""

    def __init__(self) -> None:
        self.devices: dict[str, dict[str, Any]] = {}

    def put(self, change: tuple[str, int, str, str, list[int], bool]) -> bool:
        device_id, num, ward, external, tokens, is_active = change
        before = self.devices.get(device_id, {"tokens": []})["tokens"]
        held = tokens if is_active else []
        for other in self.devices.values():
            if external and other["external"] == external:
                other["external"] = ""
        self.devices[device_id] = {
            "num": num,
            "ward": ward,
            "external": external,
            "tokens": held,
            "active": is_active,
        }
        return bool(set(before) - set(held))


def check(index: DeviceIndex, twin: Twin) -> None:
    assert len(index) == len(twin.devices)
    for device_id, known in twin.devices.items():
        slot = index.find_device(device_id)
        facts = index.device(slot)
        assert (facts["device_id"], facts["device_num"]) == (device_id, known["num"])
        assert (facts["ward_code"], facts["external_id"]) == (known["ward"], known["external"])
        if known["external"]:
            assert index.find_external_id(known["external"]) == slot
        for number, token in enumerate(TOKENS):
            answer = index.authenticate(device_id.encode(), token)
            if not known["active"]:
                assert answer == AUTH_DECOMMISSIONED
            else:
                assert answer == (slot if number in known["tokens"] else AUTH_WRONG_TOKEN)
    held = {known["external"] for known in twin.devices.values()}
    for external in ("0004a30b001c0530", "plant/edge", "plant/edge/Pegel ü", "x" * 191):
        assert (index.find_external_id(external) >= 0) == (external in held)
    assert index.authenticate(b"nobody", TOKENS[0]) == AUTH_UNKNOWN_DEVICE


@settings(max_examples=150, deadline=None)
@given(st.lists(changes, max_size=25))
def test_any_order_of_changes_gives_what_a_dict_has(order):
    index, twin = DeviceIndex(), Twin()
    for change in order:
        device_id, num, ward, external, tokens, is_active = change
        revoked = index.put_device(num, device_id, 1, ward, 0, [DIGESTS[n] for n in tokens], is_active, external)
        assert revoked == twin.put(change)
    check(index, twin)


@settings(max_examples=80, deadline=None)
@given(st.lists(changes, max_size=12), st.lists(changes, max_size=12), st.lists(changes, max_size=12))
def test_snapshot_leaves_what_it_names(before, cut_short, whole):
    index, twin = DeviceIndex(), Twin()

    def put(order: list[tuple[str, int, str, str, list[int], bool]]) -> None:
        for change in order:
            device_id, num, ward, external, tokens, is_active = change
            index.put_device(num, device_id, 1, ward, 0, [DIGESTS[n] for n in tokens], is_active, external)
            twin.put(change)

    put(before)
    index.begin_snapshot()
    put(cut_short)
    index.begin_snapshot()
    put(whole)
    could_connect = {device_id for device_id, known in twin.devices.items() if known["active"]}
    gone = set(twin.devices) - {change[0] for change in whole}
    assert set(index.end_snapshot()) == gone & could_connect
    for device_id in gone:
        twin.devices[device_id] |= {"external": "", "tokens": [], "active": False}
    check(index, twin)


def entry(change: tuple[str, int, str, str, list[int], bool]) -> pb.IndexDevice:
    device_id, num, ward, external, tokens, is_active = change
    return pb.IndexDevice(
        device_num=num,
        device_id=device_id,
        type_num=1,
        ward_code=ward,
        external_id=external,
        token_sha256=[DIGESTS[n] for n in tokens],
        is_active=is_active,
    )


responses = st.builds(
    lambda order, phase, token, metrics: pb.WatchDeviceIndexResponse(
        phase=phase,
        resume_token=token,
        metrics=[pb.IndexMetric(metric_num=n + 1, metric=f"m_{n}", unit="m") for n in range(metrics)],
        devices=[entry(change) for change in order],
    ),
    st.lists(changes, max_size=10),
    st.integers(0, 4),
    st.text(max_size=10),
    st.integers(0, 2),
)


def put_by_runtime(index: DeviceIndex, response: pb.WatchDeviceIndexResponse) -> tuple[list[str], int]:
    """Returns the ids that lost a token, and how many devices were refused."""
    revoked, refused = [], 0
    for device in response.devices:
        try:
            if index.put_device(
                device.device_num,
                device.device_id,
                device.type_num,
                device.ward_code,
                device.gateway_num,
                list(device.token_sha256),
                device.is_active,
                device.external_id,
            ):
                revoked.append(device.device_id)
        except ValueError:
            refused += 1
    return revoked, refused


def facts_of(index: DeviceIndex) -> list[Any]:
    return [index.device(slot) for slot in range(len(index))]


@settings(max_examples=150, deadline=None)
@given(responses, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3), st.integers(1, 7))
def test_feed_reads_what_the_protobuf_runtime_reads(response, damage, limit):
    data = bytearray(response.SerializeToString())
    for at, value in damage:
        if data:
            data[at % len(data)] = value
    expected, index = DeviceIndex(), DeviceIndex()
    try:
        parsed = pb.WatchDeviceIndexResponse.FromString(bytes(data))
    except DecodeError:
        # What else is wrong with it the runtime finds in `rest`.
        with pytest.raises((ValueError, DecodeError)):
            pb.WatchDeviceIndexResponse.FromString(DeviceStream(bytes(data)).rest)
        return
    stream = DeviceStream(bytes(data))
    revoked = []
    while len(stream):
        revoked += stream.apply(index, limit)
    assert (revoked, stream.refused) == put_by_runtime(expected, parsed)
    assert bool(stream.problem) == bool(stream.refused)
    assert facts_of(index) == facts_of(expected)
    parsed.ClearField("devices")
    assert pb.WatchDeviceIndexResponse.FromString(stream.rest) == parsed


def test_a_device_that_cannot_be_taken_does_not_hold_up_the_others():
    response = pb.WatchDeviceIndexResponse(
        devices=[
            pb.IndexDevice(device_num=1, device_id="ok-1"),
            pb.IndexDevice(device_num=2, device_id="NOT OK"),
            pb.IndexDevice(device_num=0, device_id="zero"),
            pb.IndexDevice(device_num=3, device_id="many", token_sha256=[bytes(32)] * 9),
            pb.IndexDevice(device_num=4, device_id="ok-2"),
        ]
    )
    index = DeviceIndex()
    stream = DeviceStream(response.SerializeToString())
    assert stream.apply(index, 100) == []
    assert (len(index), stream.refused, len(stream)) == (2, 3, 0)
    assert stream.problem.startswith("device 'NOT OK': the device id is not")


def test_a_device_takes_at_most_64_bytes_beside_its_id():
    index = DeviceIndex()
    names = [f"wl-{n:x}-{n % 97}" for n in range(60_000)]
    for num, name in enumerate(names, 1):
        index.put_device(num, name, 1, f"{num % 126:05}", 0, [sha256(name.encode()).digest()], True)
        # From the first thousands on, wherever the tables are in their growth.
        if num % 5_000 == 0:
            assert (index.memory_bytes - sum(map(len, names[:num]))) / num <= 64
    packed = b"".join(bytes([len(name)]) + name.encode() for name in names)
    assert index.count_known(packed, True) == index.count_known(packed, False) == len(names)
    assert index.count_known(packed.replace(b"wl-", b"xl-"), True) == 0
