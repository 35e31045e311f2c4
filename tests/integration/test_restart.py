"""Roles killed under load: what was acknowledged is stored, once; the supervisor brings the roles back."""

import asyncio
import json
import os
import signal
import time

import aiomqtt
import pytest

from loadtest.platform import Platform, running_platform
from tests.support.provision import Provisioner

DEVICE = "wl-restart-01"


class Publisher:
    """Publishes one reading after the other at QoS 1, reconnecting, and remembers which were acknowledged."""

    def __init__(self, platform: Platform, token: str) -> None:
        self._platform = platform
        self._token = token
        self._next = 0
        self._is_over = False
        self.acked: list[int] = []

    def stop(self) -> None:
        """Not by cancelling: a client that loses its connection just then says that instead."""
        self._is_over = True

    async def run(self) -> None:
        while not self._is_over:
            try:
                async with aiomqtt.Client(
                    "127.0.0.1",
                    self._platform.mqtt_port,
                    username=DEVICE,
                    password=self._token,
                    protocol=aiomqtt.ProtocolVersion.V5,
                    timeout=5,
                ) as client:
                    while not self._is_over:
                        self._next += 1
                        pack = [{"n": "water_level_m", "t": 1_700_000_000 + self._next, "v": self._next % 20}]
                        await client.publish(f"cf/v1/d/{DEVICE}/telemetry", json.dumps(pack), qos=1)
                        self.acked.append(self._next)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.1)

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.acked) < count:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("role", ["ingest", "store", "registry"])
async def test_what_was_acknowledged_survives_kill_9(tmp_path, role):
    with (
        running_platform(tmp_path) as platform,
        Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet,
    ):
        fleet.type("gauge", {"water_level_m": (0, 20)})
        publisher = Publisher(platform, fleet.device(DEVICE, "gauge"))
        publishing = asyncio.create_task(publisher.run())
        for round_number in range(1, 4):
            await publisher.wait_for(150 * round_number)
            killed = platform.pid(role)
            os.kill(killed, signal.SIGKILL)
            await publisher.wait_for(150 * round_number + 20)
            deadline = time.monotonic() + 60
            while await asyncio.to_thread(platform.find_pid, role) in (None, killed):
                assert time.monotonic() < deadline, f"{role} did not come back"
                await asyncio.sleep(0.05)
        publisher.stop()
        await publishing
        acked = publisher.acked
        seconds = (
            "SELECT arraySort(groupArray(toUnixTimestamp(ts) - 1700000000)) FROM ioc.readings"
            f" WHERE device_id = '{DEVICE}'"
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                stored = json.loads(platform.query(seconds)[0][0])
            except OSError:
                stored = []  # the store is on its way back
            if set(acked) <= set(stored):
                break
            assert time.monotonic() < deadline, f"missing: {sorted(set(acked) - set(stored))[:10]}"
            await asyncio.sleep(0.2)
        assert len(stored) == len(set(stored))
        assert platform.stop() == 0
