"""Backup and restore of a platform: made under load or after a crash, the old folder destroyed, all asked again."""

import asyncio
import contextlib
import json
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest
from aiomqtt.exceptions import MqttConnectError

from loadtest.platform import ROLES, Platform, running_platform
from tests.support.kill import kill
from tests.support.provision import Provisioner

# Acknowledged readings wait in the open segment for so long: a backup finds some in the spool, some in the store.
SLOW_SEGMENTS = "ingest.spool.segment_max_age_s = 3.0\ningest.spool.segment_early_age_s = 3.0\n"


class Publisher:
    """One reading after the other at QoS 1; `acked` are those that were acknowledged."""

    def __init__(self, platform: Platform, device: str, token: str) -> None:
        self._platform = platform
        self._device = device
        self._token = token
        self._is_over = False
        self.acked: list[int] = []

    @contextlib.asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._is_over = True
            await task

    async def _run(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                return await self._publish()
            except MqttConnectError:  # strangers are told to come back until the registry has answered
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)

    async def _publish(self) -> None:
        async with aiomqtt.Client(
            "127.0.0.1",
            self._platform.mqtt_port,
            username=self._device,
            password=self._token,
            protocol=aiomqtt.ProtocolVersion.V5,
            timeout=10,
        ) as client:
            while not self._is_over:
                number = len(self.acked) + 1
                pack = [{"n": "water_level_m", "t": 1_700_000_000 + number, "v": number % 20}]
                await client.publish(f"cf/v1/d/{self._device}/telemetry", json.dumps(pack), qos=1)
                self.acked.append(number)

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.acked) < count:
                await asyncio.sleep(0.02)


def stored(platform: Platform, device: str) -> dict[int, float]:
    """Number and value of each reading, which must be there once."""
    rows = platform.query(
        f"SELECT toUnixTimestamp64Milli(ts) / 1000, value FROM ioc.readings WHERE device_id = '{device}' ORDER BY ts"
    )
    found = {int(float(ts)) - 1_700_000_000: float(value) for ts, value in rows}
    assert len(found) == len(rows)
    return found


def wait_until_stored(platform: Platform, device: str, wanted: set[int]) -> dict[int, float]:
    count = f"SELECT count() >= {len(wanted)} FROM ioc.readings WHERE device_id = '{device}'"
    platform.wait_for(count, [["1"]])
    found = stored(platform, device)
    assert wanted <= found.keys()
    assert all(value == number % 20 for number, value in found.items())
    return found


def kill_all(platform: Platform) -> None:
    pids = [platform.pid(role) for role in ROLES]
    platform.process.kill()  # first, or it would start them again
    kill(*pids)
    platform.process.wait(10)


def device_num(platform: Platform, device: str) -> int:
    platform.wait_for(f"SELECT count() FROM ioc.devices WHERE device_id = '{device}'", [["1"]])
    sql = f"SELECT device_num FROM cityfleet.devices FINAL WHERE device_id = '{device}'"
    return int(platform.query(sql, "admin")[0][0])


def cityfleet(*arguments: str | Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture
def answers() -> dict[str, str]:
    """Questions whose answers a restore must not change, for a device that is silent."""
    who = "WHERE device_id = 'wl-quiet'"
    return {
        "readings": f"SELECT * FROM ioc.readings {who} ORDER BY ts",
        "texts": f"SELECT * FROM ioc.readings_text {who} ORDER BY ts",
        "latest": f"SELECT device_id, metric, ts, value, quality FROM ioc.latest {who} ORDER BY metric",
        "device": f"SELECT * FROM ioc.devices {who}",
    }


async def test_what_was_acknowledged_before_a_backup_under_load_is_in_it(tmp_path, answers):
    archive = tmp_path / "backup.tar.zst"
    newest_of_quiet = "SELECT count() > 0 FROM ioc.latest WHERE device_id = 'wl-quiet'"
    with (
        running_platform(tmp_path / "old", SLOW_SEGMENTS) as platform,
        Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet,
    ):
        fleet.type("gauge", {"water_level_m": (0, 20)})
        tokens = {name: fleet.device(name, "gauge", ward="00070") for name in ("wl-quiet", "wl-busy")}
        quiet = Publisher(platform, "wl-quiet", tokens["wl-quiet"])
        async with quiet.publishing():
            await quiet.wait_for(100)
        busy = Publisher(platform, "wl-busy", tokens["wl-busy"])
        async with busy.publishing():
            await busy.wait_for(200)
            # Segments go in one after the other: with these, all of the quiet device's are there.
            await asyncio.to_thread(wait_until_stored, platform, "wl-busy", set(range(1, 201)))
            # The newest ones of a segment go in after it.
            await asyncio.to_thread(platform.wait_for, newest_of_quiet, [["1"]])
            said = {name: await asyncio.to_thread(platform.query, sql) for name, sql in answers.items()}
            assert [name for name, found in said.items() if not found] == ["texts"]
            before = set(busy.acked)
            done = await asyncio.to_thread(platform.cli, "backup", str(archive), "--verify")
            assert "verified" in done.stderr
            await busy.wait_for(len(busy.acked) + 50)  # nobody was held up
        assert not (platform.data_dir / "store/data/shadow/cityfleet_backup").exists()
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
        fleet.device("wl-after-backup", "gauge")
        lost_num = device_num(platform, "wl-after-backup")
        kill_all(platform)
    shutil.rmtree(tmp_path / "old")

    new = tmp_path / "new"
    cityfleet("restore", archive, "--data", new / "data")
    assert (new / "data/secrets/store-reader").stat().st_mode & 0o077 == 0
    with (
        running_platform(new, SLOW_SEGMENTS) as platform,
        Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet,
    ):
        wait_until_stored(platform, "wl-busy", before)
        assert {name: platform.query(sql) for name, sql in answers.items()} == said
        # A device with its old token is at home, and what it sends from now on is stored beside the rest.
        again = Publisher(platform, "wl-quiet", tokens["wl-quiet"])
        async with again.publishing():
            await again.wait_for(150)
        await asyncio.to_thread(wait_until_stored, platform, "wl-quiet", set(again.acked))
        fleet.device("wl-new", "gauge")
        assert device_num(platform, "wl-new") > lost_num


async def test_what_a_crash_left_in_the_spool_survives_a_backup_of_the_stopped_platform(tmp_path):
    archive = tmp_path / "backup.tar.zst"
    with (
        running_platform(
            tmp_path / "old", "ingest.spool.segment_max_age_s = 60\ningest.spool.segment_early_age_s = 60"
        ) as platform,
        Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet,
    ):
        fleet.type("gauge", {"water_level_m": (0, 20)})
        publisher = Publisher(platform, "wl-1", fleet.device("wl-1", "gauge"))
        async with publisher.publishing():
            await publisher.wait_for(300)
        kill_all(platform)
        segments = [path.stem for path in (platform.data_dir / "ingest/spool").glob("*.seg")]
    assert segments
    cityfleet("backup", archive, "--data", tmp_path / "old/data")
    shutil.rmtree(tmp_path / "old")
    cityfleet("restore", archive, "--data", tmp_path / "new/data")
    # The spool takes a name of its own: no token is given twice.
    assert not (tmp_path / "new/data/ingest/spool/node").exists()
    with running_platform(tmp_path / "new") as platform:
        assert wait_until_stored(platform, "wl-1", set(publisher.acked)).keys() == set(publisher.acked)


def test_a_restore_never_writes_over_data(tmp_path):
    (tmp_path / "data/registry").mkdir(parents=True)
    archive = tmp_path / "backup.tar.zst"
    cityfleet("backup", archive, "--data", tmp_path / "data")
    done = cityfleet("restore", archive, "--data", tmp_path / "data", check=False)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
