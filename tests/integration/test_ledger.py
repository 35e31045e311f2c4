"""The ledger of a running platform: every message and reading is in one of its entries, also across kill -9."""

import asyncio
import json
import os
import signal
import time

import aiomqtt
import grpc
import pytest

from cityfleet.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc
from ingest.ledger_file import LedgerDocument, read_ledger
from loadtest.platform import Platform, running_platform
from tests.support.provision import Provisioner

DEVICE = "wl-ledger-01"
TOPIC = f"cf/v1/d/{DEVICE}/telemetry"
ENTRY = 'cityfleet_ingest_ledger_readings_total{entry="%s"}'
STAGES = ("transport", "decode", "resolve", "batch", "spool", "write")


def pack(*readings: tuple[str, float], first_s: int = 0) -> bytes:
    return json.dumps(
        [{"n": name, "v": value, "t": 1_700_000_000 + first_s + at} for at, (name, value) in enumerate(readings)]
    ).encode()


async def publish(platform: Platform, token: str, first_s: int) -> None:
    """5 good readings, 2 of a metric that nobody knows, 1 payload that is none, 3 messages for another device."""
    async with aiomqtt.Client(
        "127.0.0.1",
        platform.mqtt_port,
        username=DEVICE,
        password=token,
        protocol=aiomqtt.ProtocolVersion.V5,
        timeout=60,
    ) as client:
        good = [("water_level_m", value) for value in (1.0, 2.0, 3.0, 4.0)]
        await client.publish(TOPIC, pack(*good, ("unheard_of", 1.0), first_s=first_s), qos=1)
        await client.publish(TOPIC, pack(("water_level_m", 5.0), ("unheard_of", 1.0), first_s=first_s + 10), qos=2)
        await client.publish(TOPIC, b"no json", qos=1)
        for _ in range(3):
            await client.publish("cf/v1/d/somebody-else/telemetry", b"[]", qos=0)
        await client.publish(TOPIC, pack(*good, first_s=first_s), qos=1)  # again


def send_a_broken_request(platform: Platform, token: str) -> None:
    metadata = (("cf-device-id", DEVICE), ("authorization", f"Bearer {token}"))
    with grpc.insecure_channel(platform.grpc) as channel:
        stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        requests = iter([telemetry_pb2.PublishRequest(sequence=2), telemetry_pb2.PublishRequest(sequence=1)])
        with pytest.raises(grpc.RpcError, match="sequences must increase"):
            list(stub.Publish(requests, metadata=metadata, timeout=60))


def entries(platform: Platform) -> dict[str, float]:
    names = ("received", "recovered", "stored", "quarantined", "set_aside", "rejected")
    return {name: platform.metric("ingest", ENTRY % name) for name in names}


def wait_until_stored(platform: Platform, stored: int) -> dict[str, float]:
    deadline = time.monotonic() + 60
    while (found := entries(platform))["stored"] < stored:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def document(platform: Platform) -> LedgerDocument:
    found = read_ledger(platform.data_dir / "ingest" / "ledger.json")
    assert found is not None
    return found


async def test_the_ledger_balances_live_after_kill_9_and_at_shutdown(tmp_path):
    with running_platform(tmp_path) as platform, Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet:
        fleet.type("gauge", {"water_level_m": (0, 20)})
        token = fleet.device(DEVICE, "gauge")
        await publish(platform, token, 0)
        send_a_broken_request(platform, token)
        found = wait_until_stored(platform, 9)
        # An empty batch is one payload that could not be decoded; the request with the wrong sequence is rejected.
        assert found == {
            "received": 9 + 4 + 4, "recovered": 0, "stored": 9, "quarantined": 4, "set_aside": 0, "rejected": 4,
        }  # fmt: skip
        for reason, count in (("not_authorized", 3), ("sequence_not_increasing", 1)):
            assert platform.metric("ingest", f'cityfleet_ingest_ledger_rejected_total{{reason="{reason}"}}') == count
        for stage in STAGES:
            assert platform.metric("ingest", f'cityfleet_ingest_ledger_imbalance{{stage="{stage}"}}') == 0

        killed = platform.pid("ingest")
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while platform.find_pid("ingest") in (None, killed):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        after = document(platform)
        assert after.before[0].pid == killed
        assert after.before[0].state == "running"
        assert after.run.state == "running"
        assert after.run.breaks == []

        while True:
            try:
                await publish(platform, token, 100)
                break
            except aiomqtt.MqttError:  # the devices are not loaded yet
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
        assert platform.stop() == 0
        final = document(platform).run
        assert (final.state, final.breaks, final.unacknowledged) == ("stopped", [], {})
        assert final.rejected == {"not_authorized": 3}
        came = final.entries["received"] + final.entries["recovered"]
        assert came == 9 + 3 + 3 + final.entries["recovered"]
        assert came == sum(list(final.entries.values())[2:])
        log = (tmp_path / "up.log").read_text()
        assert '"event": "ledger"' in log
        assert "ledger_broken" not in log


async def test_readings_taken_out_of_the_spool_between_two_runs_are_missed(tmp_path):
    """The store is away, so that what was acknowledged stays in the spool; then a segment disappears."""
    extra = "ingest.spool.segment_max_age_s = 0.05\ningest.spool.segment_early_age_s = 0.05"
    with (
        running_platform(tmp_path, extra) as platform,
        Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet,
    ):
        fleet.type("gauge", {"water_level_m": (0, 20)})
        token = fleet.device(DEVICE, "gauge")
        supervisor = platform.process.pid
        os.kill(supervisor, signal.SIGSTOP)  # it would start the store again
        os.kill(platform.pid("store"), signal.SIGKILL)
        await publish(platform, token, 0)
        ingest = platform.pid("ingest")
        os.kill(ingest, signal.SIGTERM)
        path = platform.data_dir / "ingest" / "ledger.json"
        deadline = time.monotonic() + 60
        while (found := read_ledger(path)) is None or found.run.state != "stopped":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert found.run.breaks == []
        assert found.run.entries["in_spool"] == 9 + 3
        segments = sorted((platform.data_dir / "ingest" / "spool").glob("*.seg"))
        assert segments
        for segment in segments:
            segment.unlink()
        os.kill(supervisor, signal.SIGCONT)
        deadline = time.monotonic() + 60
        while (found := read_ledger(path)) is None or found.run.pid == ingest:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (fault,) = found.run.breaks
        assert fault.stage == "spool"
        assert fault.text == "the run before left 12 readings in the spool, 0 were found there"
        assert "ledger_carried_over" in (tmp_path / "up.log").read_text()
