"""What surrounds the registry's services: health, reflection, /healthz, /readyz, /metrics, ports, signals, locks."""

import socket
import subprocess
import urllib.request

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cityfleet.registry.v1 import device_pb2, metric_pb2
from cityfleet.registry.v1.device_index_pb2 import WatchDeviceIndexRequest
from cityfleet.registry.v1.device_index_pb2_grpc import DeviceIndexServiceStub
from tests.support.provision import Provisioner
from tests.support.registry import running_registry, wait_until

SERVICES = {
    "cityfleet.registry.v1.MetricService",
    "cityfleet.registry.v1.DeviceTypeService",
    "cityfleet.registry.v1.DeviceService",
    "cityfleet.registry.v1.DeviceIndexService",
}


@pytest.fixture(scope="module")
def database_kind():
    return "sqlite"


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


def test_each_service_is_serving(registry):
    with registry.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", *SERVICES):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_tells_a_stranger_how_to_call(registry):
    with registry.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]))
        assert {service.name for service in answer.list_services_response.service} >= SERVICES
        file = ProtoReflectionDescriptorDatabase(channel).FindFileContainingSymbol(
            "cityfleet.registry.v1.DeviceService"
        )
        known = FileDescriptorProto()
        device_pb2.DESCRIPTOR.CopyToProto(known)
        assert [method.name for method in file.service[0].method] == [method.name for method in known.service[0].method]


def test_the_endpoint_tells_health_and_figures(registry, stubs):
    stubs.metrics.GetMetric(metric_pb2.GetMetricRequest(name="metrics/rain_mm"))
    assert fetch(f"{registry.http}/healthz") == "ok\n"
    assert fetch(f"{registry.http}/readyz").startswith("ok\n")
    figures = fetch(f"{registry.http}/metrics")
    assert 'cityfleet_registry_api_requests_total{code="OK",method="GetMetric"} 1.0' in figures
    assert "cityfleet_registry_dimension_lag_revisions" in figures


def test_the_gauge_of_devices_is_right_after_a_restart(tmp_path):
    with running_registry(tmp_path) as registry:
        with Provisioner(registry.channel()) as fleet:
            fleet.type("gauge", {"rain_mm": None})
            for number in range(3):
                fleet.device(f"d-{number}", "gauge")
        assert registry.stop() == 0
        registry.start()
        for _ in wait_until("the gauge shows the devices"):
            if 'cityfleet_registry_devices{state="active"} 3.0' in fetch(f"{registry.http}/metrics"):
                break


def test_a_second_registry_on_the_same_folder_is_refused(registry):
    done = registry.run_cli("registry")
    assert done.returncode != 0
    assert "already running" in done.stderr


def test_a_taken_port_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running_registry(tmp_path / "one") as registry:
            done = registry.run_cli(
                "registry", "--data", str(tmp_path / "two"), CITYFLEET_REGISTRY__LISTEN__PORT=str(port)
            )
    assert done.returncode != 0
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_database_is_told(tmp_path, registry):
    for url in ("nonsense", "oracle+nothing://x", f"sqlite:///{tmp_path}/no/such/folder/registry.db"):
        done = registry.run_cli("registry", "--data", str(tmp_path / "three"), CITYFLEET_REGISTRY__DATABASE_URL=url)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert "database" in done.stderr


def test_it_stops_with_a_watcher_connected(tmp_path):
    with running_registry(tmp_path) as registry, registry.channel() as channel:
        watch = DeviceIndexServiceStub(channel).WatchDeviceIndex(WatchDeviceIndexRequest(), metadata=registry.metadata)
        next(watch)
        try:
            assert registry.stop() == 0
        except subprocess.TimeoutExpired as exc:
            raise AssertionError(registry.log) from exc
        try:
            for _ in watch:
                pass
        except grpc.RpcError as exc:
            assert exc.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert "Traceback" not in registry.log
