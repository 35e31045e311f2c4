"""Sparkplug edge nodes of pysparkplug at our own endpoint: who they may speak for, rebirths, wills, STATE."""

import json

import paho.mqtt.client as paho
import pysparkplug as sp
import pytest

from loadtest.platform import running_platform
from tests.support.provision import Provisioner
from tests.support.sparkplug_edge import Edge, running, wait

METRICS = {"water_level_m": (sp.DataType.FLOAT, 1.0), "state": (sp.DataType.STRING, "idle")}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with (
        running_platform(tmp_path_factory.mktemp("host"), "ingest.sparkplug.rebirth_interval_s = 0.5\n") as platform,
        Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet,
    ):
        fleet.type("edge", {"water_level_m": (-5, 50), "rain_mm": None}, is_gateway=True, encoding="sparkplug")
        fleet.type("gauge", {"water_level_m": (-5, 50)})
        yield platform, fleet


def make_edge(world, name: str, devices=None, group: str = "Plant") -> Edge:
    """An edge node whose id is that of its gateway device; its devices are behind it."""
    _, fleet = world
    token = fleet.device(name, "edge")
    for device in devices or ():
        fleet.device(device, "gauge", gateway=name)
    return Edge(group, name, METRICS, dict.fromkeys(devices or (), METRICS), name, token)


def values(device_id: str) -> str:
    of = f"device_id = '{device_id}' AND metric = 'water_level_m'"
    return f"SELECT value FROM ioc.readings WHERE {of} ORDER BY ts, value"


def test_an_edge_node_speaks_for_itself_and_for_the_devices_behind_it(world):
    platform, fleet = world
    fleet.device("tank-elsewhere", "gauge")
    edge = make_edge(world, "edge-1", ["tank-1"])
    with running(edge, platform.mqtt_port):
        edge.send(water_level_m=2.0)
        edge.send("tank-1", water_level_m=3.0)
        platform.wait_for(values("edge-1"), [["1"], ["2"]])
        platform.wait_for(values("tank-1"), [["1"], ["3"]])
        edge.send_metrics([sp.Metric(None, "water_level_m", sp.DataType.FLOAT, value=9.0)], "tank-elsewhere")
        platform.wait_for(
            "SELECT reason, device_id FROM cityfleet.quarantine WHERE topic LIKE '%/tank-elsewhere'",
            [["unknown_device", "edge-1"]],
        )
        assert platform.query(values("tank-elsewhere")) == []


def test_a_metric_that_the_type_lacks_is_refused_alone(world):
    """`state` is in no type: its birth value goes to quarantine, the level beside it is stored."""
    platform, _ = world
    edge = make_edge(world, "edge-2")
    with running(edge, platform.mqtt_port):
        platform.wait_for(values("edge-2"), [["1"]])
        platform.wait_for(
            "SELECT reason, detail, readings FROM cityfleet.quarantine WHERE topic = 'spBv1.0/Plant/NBIRTH/edge-2'",
            [["unknown_metric", "metric state, text 1", "1"]],
        )


def test_an_unknown_alias_leads_to_a_rebirth_over_the_same_connection(world):
    platform, _ = world
    edge = make_edge(world, "edge-3")
    with running(edge, platform.mqtt_port):
        edge.send_metrics([sp.Metric(None, None, sp.DataType.FLOAT, value=9.0, alias=77)])
        wait(lambda: edge.rebirths == 1, "no rebirth was requested")
        edge.send(water_level_m=4.0)
        platform.wait_for(f"SELECT max(value) FROM ({values('edge-3')})", [["4"]])


def test_a_lost_connection_is_told_by_the_will(world):
    platform, _ = world
    edge = make_edge(world, "edge-4")
    deaths = "cityfleet_ingest_sparkplug_deaths_total"
    with running(edge, platform.mqtt_port):
        platform.wait_for(values("edge-4"), [["1"]])
        before = platform.metric("ingest", deaths)
        edge.client.drop()
        wait(lambda: platform.metric("ingest", deaths) == before + 1, "the death is not known")


def test_the_host_is_online_for_edge_nodes_that_wait_for_it(world):
    platform, fleet = world
    token = fleet.device("edge-5", "edge")
    states = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.username_pw_set("edge-5", token)
    client.on_connect = lambda client, *_: client.subscribe("spBv1.0/STATE/cityfleet", 1)
    client.on_message = lambda _client, _data, message: states.append((json.loads(message.payload), message.retain))
    client.connect("127.0.0.1", platform.mqtt_port)
    client.loop_start()
    try:
        wait(lambda: states, "there is no STATE")
    finally:
        client.disconnect()
        client.loop_stop()
    ((state, is_retained),) = states
    assert state["online"] is True
    assert state["timestamp"] > 1_700_000_000_000
    assert is_retained
