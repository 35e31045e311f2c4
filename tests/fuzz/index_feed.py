"""Fuzzing the watch of the device index, and the index on disk: what is read is what the protobuf runtime reads."""

from google.protobuf.message import DecodeError

from cityfleet.registry.v1 import device_index_pb2 as pb
from ext.telemetry.index import DeviceIndex
from ext.telemetry.index_feed import DeviceStream
from ext.telemetry.index_image import parts_of, restore


def _response(*devices: pb.IndexDevice) -> bytes:
    return pb.WatchDeviceIndexResponse(
        phase=pb.WatchDeviceIndexResponse.PHASE_SNAPSHOT,
        resume_token="registry:1",
        metrics=[pb.IndexMetric(metric_num=1, metric="rain_mm", unit="mm")],
        devices=devices,
    ).SerializeToString()


_DEVICE = pb.IndexDevice(
    device_num=7,
    device_id="wl-long-bien-01",
    type_num=3,
    ward_code="00097",
    gateway_num=70_000,
    token_sha256=[bytes(32), bytes(range(32))],
    is_active=True,
    external_id="0004a30b001c0530",
)
CORPUS = [
    _response(),
    _response(_DEVICE),
    _response(_DEVICE, pb.IndexDevice(device_num=8, device_id="gw-1", is_active=True), pb.IndexDevice(device_num=9)),
    _response(pb.IndexDevice(device_num=8, device_id="a", external_id="0004a30b001c0530", is_active=True), _DEVICE),
]


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if the index differs from one that was filled by the protobuf runtime."""
    try:
        response = pb.WatchDeviceIndexResponse.FromString(data)
    except DecodeError:
        response = None
    try:
        stream = DeviceStream(data)
        pb.WatchDeviceIndexResponse.FromString(stream.rest)
    except (DecodeError, ValueError):
        assert response is None
        return
    assert response is not None
    found, wanted = DeviceIndex(), DeviceIndex()
    found.begin_snapshot()
    while len(stream):
        stream.apply(found, 2)
    found.end_snapshot()
    for device in response.devices:
        try:
            wanted.put_device(
                device.device_num,
                device.device_id,
                device.type_num,
                device.ward_code,
                device.gateway_num,
                list(device.token_sha256),
                device.is_active,
                device.external_id,
            )
        except ValueError:
            continue
    _agree(found, wanted)
    again = DeviceIndex()
    restore(again, [memoryview(part) for part in parts_of(found)])
    _agree(again, wanted)


def _agree(index: DeviceIndex, wanted: DeviceIndex) -> None:
    assert len(index) == len(wanted)
    for slot in range(len(wanted)):
        facts = wanted.device(slot)
        assert index.device(slot) == facts
        assert index.find_device(facts["device_id"]) == slot
        if facts["external_id"]:
            assert index.find_external_id(facts["external_id"]) == slot
