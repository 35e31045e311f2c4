"""Sparkplug edge nodes of pysparkplug behind mosquitto: stored by alias, asked for births, followed over restarts."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time

import paho.mqtt.client as paho
import pysparkplug as sp
import pytest

from cityfleet.registry.v1.device_pb2 import CreateDeviceRequest, Device
from loadtest.platform import free_ports, running_platform
from tests.support.provision import Provisioner
from tests.support.sparkplug_edge import Edge, running, wait

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
pytestmark = pytest.mark.skipif(not os.access(MOSQUITTO, os.X_OK), reason="mosquitto is not installed")
METRICS = {"water_level_m": (sp.DataType.DOUBLE, 1.0), "rain_mm": (sp.DataType.INT8, -1)}
COUNT = "cityfleet_ingest_sparkplug_"


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mosquitto")
    (port,) = free_ports(1)
    (folder / "conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(folder / "conf")], stderr=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait(10)


class States:
    """What is retained at, and published to, the host's STATE topic."""

    def __init__(self, port: int) -> None:
        self.seen: list[tuple[bool, int, bool]] = []
        self._changed = threading.Condition()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("spBv1.0/STATE/#", 1)
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, _client, _data, message) -> None:
        assert message.topic == "spBv1.0/STATE/city-7"
        assert message.qos == 1
        state = json.loads(message.payload)
        with self._changed:
            self.seen.append((state["online"], state["timestamp"], bool(message.retain)))
            self._changed.notify_all()

    def wait_for(self, *online: bool) -> list[tuple[bool, int, bool]]:
        with self._changed:
            found = self._changed.wait_for(lambda: [one[0] for one in self.seen] == list(online), 60)
        assert found, self.seen
        return self.seen

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def world(broker, tmp_path_factory):
    extra = (
        f'ingest.broker.host = "127.0.0.1"\ningest.broker.port = {broker}\n'
        'ingest.broker.filters = ["cf/v1/d/+/telemetry/#", "spBv1.0/#"]\n'
        'ingest.sparkplug.host_id = "city-7"\n'
        "ingest.sparkplug.reorder_timeout_s = 1.0\ningest.sparkplug.rebirth_interval_s = 0.5\n"
    )
    with (
        running_platform(tmp_path_factory.mktemp("host"), extra) as platform,
        Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet,
    ):
        fleet.type("edge", {"water_level_m": (-5, 50), "rain_mm": (-200, 200)}, is_gateway=True, encoding="sparkplug")
        fleet.type("gauge", {"water_level_m": (-5, 50), "rain_mm": (-200, 200)})
        wait(lambda: platform.metric("ingest", 'cityfleet_ingest_broker_open{connection="0"}') == 1, "no broker")
        yield platform, fleet


def register(world, device_id: str, external_id: str, device_type: str = "edge", gateway: str = "") -> None:
    platform, fleet = world
    fleet.devices.CreateDevice(
        CreateDeviceRequest(
            device_id=device_id, device=Device(device_type=device_type, external_id=external_id, gateway=gateway)
        )
    )
    known = "cityfleet_ingest_index_devices"
    before = getattr(register, "count", 0)
    wait(lambda: platform.metric("ingest", known) > before, f"ingest does not know {device_id}")
    register.count = platform.metric("ingest", known)


def values(device_id: str, metric: str = "water_level_m") -> str:
    return f"SELECT value FROM ioc.readings WHERE device_id = '{device_id}' AND metric = '{metric}' ORDER BY ts, value"


def test_readings_by_alias_are_those_of_the_registered_devices(broker, world):
    platform, _ = world
    register(world, "edge-a", "Plant/A")
    register(world, "tank-a", "Plant/A/Tank", "gauge")
    register(world, "tank-b", "", "gauge", gateway="edge-a")
    edge = Edge("Plant", "A", METRICS, {"Tank": METRICS, "tank-b": METRICS})
    with running(edge, broker):
        edge.send(water_level_m=2.0, rain_mm=-100)
        edge.send("Tank", water_level_m=3.0)
        edge.send("tank-b", water_level_m=4.0)
        platform.wait_for(values("edge-a"), [["1"], ["2"]])
        platform.wait_for(values("edge-a", "rain_mm"), [["-1"], ["-100"]])
        platform.wait_for(values("tank-a"), [["1"], ["3"]])
        platform.wait_for(values("tank-b"), [["1"], ["4"]])
        assert edge.rebirths == 0
        edge.die()
    wait(lambda: platform.metric("ingest", f'{COUNT}nodes{{state="stale"}}') == 1, "the node is not stale")


def test_an_unknown_alias_is_quarantined_and_cured_by_a_rebirth(broker, world):
    platform, _ = world
    register(world, "edge-b", "Plant/B")
    edge = Edge("Plant", "B", METRICS)
    with running(edge, broker):
        edge.send(water_level_m=2.0)
        edge.send_metrics([sp.Metric(None, None, sp.DataType.DOUBLE, value=9.0, alias=77)])
        platform.wait_for(
            "SELECT reason, detail, device_id, readings FROM cityfleet.quarantine"
            " WHERE topic = 'spBv1.0/Plant/NDATA/B'",
            [["unknown_alias", "metric alias 77 of Plant/B, reading 1", "", "1"]],
        )
        wait(lambda: edge.rebirths == 1, "no rebirth was requested")
        edge.send(water_level_m=3.0)
        platform.wait_for(f"SELECT max(value) FROM ({values('edge-b')})", [["3"]])


def test_aliases_survive_a_kill_of_ingest(broker, world):
    platform, _ = world
    register(world, "edge-c", "Plant/C")
    edge = Edge("Plant", "C", METRICS)
    with running(edge, broker):
        edge.send(water_level_m=2.0)
        platform.wait_for(values("edge-c"), [["1"], ["2"]])
        path = platform.data_dir / "ingest" / "sparkplug" / "births"
        wait(lambda: path.exists() and b"Plant/C" in path.read_bytes(), "the birth is not on disk")
        killed = platform.pid("ingest")
        os.kill(killed, signal.SIGKILL)
        wait(lambda: platform.find_pid("ingest") not in (None, killed), "ingest did not come back")
        wait(lambda: is_consuming(platform), "ingest did not connect again")
        edge.send(water_level_m=5.0)
        platform.wait_for(values("edge-c"), [["1"], ["2"], ["5"]], seconds=60)
        wait(lambda: edge.rebirths == 1, "the births of before were not confirmed")


def is_consuming(platform) -> bool:
    try:
        return platform.metric("ingest", 'cityfleet_ingest_broker_open{connection="0"}') == 1
    except OSError:
        return False


def test_a_late_message_cancels_the_rebirth_and_a_lost_one_does_not(broker, world):
    platform, _ = world
    register(world, "edge-d", "Plant/D")
    register(world, "edge-e", "Plant/E")
    one, other = Edge("Plant", "D", METRICS), Edge("Plant", "E", METRICS)
    with running(one, broker), running(other, broker):
        late = one.next_seq()
        now_ms = time.time_ns() // 1_000_000
        one.send(water_level_m=2.0, at_ms=now_ms + 1)  # not in one millisecond: that would be one reading
        one.send(water_level_m=3.0, at_ms=now_ms + 2, seq=late)
        other.next_seq()
        other.send(water_level_m=2.0)
        platform.wait_for(values("edge-d"), [["1"], ["2"], ["3"]])  # stored at once, in whatever order
        wait(lambda: other.rebirths == 1, "the lost message did not lead to a rebirth")
        assert one.rebirths == 0


def test_a_lost_connection_is_told_by_the_will(broker, world):
    platform, _ = world
    edge = Edge("Plant", "F", METRICS)
    with running(edge, broker):
        online = f'{COUNT}nodes{{state="online"}}'
        wait(lambda: b"Plant/F" in births_file(platform), "the birth is not known")
        before = platform.metric("ingest", online)
        edge.client.drop()
        wait(lambda: platform.metric("ingest", online) == before - 1, "the node is not stale")


def births_file(platform) -> bytes:
    path = platform.data_dir / "ingest" / "sparkplug" / "births"
    return path.read_bytes() if path.exists() else b""


def test_historical_readings_do_not_win_and_transient_ones_are_not_stored(broker, world):
    platform, _ = world
    register(world, "edge-g", "Plant/G")
    edge = Edge("Plant", "G", METRICS)
    with running(edge, broker):
        hour_ago = int(time.time() * 1000) - 3_600_000
        level, rain = 1, 2  # aliases
        edge.send(water_level_m=7.0)
        edge.send_metrics(
            [sp.Metric(hour_ago, None, sp.DataType.DOUBLE, value=6.0, alias=level, is_historical=True),
             sp.Metric(None, None, sp.DataType.INT8, value=5, alias=rain, is_transient=True)]
        )  # fmt: skip
        platform.wait_for(values("edge-g"), [["6"], ["1"], ["7"]])
        platform.wait_for(
            "SELECT value FROM ioc.latest WHERE device_id = 'edge-g' AND metric = 'water_level_m'", [["7"]]
        )
        assert platform.query(values("edge-g", "rain_mm")) == [["-1"]]
    ledger = 'cityfleet_ingest_ledger_readings_total{entry="%s"}'
    entries = ("received", "recovered", "stored", "quarantined", "set_aside", "rejected")

    def is_balanced() -> bool:
        found = {entry: platform.metric("ingest", ledger % entry) for entry in entries}
        came = found["received"] + found["recovered"]
        return came == sum(found[entry] for entry in entries[2:]) and found["rejected"] == 1

    wait(is_balanced, "the ledger does not balance")


def test_tck_host_topic_phid_state_is_retained_and_ends_with_the_host(broker, world):
    """Online while connected; the will says offline when ingest is killed; online with a later time when it is back."""
    platform, _ = world
    states = States(broker)
    try:
        ((_, first_ms, is_retained),) = states.wait_for(True)
        assert is_retained
        os.kill(platform.pid("ingest"), signal.SIGKILL)
        seen = states.wait_for(True, False, True)
        assert seen[1][:2] == (False, first_ms)
        assert seen[2][1] > first_ms
        platform.stop()
        assert states.wait_for(True, False, True, False)[3][1] >= seen[2][1]
    finally:
        states.close()
