"""What earlier versions left is taken up: a data folder, spools of both old forms, the registry at each schema."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import aiomqtt
import pytest
import zstandard
from google.longrunning import operations_pb2
from google.longrunning.operations_pb2_grpc import OperationsStub

from cityfleet.registry.v1 import device_pb2
from loadtest.platform import running_platform
from registry import backup
from store import migrate
from tests.support.provision import Provisioner
from tests.support.registry import RunningRegistry

DATA = Path(__file__).parents[1] / "data"
# Of `wl-1` in data-7, whose registry died with the process that made it.
TOKEN_OF_WL_1 = "3EnVrEqSdqlbjwKiclYEvcxP6I_nval_-2Lz9OMe5iY"
TOKENS = {
    "0001": "EVoVMGzsfm-9-Ak3EMMKgoCyil34OtRX76OcB69DZ8E",
    "0002": "dQ7lXPJG_Zh3Uj4EYRfmR5ICx_g7WFoNWmIW3gCTb58",
    "0003": "b7TcqUtkxOiXlGPYkdvkgbpMn_i3grKZ5KWiHhul1Ag",
    "0004": "pmFwpAGzSt26n8MKDZiyNaK_JUOzZHrSJU99yOKdOJY",
    "0005": "WkkradIktWsJ1gHELDQCCQ5yAqKguqyjRsotVSN-ZE4",
    "0006": "HvijXqOsTLzR2EUcXQQ7_JYtyimXubJj4d7_O2FJzCE",
    "0007": "LP_GpdevPutpjS_tmWV3mS4WnWs_Dvg3iCOALk5qmxo",
    "0008": "tQftAJN7kqEYUitn0GGTwtLZdMOaklr3YHRqX3VJQko",
    "0009": "j-cnqJeVMyqckhgk3d_JYSmqSZWB4rBFwakzI0DxqEE",
    "0010": "E31gwdmE95O7N3CeuQ7sRv7rjHb0Az-QhttvOp5iQis",
    "0011": "E31gwdmE95O7N3CeuQ7sRv7rjHb0Az-QhttvOp5iQis",
}


@pytest.fixture
def old_data(tmp_path) -> Path:
    """A data folder of schema 7, with segments of still older spools beside its own."""
    stream = zstandard.ZstdDecompressor().stream_reader((DATA / "upgrade/data-7.tar.zst").open("rb"), closefd=True)
    with stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        tar.extractall(tmp_path, filter="tar")
    for segment in (DATA / "spool").glob("*/*.seg"):
        shutil.copy(segment, tmp_path / "data/ingest/spool")
    return tmp_path


def by_backup(folder: Path) -> None:
    """Put the data folder through a backup and a restore."""
    for arguments in (["backup", folder / "archive"], ["restore", folder / "archive"]):
        subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments, "--data", folder / "data"], check=True, timeout=60
        )
        if arguments[0] == "backup":
            shutil.rmtree(folder / "data")


@pytest.mark.parametrize("is_restored", [False, True], ids=["as_it_lies", "by_backup"])
async def test_a_data_folder_of_an_earlier_version_starts_and_serves(old_data, is_restored):
    if is_restored:
        by_backup(old_data)
    with (
        running_platform(old_data) as platform,
        Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet,
    ):
        wanted = [[str(1_700_000_000 + number), str(number / 10).removesuffix(".0")] for number in range(70)]
        sql = "SELECT toUnixTimestamp(ts), value FROM ioc.readings WHERE device_id = 'wl-1' ORDER BY ts"
        platform.wait_for(sql, wanted)
        platform.wait_for(
            "SELECT value FROM ioc.readings_text WHERE device_id = 'wl-1' ORDER BY ts", [["dry"], ["wet"]]
        )
        platform.wait_for(
            "SELECT value FROM ioc.latest WHERE device_id = 'wl-1' AND metric = 'water_level_m'", [["6.9"]]
        )
        # And of the segments beside its own: 6 readings, in two of them, 2 more, 1 text, 3 rows of quarantine.
        platform.wait_for("SELECT count() FROM cityfleet.readings FINAL", [["78"]])
        platform.wait_for("SELECT count() FROM cityfleet.readings_text FINAL", [["3"]])
        platform.wait_for("SELECT count() FROM cityfleet.quarantine FINAL", [["5"]])
        platform.wait_for("SELECT device_id FROM ioc.devices ORDER BY device_id", [["gw-1"], ["wl-1"], ["wl-2"]])
        applied = [[str(migration.number)] for migration in migrate.load()]
        assert platform.query("SELECT number FROM cityfleet.migrations FINAL ORDER BY number", "admin") == applied
        assert not list((old_data / "data/ingest/spool").glob("*.seg"))

        async with aiomqtt.Client(
            "127.0.0.1", platform.mqtt_port, username="wl-1", password=TOKEN_OF_WL_1, timeout=60
        ) as client:
            pack = [{"n": "water_level_m", "t": 1_700_000_070, "v": 7}]
            await client.publish("cf/v1/d/wl-1/telemetry", json.dumps(pack), qos=1)
        await asyncio.to_thread(platform.wait_for, sql, [*wanted, ["1700000070", "7"]])
        fleet.device("wl-3", "gauge")
        new = fleet.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/wl-3")).device_num
        assert new == (1_000_004 if is_restored else 4)


@pytest.mark.parametrize("schema", sorted(TOKENS))
def test_a_registry_of_an_earlier_schema_goes_on(tmp_path, schema):
    path = tmp_path / backup.FILE
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.executescript((DATA / f"upgrade/registry-{schema}.sql").read_text(encoding="utf-8"))
    assert backup.inspect(path).revision == schema
    running = RunningRegistry(tmp_path, {})
    try:
        with Provisioner(running.channel()) as fleet:
            found = fleet.devices.ListDevices(device_pb2.ListDevicesRequest(filter="state = active")).devices
            assert [(device.name, device.device_num, device.gateway) for device in found] == [
                ("devices/wl-1", 1, ""),
                ("devices/gw-1", 2, ""),
                ("devices/wl-2", 3, "gw-1"),
            ]
            assert found[0].ward_code == "00070"
            others = fleet.devices.ListDevices(device_pb2.ListDevicesRequest(filter="NOT state = active")).devices
            gone = [("devices/old-1", device_pb2.Device.STATE_DECOMMISSIONED)] if schema >= "0003" else []
            assert [(device.name, device.state) for device in others] == gone
            fleet.device("wl-3", "gauge")
            new = fleet.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/wl-3")).device_num
            assert new == 4 + len(others)
            fleet.type("gauge", {"water_level_m": (0, 12)})
        if schema >= "0004":
            _check_operation(running)
    finally:
        running.stop()
    with closing(sqlite3.connect(path)) as database:
        hashes = {row[0] for row in database.execute("SELECT token_sha256 FROM device_tokens WHERE device_num = 1")}
    assert hashes == {hashlib.sha256(TOKENS[schema].encode()).digest()}
    assert backup.inspect(path).revision == max(backup.known_revisions())


def _check_operation(running) -> None:
    with running.channel() as channel:
        request = operations_pb2.GetOperationRequest(name="operations/bulk-update-1")
        found, metadata = OperationsStub(channel).GetOperation(request), device_pb2.BulkMetadata()
    found.metadata.Unpack(metadata)
    assert (found.done, metadata.succeeded, metadata.failed) == (True, 2, 1)
    assert [failure.name for failure in metadata.failures] == ["devices/wl-2"]


def test_there_is_a_registry_of_every_schema_but_the_newest_to_try():
    tried = {path.stem.removeprefix("registry-") for path in (DATA / "upgrade").glob("registry-*.sql")}
    assert backup.known_revisions() - tried <= {max(backup.known_revisions())}
