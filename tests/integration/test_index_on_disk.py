"""Ingest without a registry: from the index on disk it serves the devices it knows, and catches up afterwards."""

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request

from cityfleet.registry.v1 import device_pb2
from loadtest.platform import Platform
from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.provision import Provisioner
from tests.support.registry import wait_until
from tests.support.roles import Roles, roles_on


def reading(second: int) -> bytes:
    return json.dumps([{"n": "water_level_m", "t": 1_700_000_000 + second, "v": 2}]).encode()


async def connected(roles: Roles, device: str, token: str) -> RawClient:
    client = await RawClient(roles.ports["mqtt"]).__aenter__()
    client.send(mq.connect(5, device.encode(), device.encode(), token.encode()))
    assert (await client.reply()).reasons[0] == 0
    return client


async def test_a_device_publishes_while_the_registry_is_away_and_a_revoked_one_goes_when_it_is_back(tmp_path):
    with roles_on(tmp_path) as roles:
        for role in ("store", "registry", "ingest"):
            await asyncio.to_thread(roles.start, role)
        with Provisioner(roles.registry_channel(), roles.ports["mqtt"]) as fleet:
            fleet.type("gauge", {"water_level_m": (0, 20)})
            tokens = {name: fleet.device(name, "gauge") for name in ("wl-stays", "wl-goes")}
            await asyncio.to_thread(roles.end, "ingest")
            assert (roles.data_dir / "ingest" / "index").stat().st_mode & 0o777 == 0o600
            # The file is good after any end.
            await asyncio.to_thread(roles.start, "ingest")
            await asyncio.to_thread(roles.end, "ingest", signal.SIGKILL)
            # What ingest does not hear of, because it is away.
            request = device_pb2.DecommissionDeviceRequest(name="devices/wl-goes")
            await asyncio.to_thread(fleet.devices.DecommissionDevice, request)
        await asyncio.to_thread(roles.end, "registry", signal.SIGKILL)

        await asyncio.to_thread(roles.start, "ingest")
        ready = await asyncio.to_thread(roles.ready)
        assert "degraded: device_index: from disk, age " in ready
        stays = await connected(roles, "wl-stays", tokens["wl-stays"])
        goes = await connected(roles, "wl-goes", tokens["wl-goes"])
        unknown = await RawClient(roles.ports["mqtt"]).__aenter__()
        unknown.send(mq.connect(5, b"new", b"wl-new", b"token-of-a-new-one"))
        assert (await unknown.until_closed())[0].reasons == (0x88,)
        stays.send(mq.publish(b"cf/v1/d/wl-stays/telemetry", reading(1), 1))
        assert await stays.reply() == mq.Reply(mq.PUBACK, 1, (0,))
        platform = Platform(roles.data_dir, {**roles.ports, "registry": 0}, roles.running["store"], roles.config)
        sql = "SELECT value FROM ioc.readings"
        await asyncio.to_thread(platform.wait_for, sql, [["2"]])

        await asyncio.to_thread(roles.start, "registry")
        for _ in wait_until("the revoked device's connection ends", 30):
            try:
                await goes.until_closed()
                break
            except TimeoutError:
                continue
        for _ in wait_until("the index is the registry's again"):
            if await asyncio.to_thread(roles.ready) == "ok\n":
                break
        stays.send(mq.publish(b"cf/v1/d/wl-stays/telemetry", reading(2), 2))
        assert await stays.reply() == mq.Reply(mq.PUBACK, 2, (0,))
        for client in (stays, goes, unknown):
            await client.__aexit__(None, None, None)


async def test_ingest_starts_with_a_damaged_index(tmp_path):
    with roles_on(tmp_path) as roles:
        path = roles.data_dir / "ingest" / "index"
        path.parent.mkdir()
        path.write_bytes(b"cityfleet device index\n" + os.urandom(5_000))
        for role in ("registry", "ingest"):
            await asyncio.to_thread(roles.start, role)
        for _ in wait_until("ingest is ready"):
            try:
                if await asyncio.to_thread(roles.ready) == "ok\n":
                    break
            except urllib.error.HTTPError:
                continue
        with urllib.request.urlopen(f"http://127.0.0.1:{roles.ports['ingest_http']}/metrics", timeout=60) as answer:
            assert "cityfleet_ingest_index_file_ignored_total 1.0" in answer.read().decode()
