"""The registry on PostgreSQL: it serves, its backup is a dump of one moment, and a restore of it goes on."""

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from sqlalchemy import create_engine, text

from cityfleet.registry.v1 import device_pb2
from tests.support.postgresql import binaries, create_database
from tests.support.provision import Provisioner
from tests.support.registry import RunningRegistry

pytestmark = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")


def cityfleet(url: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ,
        "CITYFLEET_REGISTRY__DATABASE_URL": url,
        "PATH": f"{binaries()}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def tokens(url: str) -> list[tuple[int, bytes]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT device_num, token_sha256 FROM device_tokens ORDER BY device_num")).all()
    engine.dispose()
    return [(num, bytes(token)) for num, token in rows]


def test_a_registry_in_postgresql_comes_back_from_a_backup(tmp_path, postgresql):
    one, two = create_database(postgresql, "one"), create_database(postgresql, "two")
    archive = tmp_path / "archive"
    data = tmp_path / "data"
    data.mkdir()
    running = RunningRegistry(data, {"CITYFLEET_REGISTRY__DATABASE_URL": one})
    try:
        with Provisioner(running.channel()) as fleet:
            fleet.type("gauge", {"water_level_m": (0, 20)})
            fleet.device("wl-1", "gauge", ward="00070")
            fleet.device("wl-2", "gauge")
            known = tokens(one)
            done = cityfleet(one, "backup", archive, "--data", data, "--verify")
            assert done.returncode == 0, done.stderr
            fleet.device("wl-after", "gauge")
            lost = fleet.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/wl-after")).device_num
    finally:
        running.stop()

    new = tmp_path / "new"
    refused = cityfleet(one, "restore", archive, "--data", new)
    assert refused.returncode == 1
    assert "not empty" in refused.stderr
    assert not new.exists()
    assert cityfleet("", "restore", archive, "--data", new).returncode == 1
    done = cityfleet(two, "restore", archive, "--data", new)
    assert done.returncode == 0, done.stderr
    assert tokens(two) == known
    running = RunningRegistry(new, {"CITYFLEET_REGISTRY__DATABASE_URL": two})
    try:
        with Provisioner(running.channel()) as fleet:
            found = fleet.devices.ListDevices(device_pb2.ListDevicesRequest()).devices
            assert [(device.name, device.device_num) for device in found] == [("devices/wl-1", 1), ("devices/wl-2", 2)]
            with pytest.raises(grpc.RpcError):
                fleet.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/wl-after"))
            fleet.device("wl-new", "gauge")
            assert fleet.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/wl-new")).device_num > lost
    finally:
        running.stop()


def test_a_database_that_is_not_there_is_an_error(tmp_path, postgresql):
    (tmp_path / "data").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "backup", tmp_path / "archive", "--data", tmp_path / "data"],
        env={**os.environ, "CITYFLEET_REGISTRY__DATABASE_URL": f"{postgresql}/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no backup was made" in done.stderr
    assert not (tmp_path / "archive").exists()
