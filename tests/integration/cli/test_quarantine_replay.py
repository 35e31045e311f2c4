"""`cityfleet quarantine replay`: what is good now is stored with its original time and leaves; the rest stays."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import aiomqtt
import grpc
import pytest

from cityfleet.telemetry.v1 import replay_pb2, replay_pb2_grpc
from runtime.secrets import secret
from tests.support.deadline import until


@pytest.fixture
def grpc_channel(platform):
    with grpc.insecure_channel(platform.grpc) as channel:
        yield channel


T0 = 1_767_350_000  # 2026-01-02T10:33:20Z


async def publish(platform, device, token, *payloads):
    async with aiomqtt.Client("127.0.0.1", platform.mqtt_port, username=device, password=token) as client:
        for payload in payloads:
            await client.publish(f"cf/v1/d/{device}/telemetry", payload, qos=1)


def pack(*records):
    return json.dumps(records).encode()


def quarantined(platform, device):
    return int(platform.query(f"SELECT count() FROM cityfleet.quarantine FINAL WHERE device_id = '{device}'")[0][0])


def replay(platform, *arguments, code=0):
    done = platform.cli("quarantine", "replay", *arguments, "-o", "json", check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout), done.stderr


class Scene:
    """A device of a type of its own, which does not have `rain_mm` yet, and what it sent."""

    def __init__(self, platform, fleet, name, *payloads):
        self.platform, self.fleet, self.device = platform, fleet, name
        self.kind = f"type-of-{name}"
        fleet.type(self.kind, {"water_level_m": None})
        asyncio.run(publish(platform, name, fleet.device(name, self.kind), *payloads))
        platform.wait_for(
            f"SELECT count() FROM cityfleet.quarantine WHERE device_id = '{name}'", [[str(len(payloads))]]
        )

    def correct(self):
        """The type gets the metric, and ingest knows."""
        self.fleet.type(self.kind, {"water_level_m": None, "rain_mm": None})
        until(lambda: any(row["becomes"] == "stored" for row in self.outcomes()))

    def outcomes(self):
        return replay(self.platform, "--device", self.device, "--dry-run")[0]

    def stored(self):
        return self.platform.query(
            "SELECT metric, toUnixTimestamp(ts), value, dateDiff('second', received_at, now64(3, 'UTC')) > 0 "
            f"FROM ioc.readings WHERE device_id = '{self.device}' ORDER BY metric, ts"
        )


def test_what_a_corrected_type_makes_good_is_stored_with_its_original_time(platform, fleet):
    scene = Scene(
        platform,
        fleet,
        "replay-01",
        pack({"n": "rain_mm", "t": T0, "v": 41.5}, {"n": "water_level_m", "t": T0, "v": 1.5}),
        pack({"n": "rain_mm", "t": T0 + 1, "v": 42.5}),
        b"not JSON",
        pack({"n": "rain_mm", "t": T0 + 2, "v": 43.5}, {"n": "nobody_knows", "v": 1}),
    )
    received = platform.query("SELECT received_at FROM cityfleet.quarantine WHERE device_id = 'replay-01' ORDER BY id")
    assert {row["becomes"] for row in scene.outcomes()} == {"stays: unknown_metric", "stays: malformed_payload"}
    assert replay(platform, "--device", scene.device, "--yes", code=5)[0]["stored"] == 0
    assert quarantined(platform, scene.device) == 4

    scene.correct()
    assert quarantined(platform, scene.device) == 4, "a dry run takes nothing"
    found, said = replay(platform, "--device", scene.device, "--yes", code=5)
    assert found == {"stored": 2, "readings": 3, "stay": {"malformed_payload": 1, "unknown_metric": 1}}
    assert "2 payloads of 4 stay" in said
    assert quarantined(platform, scene.device) == 2
    wanted = [
        ["rain_mm", str(T0), "41.5", "1"],
        ["rain_mm", str(T0 + 1), "42.5", "1"],
        ["water_level_m", str(T0), "1.5", "1"],
    ]
    until(lambda: scene.stored() == wanted)
    kept = platform.query("SELECT DISTINCT received_at FROM ioc.readings WHERE device_id = 'replay-01'")
    assert {row[0][:19] for row in kept} <= {row[0][:19] for row in received}

    replay(platform, "--device", scene.device, "--reason", "unknown_metric", "--yes", code=5)
    assert len(scene.stored()) == 3


def test_two_replays_at_once_store_everything_once(platform, fleet):
    payloads = [pack({"n": "rain_mm", "t": T0 + second, "v": second}) for second in range(300)]
    scene = Scene(platform, fleet, "replay-02", *payloads)
    scene.correct()
    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(platform.cli, "quarantine", "replay", "--device", scene.device, "--yes", "-o", "json")
            for _ in range(3)
        ]
        assert all(run.result().returncode == 0 for run in runs)
    assert quarantined(platform, scene.device) == 0
    until(lambda: len(scene.stored()) == 300)
    counted = platform.query(f"SELECT count(), uniqExact(ts) FROM ioc.readings WHERE device_id = '{scene.device}'")
    assert counted == [["300", "300"]]


def test_a_call_without_the_key_is_refused(platform, grpc_channel):
    stub = replay_pb2_grpc.ReplayServiceStub(grpc_channel)
    for metadata in ([], [("authorization", "Bearer wrong")]):
        with pytest.raises(Exception, match="UNAUTHENTICATED"):
            stub.Replay(replay_pb2.ReplayRequest(), metadata=metadata, timeout=60)
    key = [("authorization", f"Bearer {secret(platform.data_dir, 'internal')}")]
    assert not stub.Replay(replay_pb2.ReplayRequest(), metadata=key, timeout=60).outcomes


def test_hostile_frames_are_judged_and_not_taken(platform, grpc_channel):
    stub = replay_pb2_grpc.ReplayServiceStub(grpc_channel)
    key = [("authorization", f"Bearer {secret(platform.data_dir, 'internal')}")]
    frames = [
        replay_pb2.ReplayFrame(),
        replay_pb2.ReplayFrame(topic=b"\xff" * 70_000, payload=b"\xff" * 70_000, received_ms=-(1 << 63)),
        replay_pb2.ReplayFrame(
            topic=b"spBv1.0/g/NDATA/e", transport="broker", payload=b"\x08", received_ms=(1 << 63) - 1
        ),
        replay_pb2.ReplayFrame(transport="nonsense", encoding="nonsense", reason="nonsense", device_id="\u0000"),
    ]
    outcomes = stub.Replay(replay_pb2.ReplayRequest(frames=frames), metadata=key, timeout=60).outcomes
    assert len(outcomes) == len(frames)
    assert all(outcome.reason and not outcome.readings for outcome in outcomes)


def test_while_ingest_is_away_nothing_is_lost_and_it_is_said(platform, fleet):
    scene = Scene(platform, fleet, "replay-03", pack({"n": "rain_mm", "t": T0, "v": 1}))
    done = platform.cli(
        "quarantine", "replay", "--device", scene.device, "--yes", "--ingest", "127.0.0.1:1", check=False
    )
    assert done.returncode == 1
    assert "does not take payloads" in done.stderr
    assert "cityfleet up" in done.stderr
    assert quarantined(platform, scene.device) == 1


def test_who_names_nothing_is_asked_what(platform):
    done = platform.cli("quarantine", "replay", check=False)
    assert (done.returncode, "name what to send" in done.stderr) == (2, True)
    assert "Nothing" in platform.cli("quarantine", "replay", "--device", "nobody", "--yes").stdout


def test_the_ledger_balances_over_a_replay(platform, fleet):
    scene = Scene(platform, fleet, "replay-04", pack({"n": "rain_mm", "t": T0, "v": 1}))
    before = platform.metric("ingest", 'cityfleet_ingest_replayed_payloads_total{outcome="taken"}')
    scene.correct()
    assert replay(platform, "--device", scene.device, "--yes")[0] == {"stored": 1, "readings": 1, "stay": {}}
    assert platform.metric("ingest", 'cityfleet_ingest_replayed_payloads_total{outcome="taken"}') == before + 1
    until(lambda: len(scene.stored()) == 1)
    for stage in ("transport", "decode", "resolve", "batch", "spool", "write"):
        assert platform.metric("ingest", f'cityfleet_ingest_ledger_imbalance{{stage="{stage}"}}') == 0
