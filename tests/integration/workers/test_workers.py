"""Two ingest workers as a user runs them: takeover and downlinks across them, one killed, one page of metrics."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiomqtt
import pytest

from loadtest.platform import Platform, running_platform
from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.provision import Provisioner
from tests.support.workers import DEVICES, client_on, connected, deliver, page, per_worker, telemetry, until

pytestmark = pytest.mark.timeout(240)


async def test_a_client_that_comes_back_on_the_other_worker_ends_its_old_connection(platform, tokens):
    here = await client_on(platform, 0, "wl-0", tokens["wl-0"], "same")
    for worker in (1, 0, 1):
        there = await client_on(platform, worker, "wl-0", tokens["wl-0"], "same")
        said = await here.until_closed()
        assert [(packet.type, packet.reasons) for packet in said][-1:] == [(mq.DISCONNECT, (0x8E,))]
        await there.ping()
        here = there
    await here.__aexit__(None, None, None)
    await until(lambda: sum(connected(platform).values()) == 0)


def test_workers_are_nicer_than_the_registry_and_that_than_the_store(platform):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    for number in (0, 1):
        tasks = Path(f"/proc/{platform.worker_pid(number)}/task")
        assert {os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in tasks.iterdir()} == {max(own, 10)}
    assert os.getpriority(os.PRIO_PROCESS, platform.pid("registry")) == max(own, 5)
    assert os.getpriority(os.PRIO_PROCESS, platform.pid("store")) == own


async def test_what_comes_behind_the_connect_is_kept_while_the_others_are_asked(platform, tokens):
    for number in range(20):
        async with RawClient(platform.mqtt_port) as client:
            connect = mq.connect(5, b"eager", b"wl-1", tokens["wl-1"].encode())
            client.send(connect, telemetry("wl-1", number, 1), telemetry("wl-1", 100 + number, 2), b"\xc0\x00")
            kinds = sorted(packet.type for packet in await client.replies(4))
            assert kinds == [mq.CONNACK, mq.PUBACK, mq.PUBACK, mq.PINGRESP]


async def test_many_clients_with_one_id_leave_one_connection(platform, tokens):
    clients = [RawClient(platform.mqtt_port) for _ in range(30)]
    for client in clients:
        await client.__aenter__()
        client.send(mq.connect(5, b"rush", b"wl-2", tokens["wl-2"].encode(), keep_alive_s=600))
    for client in clients:  # all have been let in once
        assert (await client.reply()).type == mq.CONNACK
    await until(lambda: sum(connected(platform).values()) == 1)
    alive = 0
    for client in clients:
        try:
            client.send(b"\xc0\x00")
            while (await client.reply()).type != mq.PINGRESP:
                pass
            alive += 1
        except (EOFError, RuntimeError):
            pass
        await client.__aexit__(None, None, None)
    assert alive == 1
    await until(lambda: sum(connected(platform).values()) == 0)


async def test_a_downlink_reaches_a_device_on_whichever_worker_it_is(platform, tokens):
    clients = {}
    for number, worker in enumerate((0, 1, 0, 1)):
        device = f"wl-{number}"
        client = clients[device] = await client_on(platform, worker, device, tokens[device])
        client.send(mq.subscribe(1, [(f"cf/v1/d/{device}/commands".encode(), 1)]))
        assert (await client.reply()).reasons == (1,)
    for attempt in range(6):
        for device, client in clients.items():
            assert await asyncio.to_thread(deliver, platform, device, b"%d" % attempt) == 1
            got = await client.reply()
            assert (got.type, got.payload) == (mq.PUBLISH, b"%d" % attempt)
            client.send(mq.puback(got.packet_id))
    assert await asyncio.to_thread(deliver, platform, "wl-7", b"nobody") == 0
    for client in clients.values():
        await client.__aexit__(None, None, None)
    await until(lambda: sum(connected(platform).values()) == 0)


async def test_a_revoked_device_is_cut_off_on_either_worker(platform, tokens):
    with Provisioner(platform.registry_channel()) as fleet:
        token = await asyncio.to_thread(fleet.device, "wl-revoked", "gauge")
        await until(lambda: set(per_worker(platform, "cityfleet_ingest_index_devices").values()) == {DEVICES + 1})
        clients = [await client_on(platform, worker, "wl-revoked", token, f"r-{worker}") for worker in (0, 1)]
        await asyncio.to_thread(platform.cli, "device", "decommission", "wl-revoked", "--yes")
        for client in clients:
            assert (await client.until_closed())[-1].reasons == (0x98,)
            await client.__aexit__(None, None, None)


class Publisher:
    """One reading after the other at QoS 1, reconnecting; remembers which were acknowledged."""

    def __init__(self, platform: Platform, device: str, token: str) -> None:
        self._platform, self._device, self._token = platform, device, token
        self._next = 1_000
        self.acked: list[int] = []
        self.is_done = False  # cancelling alone would not do: aiomqtt may turn it into an error of its own

    async def run(self) -> None:
        while not self.is_done:
            try:
                async with aiomqtt.Client(
                    "127.0.0.1", self._platform.mqtt_port, username=self._device, password=self._token,
                    protocol=aiomqtt.ProtocolVersion.V5, timeout=10,
                ) as client:  # fmt: skip
                    while not self.is_done:
                        self._next += 1
                        pack = [{"n": "water_level_m", "t": 1_700_000_000 + self._next, "v": self._next % 20}]
                        await client.publish(f"cf/v1/d/{self._device}/telemetry", json.dumps(pack), qos=1)
                        self.acked.append(self._next)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.05)


async def test_a_killed_worker_comes_back_loses_nothing_and_disturbs_nobody(platform, tokens):
    witness = await client_on(platform, 1, "wl-6", tokens["wl-6"])
    publishers = [Publisher(platform, f"wl-{number}", tokens[f"wl-{number}"]) for number in range(4)]
    before = per_worker(platform, "cityfleet_ingest_worker_restarts_total")
    tasks = [asyncio.create_task(publisher.run()) for publisher in publishers]
    told = 0
    try:
        for round_number in range(1, 3):
            async with asyncio.timeout(60):
                while min(len(publisher.acked) for publisher in publishers) < 40 * round_number:
                    await asyncio.sleep(0.02)
            killed = platform.worker_pid(0)
            other = platform.worker_pid(1)
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            while await asyncio.to_thread(platform.worker_pid, 0) in (None, killed):
                told += 1
                witness.send(telemetry("wl-6", told, told))
                assert (await witness.reply()) == mq.Reply(mq.PUBACK, told, (0,))
                await asyncio.sleep(0.01)
            assert platform.worker_pid(1) == other
    finally:
        for publisher in publishers:
            publisher.is_done = True
        await asyncio.gather(*tasks, return_exceptions=True)
    assert told > 0
    await witness.ping()
    await witness.__aexit__(None, None, None)
    for publisher, device in zip(publishers, tokens, strict=False):
        await stored(platform, device, publisher.acked)
    await stored(platform, "wl-6", list(range(1, told + 1)))
    after = per_worker(platform, "cityfleet_ingest_worker_restarts_total")
    assert (after[0] - before[0], after[1] - before[1]) == (2, 0)


async def stored(platform: Platform, device: str, seconds: list[int]) -> None:
    sql = (
        f"SELECT arraySort(groupArray(toUnixTimestamp(ts) - 1700000000)) FROM ioc.readings WHERE device_id = '{device}'"
    )
    deadline = time.monotonic() + 60
    while not set(seconds) <= set(found := json.loads((await asyncio.to_thread(platform.query, sql))[0][0])):
        assert time.monotonic() < deadline, f"{device}: missing {sorted(set(seconds) - set(found))[:10]}"
        await asyncio.sleep(0.1)
    assert len(found) == len(set(found))


async def test_metrics_of_both_are_one_page_and_their_sum_balances(platform, tokens):
    async with aiomqtt.Client("127.0.0.1", platform.mqtt_port, username="wl-7", password=tokens["wl-7"]) as client:
        for number in range(50):
            pack = [{"n": "water_level_m", "t": 1_700_000_000 + number, "v": 1}]
            await client.publish("cf/v1/d/wl-7/telemetry", json.dumps(pack), qos=1)

    def is_balanced() -> bool:
        ledger = {
            entry: platform.metric("ingest", f'cityfleet_ingest_ledger_readings_total{{entry="{entry}"}}')
            for entry in ("received", "recovered", "stored", "quarantined", "set_aside")
        }
        done = ledger["stored"] + ledger["quarantined"] + ledger["set_aside"]
        return ledger["received"] + ledger["recovered"] == done > 0

    await until(is_balanced)
    assert set(per_worker(platform, "cityfleet_ingest_worker_up").values()) == {1.0}
    text = page(platform)
    families = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(families) == len(set(families))
    assert page(platform, "/readyz") == "ok\n"


def test_another_program_on_the_port_is_said(platform, tmp_path):
    config = tmp_path / "cityfleet.toml"
    config.write_text(
        f'data_dir = "{tmp_path / "data"}"\ningest.workers = 2\ningest.mqtt.port = {platform.mqtt_port}\n'
        "ingest.grpc.port = 0\ningest.http.port = 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "ingest", "--config", str(config)],
        env=platform.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "ingest.mqtt: cannot listen on" in done.stderr


def test_fewer_workers_drain_what_more_left(tmp_path):
    """Also that a stop leaves no process behind."""
    data = ""
    with running_platform(tmp_path, "ingest.workers = 3\ningest.spool.segment_max_age_s = 600\n") as started:
        with Provisioner(started.registry_channel(), started.mqtt_port) as fleet:
            fleet.type("gauge", {"water_level_m": (0, 20)})
            token = fleet.device("wl-left", "gauge")
        asyncio.run(_one_each(started, token))
        pids = [started.worker_pid(number) for number in range(3)]
        parent = started.pid("ingest")
        os.kill(started.process.pid, signal.SIGSTOP)  # so that nothing is started again
        for pid in (*pids, parent):
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        left = [
            len(list((started.data_dir / "ingest" / name).glob("*.seg*"))) for name in ("spool", "spool-1", "spool-2")
        ]
        assert sum(left) > 0, left
        data = str(started.data_dir)
        os.kill(started.process.pid, signal.SIGCONT)
        started.stop()
    with running_platform(tmp_path, "ingest.workers = 1\n") as again:
        assert str(again.data_dir) == data
        again.wait_for("SELECT count() FROM ioc.readings WHERE device_id = 'wl-left'", [["30"]])


async def _one_each(platform: Platform, token: str) -> None:
    for number in range(30):
        async with RawClient(platform.mqtt_port) as client:
            client.send(mq.connect(5, b"c", b"wl-left", token.encode()), telemetry("wl-left", number))
            assert [packet.type for packet in await client.replies(2)] == [mq.CONNACK, mq.PUBACK]
