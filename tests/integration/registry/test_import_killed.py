"""kill -9 of the command and of the registry during an import: run again, it ends as if nothing had happened."""

import time

import grpc

from cityfleet.registry.v1 import device_pb2 as pb
from tests.integration.registry.conftest import Stubs
from tests.integration.registry.test_import import index_of
from tests.support.registry import running_registry

DEVICES = 10_000
LIMIT_S = 120.0


def device_ids(number):
    return f"kill-{number:05d}"


def write_fleet(path):
    """Every third device is behind a gateway, and the gateways come last."""
    lines = ["device_id,device_type,gateway,ward_code,external_id,token,labels.owner"]
    for at in range(DEVICES):
        behind = f"gw-{at % 7}" if at % 3 == 0 else ""
        lines.append(f"{device_ids(at)},gauge,{behind},00070,meter {at},token-of-meter-{at:08d},owner-{at % 4}")
    lines += [f"gw-{at},gateway,,00004,,token-of-gateway-{at},tnmt" for at in range(7)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def wait_for(registry, device_id):
    deadline = time.monotonic() + LIMIT_S
    with registry.channel() as channel:
        stubs = Stubs(channel)
        while time.monotonic() < deadline:
            try:
                stubs.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{device_id}"))
            except grpc.RpcError as exc:
                assert exc.code() == grpc.StatusCode.NOT_FOUND
                time.sleep(0.02)
            else:
                return
    raise AssertionError(f"{device_id} was not imported within {LIMIT_S:g} s")


def dump(registry):
    """Everything about every device but when it was written, in the order of ids; and the digests of their tokens."""
    found, token = [], ""
    with registry.channel() as channel:
        stubs = Stubs(channel)
        while True:
            page = stubs.devices.ListDevices(pb.ListDevicesRequest(page_size=1000, page_token=token))
            found += page.devices
            token = page.next_page_token
            if not token:
                break
        digests = {key: bytes(device.token_sha256[0]) for key, device in index_of(registry, stubs).items()}
    numbers = {device.device_num for device in found}
    assert len(numbers) == len(found) == max(numbers)  # none twice, none lost to what was rolled back
    for device in found:
        for name in ("device_num", "etag", "create_time", "update_time"):
            device.ClearField(name)
    return sorted(device.SerializeToString(deterministic=True) for device in found), digests


def test_an_import_that_was_killed_ends_as_if_it_had_not_been(tmp_path, new_database):
    path = tmp_path / "fleet.csv"
    write_fleet(path)
    command = ("import", "devices", str(path))
    with running_registry(tmp_path / "killed", new_database()) as killed:
        with killed.channel() as channel:
            Stubs(channel).apply_type("gateway", is_gateway=True)
            Stubs(channel).apply_type("gauge")
        process = killed.start_cli(*command)
        try:
            wait_for(killed, device_ids(1000))
            killed.kill()
            assert process.wait(60) == 1
        finally:
            process.kill()
            process.wait()
        killed.start()
        process = killed.start_cli(*command)
        try:
            wait_for(killed, device_ids(5000))
        finally:
            process.kill()
            process.wait()
        done = killed.run_cli(*command)
        assert done.returncode == 0, done.stderr
        found = dump(killed)
    path = tmp_path / "again.csv"
    write_fleet(path)
    with running_registry(tmp_path / "alone", new_database()) as alone:
        with alone.channel() as channel:
            Stubs(channel).apply_type("gateway", is_gateway=True)
            Stubs(channel).apply_type("gauge")
        done = alone.run_cli("import", "devices", str(path))
        assert done.returncode == 0, done.stderr
        assert dump(alone) == found
    assert len(found[0]) == DEVICES + 7
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["again.csv", "alone", "fleet.csv", "killed"]
