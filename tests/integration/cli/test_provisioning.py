"""Provisioning through a real registry: types grow and never shrink, tokens stay valid or are replaced."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cityfleet.registry.v1 import device_pb2, device_type_pb2
from cli.errors import CommandError
from cli.provisioning import Registration, ensure_types, read_tokens, register, write_tokens
from cli.registry_client import RegistryClient, connect
from tests.support.registry import running_registry


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryClient]:
    with (
        running_registry(tmp_path_factory.mktemp("registry")) as registry,
        connect(registry.address, None, registry.data_dir) as made,
    ):
        yield made


def metrics(client: RegistryClient, kind: str) -> set[str]:
    found = client.types.GetDeviceType(device_type_pb2.GetDeviceTypeRequest(name=f"deviceTypes/{kind}"))
    return {metric.metric for metric in found.metrics}


def test_a_missing_type_is_made_and_an_existing_one_keeps_its_metrics(client: RegistryClient) -> None:
    ensure_types(client, {"grows": ["rain_mm"]})
    ensure_types(client, {"grows": ["battery_pct", "rain_mm"]})
    ensure_types(client, {"grows": ["rain_mm"]})
    assert metrics(client, "grows") == {"rain_mm", "battery_pct"}


def test_a_gateway_and_those_behind_it_come_in_one_go(client: RegistryClient) -> None:
    kind = device_type_pb2.DeviceType(
        name="deviceTypes/gw", is_gateway=True, metrics=[device_type_pb2.DeviceTypeMetric(metric="battery_pct")]
    )
    client.types.ApplyDeviceType(device_type_pb2.ApplyDeviceTypeRequest(device_type=kind))
    ensure_types(client, {"rain": ["rain_mm"]})
    devices = [Registration("gw-1", "gw")] + [Registration(f"rain-{n}", "rain", gateway="gw-1") for n in range(1200)]
    seen: list[int] = []
    tokens = register(client, devices, {}, seen.append)
    assert tokens.keys() == {device.device_id for device in devices}
    assert all(len(token) >= 16 for token in tokens.values())
    assert seen == [500, 1000, 1201]
    found = client.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/rain-7"))
    assert found.gateway == "gw-1"


def test_doing_it_again_with_the_tokens_changes_nothing(client: RegistryClient) -> None:
    ensure_types(client, {"rain": ["rain_mm"]})
    devices = [Registration("again-1", "rain", latitude=21.0, longitude=105.8)]
    tokens = register(client, devices, {})
    assert register(client, devices, tokens) == tokens


def test_a_lost_token_is_replaced_and_the_record_stays(client: RegistryClient) -> None:
    ensure_types(client, {"rain": ["rain_mm"]})
    first = register(client, [Registration("lost-1", "rain", display_name="Before")], {})
    second = register(client, [Registration("lost-1", "rain", display_name="After")], {})
    third = register(client, [Registration("lost-1", "rain", display_name="Before")], {"lost-1": "x" * 20})
    assert len({first["lost-1"], second["lost-1"], third["lost-1"], "x" * 20}) == 4
    found = client.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/lost-1"))
    assert found.display_name == "Before"


def test_a_device_brings_the_token_that_is_known_of_it(client: RegistryClient) -> None:
    ensure_types(client, {"rain": ["rain_mm"]})
    held = {"brings-1": "0123456789abcdef"}
    assert register(client, [Registration("brings-1", "rain")], held) == held


def test_what_the_registry_does_not_take_is_said(client: RegistryClient) -> None:
    with pytest.raises(CommandError, match=r"Bad_Id|no-such-type"):
        register(client, [Registration("fine", "no-such-type"), Registration("Bad_Id", "rain")], {})


def test_tokens_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tokens.csv"
    write_tokens(path, {"b": "2", "a": "1"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_tokens(path) == {"a": "1", "b": "2"}


@pytest.mark.parametrize(("text", "said"), [("", "device_id"), ("device,token\na,b\n", "device_id")])
def test_a_token_file_says_what_it_lacks(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(text)
    with pytest.raises(CommandError, match=said):
        read_tokens(path)
