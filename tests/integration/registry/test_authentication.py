"""Who may call at all: every method wants a token that is known, but health and reflection."""

import grpc
import pytest

from cityfleet.registry.v1 import device_pb2_grpc, metric_pb2, metric_pb2_grpc
from cityfleet.registry.v1.device_index_pb2 import WatchDeviceIndexRequest
from cityfleet.registry.v1.device_index_pb2_grpc import DeviceIndexServiceStub
from runtime.bearer import bearer_channel


def refusal(registry, token, metadata=()):
    """The code with which a read is refused."""
    with bearer_channel(registry.address, token) as channel:
        stub = metric_pb2_grpc.MetricServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ListMetrics(metric_pb2.ListMetricsRequest(), metadata=metadata, timeout=60)
    return refused.value.code()


def test_a_call_without_a_token_is_refused(registry):
    assert refusal(registry, "") is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("authorization", ["Bearer x" * 100, "Basic YTpi", "Bearer", "Bearer "])
def test_a_token_that_is_none_is_refused(registry, authorization):
    assert refusal(registry, "", (("authorization", authorization),)) is grpc.StatusCode.UNAUTHENTICATED


def test_two_authorizations_are_refused(registry):
    one = ("authorization", f"Bearer {registry.admin_token}")
    assert refusal(registry, "", (one, one)) is grpc.StatusCode.UNAUTHENTICATED


def test_a_stream_without_a_token_is_refused(registry):
    with bearer_channel(registry.address, "") as channel:
        answers = device_pb2_grpc.DeviceServiceStub(channel).ImportDevices(iter([]), timeout=60)
        with pytest.raises(grpc.RpcError) as refused:
            next(answers)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_token_of_the_data_folder_is_an_administrators(registry):
    assert (registry.data_dir / "secrets" / "registry-admin").stat().st_mode & 0o777 == 0o600
    with registry.channel() as channel:
        stub = metric_pb2_grpc.MetricServiceStub(channel)
        assert stub.ListMetrics(metric_pb2.ListMetricsRequest(), timeout=60).metrics


def test_the_device_index_is_not_even_for_an_administrator(registry):
    with registry.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        list(DeviceIndexServiceStub(channel).WatchDeviceIndex(WatchDeviceIndexRequest(), timeout=60))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_the_command_line_finds_the_token_of_its_data_folder(registry):
    assert registry.run_cli("metric", "list").returncode == 0


def test_the_command_line_without_the_folders_token_says_what_is_missing(registry, tmp_path):
    done = registry.run_cli("metric", "list", "--registry", registry.address, CITYFLEET_DATA_DIR=str(tmp_path))
    assert done.returncode == 4
    assert "secrets/registry-admin" in done.stderr
