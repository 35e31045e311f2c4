"""The device index watch: snapshot, changes, resume, foreign tokens, slow watchers, and who may watch."""

import hashlib
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from grpc import StatusCode

from cityfleet.registry.v1 import device_index_pb2 as pb
from cityfleet.registry.v1 import device_pb2
from cityfleet.registry.v1.device_index_pb2_grpc import DeviceIndexServiceStub
from tests.support.provision import Provisioner
from tests.support.registry import RunningRegistry, running_registry, wait_until
from tests.support.status import fails

Phase = pb.WatchDeviceIndexResponse.Phase


class Watch:
    """A watcher's own copy of the index, kept as an ingest node would."""

    def __init__(self, call: grpc.Call) -> None:
        self._call = call
        self.token = ""
        self.metrics: dict[int, pb.IndexMetric] = {}
        self.types: dict[int, pb.IndexType] = {}
        self.devices: dict[str, pb.IndexDevice] = {}

    def step(self) -> pb.WatchDeviceIndexResponse:
        """Apply one response; every reference must be known by then."""
        response = next(self._call)
        self.metrics |= {metric.metric_num: metric for metric in response.metrics}
        for kind in response.types:
            assert {entry.metric_num for entry in kind.metrics} <= set(self.metrics)
            self.types[kind.type_num] = kind
        for device in response.devices:
            assert device.type_num in self.types
            self.devices[device.device_id] = device
        self.token = response.resume_token or self.token
        return response

    def snapshot(self) -> "Watch":
        """Apply a whole snapshot."""
        first = self.step()
        assert (first.phase, first.is_first_of_snapshot) == (Phase.PHASE_SNAPSHOT, True)
        while (response := self.step()).phase == Phase.PHASE_SNAPSHOT:
            assert not response.is_first_of_snapshot
            assert not response.resume_token
        assert response.phase == Phase.PHASE_SNAPSHOT_COMPLETE
        assert response.resume_token
        assert not response.devices
        return self


@contextmanager
def watching(registry: RunningRegistry, token: str = "", window_bytes: int = 0) -> Iterator[Watch]:
    """Args: window_bytes: how much may be under way unread; 0: what gRPC thinks best."""
    options = [("grpc.http2.lookahead_bytes", window_bytes), ("grpc.http2.bdp_probe", 0)] if window_bytes else []
    with grpc.insecure_channel(registry.address, options=options) as channel:
        request = pb.WatchDeviceIndexRequest(resume_token=token)
        call = DeviceIndexServiceStub(channel).WatchDeviceIndex(request, metadata=registry.metadata, timeout=60)
        try:
            yield Watch(call)
        finally:
            call.cancel()


@pytest.fixture(scope="module")
def fleet(registry: RunningRegistry) -> Iterator[Provisioner]:
    with Provisioner(registry.channel()) as provisioner:
        provisioner.type("gauge", {"water_level_m": (-5, 20), "rain_mm": None})
        provisioner.type("gateway", {}, is_gateway=True, encoding="batch")
        yield provisioner


def bulk(fleet: Provisioner, prefix: str, count: int) -> None:
    """Create devices by the import."""
    rows = [
        device_pb2.ImportRow(
            row=number,
            device=device_pb2.Device(name=f"devices/{prefix}-{number:05d}", device_type="gauge"),
            token=f"{prefix}-token-{number:012d}",
        )
        for number in range(count)
    ]
    requests = (device_pb2.ImportDevicesRequest(rows=rows[at : at + 1000]) for at in range(0, count, 1000))
    for response in fleet.devices.ImportDevices(requests):
        assert all(result.outcome == device_pb2.ImportRowResult.OUTCOME_CREATED for result in response.results)


def test_a_snapshot_has_everything_that_ingest_needs(registry, fleet):
    fleet.device("s-gw", "gateway")
    token = fleet.device("s-1", "gauge", gateway="s-gw", ward="00070")
    with watching(registry) as watch:
        watch.snapshot()
    device = watch.devices["s-1"]
    assert list(device.token_sha256) == [hashlib.sha256(token.encode()).digest()]
    assert (device.ward_code, device.is_active) == ("00070", True)
    assert device.gateway_num == watch.devices["s-gw"].device_num
    kind = watch.types[device.type_num]
    assert (kind.device_type, kind.default_encoding, kind.is_gateway) == ("gauge", "senml-json", False)
    level, rain = kind.metrics
    assert (watch.metrics[level.metric_num].metric, watch.metrics[level.metric_num].unit) == ("water_level_m", "m")
    assert (level.min_value, level.max_value) == (-5, 20)
    assert not rain.HasField("min_value")
    assert watch.types[watch.devices["s-gw"].type_num].default_encoding == "batch"


def test_each_change_arrives_within_a_moment(registry, fleet):
    with watching(registry) as watch:
        watch.snapshot()
        delays = []
        for number in range(10):
            fleet.device(f"c-{number}", "gauge")
            committed = time.monotonic()
            response = watch.step()
            delays.append(time.monotonic() - committed)
            assert response.phase == Phase.PHASE_CHANGES
            assert [device.device_id for device in response.devices] == [f"c-{number}"]
            assert response.resume_token
        assert sorted(delays)[5] < 0.1, delays


def test_a_changed_token_type_and_state_arrive(registry, fleet):
    old = hashlib.sha256(fleet.device("t-1", "gauge").encode()).digest()
    with watching(registry) as watch:
        watch.snapshot()
        rotate = device_pb2.RotateDeviceTokenRequest(name="devices/t-1", keep_previous=True)
        second = hashlib.sha256(fleet.devices.RotateDeviceToken(rotate).token.encode()).digest()
        watch.step()
        assert set(watch.devices["t-1"].token_sha256) == {old, second}
        rotate.keep_previous = False
        third = hashlib.sha256(fleet.devices.RotateDeviceToken(rotate).token.encode()).digest()
        watch.step()
        assert list(watch.devices["t-1"].token_sha256) == [third]
        fleet.type("gauge", {"water_level_m": (-1, 10), "rain_mm": None})
        watch.step()
        assert watch.types[watch.devices["t-1"].type_num].metrics[0].max_value == 10
        fleet.devices.DecommissionDevice(device_pb2.DecommissionDeviceRequest(name="devices/t-1"))
        watch.step()
        assert not watch.devices["t-1"].is_active
        assert not watch.devices["t-1"].token_sha256


def test_a_resumed_watch_gets_what_it_missed_and_nothing_else(registry, fleet):
    with watching(registry) as watch:
        token = watch.snapshot().token
    fleet.device("r-1", "gauge")
    fleet.type("resumed", {"battery_pct": None})
    fleet.device("r-2", "resumed")
    with watching(registry, token) as resumed:
        resumed.metrics, resumed.types = watch.metrics, watch.types
        response = resumed.step()
        assert response.phase == Phase.PHASE_CHANGES
        assert [device.device_id for device in response.devices] == ["r-1", "r-2"]
        assert [kind.device_type for kind in response.types] == ["resumed"]
        assert not response.metrics


def test_a_token_lives_through_a_restart(tmp_path):
    with running_registry(tmp_path) as registry, Provisioner(registry.channel()) as fleet:
        fleet.type("gauge", {"rain_mm": None})
        fleet.device("k-1", "gauge")
        with watching(registry) as watch:
            token = watch.snapshot().token
        fleet.device("k-2", "gauge")
        registry.kill()
        registry.start()
        with watching(registry, token) as resumed:
            resumed.types = watch.types
            assert [device.device_id for device in resumed.step().devices] == ["k-2"]


@pytest.mark.parametrize("token", ["nonsense", "0" * 32 + ":1", ":", "future"])
def test_a_foreign_token_is_out_of_range(registry, token):
    if token == "future":
        with watching(registry) as watch:
            token = watch.snapshot().token.partition(":")[0] + ":999999999"
    with fails(StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_UNUSABLE"), watching(registry, token) as watch:
        watch.step()


@pytest.mark.parametrize("metadata", [(("authorization", "Bearer wrong"),), (("authorization", ""),)])
def test_only_ingest_may_watch(registry, metadata):
    with registry.channel() as channel:
        call = DeviceIndexServiceStub(channel).WatchDeviceIndex(
            pb.WatchDeviceIndexRequest(), metadata=metadata, timeout=60
        )
        with fails(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
            next(call)


def test_a_large_snapshot_comes_in_pieces_and_is_complete(registry, fleet):
    bulk(fleet, "big", 12_000)
    with watching(registry) as watch:
        sizes = []
        while (response := watch.step()).phase == Phase.PHASE_SNAPSHOT:
            sizes.append(len(response.devices))
            assert response.ByteSize() < 4 << 20
    assert len([size for size in sizes if size]) >= 3
    assert sum(device_id.startswith("big-") for device_id in watch.devices) == 12_000
    assert all(device.token_sha256 for device_id, device in watch.devices.items() if device_id.startswith("big-"))


def test_changes_during_a_snapshot_are_not_lost(registry, fleet):
    with watching(registry) as watch:
        watch.step()  # the snapshot has begun
        fleet.device("during-1", "gauge")
        while "during-1" not in watch.devices or not watch.token:
            watch.step()
        assert watch.devices["during-1"].is_active


def test_a_slow_watcher_costs_no_memory_and_gets_the_newest_state(registry, fleet):
    devices = len(read_whole(registry).devices)
    assert devices > 12_000
    with watching(registry, window_bytes=65_536) as watch:
        before = rows_read_for_watchers(registry)
        watch.step()  # the snapshot has begun, and is more than the window holds
        read = 0.0
        for _ in wait_until("the registry waits for the watcher"):
            time.sleep(0.3)
            last, read = read, rows_read_for_watchers(registry) - before
            if read == last:
                break
        assert read < devices
        update = device_pb2.UpdateDeviceRequest(device=device_pb2.Device(name="devices/big-11999"))
        for ward in ("00004", "00008", "00070"):
            update.device.ward_code = ward
            fleet.devices.UpdateDevice(update)
        while not watch.token:
            watch.step()
        assert len(watch.devices) == devices
        # Changed three times meanwhile, and read late: only the last state was ever sent.
        assert watch.devices["big-11999"].ward_code == "00070"


def test_watchers_that_disappear_leave_nothing_behind(registry, fleet):
    def watchers() -> float:
        return registry.metric("cityfleet_registry_index_watchers")

    for _ in wait_until("those of before are gone"):
        if watchers() == 0:
            break
    with grpc.insecure_channel(registry.address) as channel:
        # One in the middle of its snapshot, which nobody reads on; others that wait for changes.
        index = DeviceIndexServiceStub(channel)
        calls = [
            index.WatchDeviceIndex(pb.WatchDeviceIndexRequest(), metadata=registry.metadata, timeout=60)
            for _ in range(3)
        ]
        for call in calls[1:]:
            Watch(call).snapshot()
        next(calls[0])
        assert watchers() == len(calls)
    # The connection is gone without a word of the calls.
    for _ in wait_until("all are gone"):
        if watchers() == 0:
            break


def read_whole(registry: RunningRegistry) -> Watch:
    with watching(registry) as watch:
        return watch.snapshot()


def rows_read_for_watchers(registry: RunningRegistry) -> float:
    with urllib.request.urlopen(f"{registry.http}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("cityfleet_registry_index_rows_total{"))
