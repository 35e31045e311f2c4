"""The spool in memory on a running platform: it says so, has no file, and a clean stop leaves what the store lacks."""

import asyncio
import json
import os
import signal
import time
import urllib.request

import aiomqtt

from loadtest.platform import Platform, running_platform
from tests.support.provision import Provisioner

DEVICE = "wl-memory-01"


async def publish(platform: Platform, token: str, first: int, count: int) -> None:
    async with aiomqtt.Client(
        "127.0.0.1",
        platform.mqtt_port,
        username=DEVICE,
        password=token,
        protocol=aiomqtt.ProtocolVersion.V5,
        timeout=60,
    ) as client:
        for number in range(first, first + count):
            pack = [{"n": "water_level_m", "t": 1_700_000_000 + number, "v": number % 20}]
            await client.publish(f"cf/v1/d/{DEVICE}/telemetry", json.dumps(pack), qos=1)


def readyz(platform: Platform) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{platform.metrics_ports['ingest']}/readyz", timeout=60) as response:
        return response.read().decode()


async def test_a_clean_stop_leaves_on_disk_what_the_store_did_not_take(tmp_path):
    with (
        running_platform(tmp_path, 'ingest.spool.durability = "memory"') as platform,
        Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet,
    ):
        fleet.type("gauge", {"water_level_m": (0, 20)})
        token = fleet.device(DEVICE, "gauge")
        assert "degraded: spool: in memory" in readyz(platform)
        await publish(platform, token, 0, 5)
        platform.wait_for("SELECT count() FROM ioc.readings", [["5"]])
        spool = platform.data_dir / "ingest" / "spool"
        assert list(spool.glob("*.seg")) == []
        supervisor, ingest = platform.process.pid, platform.pid("ingest")
        os.kill(supervisor, signal.SIGSTOP)  # it would start the store again
        os.kill(platform.pid("store"), signal.SIGKILL)
        await publish(platform, token, 5, 7)
        assert list(spool.glob("*.seg")) == []
        os.kill(ingest, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while platform.find_pid("ingest") == ingest or not list(spool.glob("*.seg")):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        os.kill(supervisor, signal.SIGCONT)
        deadline = time.monotonic() + 60
        while platform.find_pid("ingest") in (None, ingest) or platform.find_pid("store") is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        platform.wait_for("SELECT count() FROM ioc.readings", [["12"]])
        assert platform.stop() == 0
        assert "ledger_broken" not in (tmp_path / "up.log").read_text()
