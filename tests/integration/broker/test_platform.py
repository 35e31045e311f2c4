"""An external broker before the whole platform: what mosquitto has is stored, quarantined, and survives kill -9."""

import json
import os
import signal
import time
import urllib.error
import urllib.request

import aiomqtt
import pytest

from cityfleet.registry.v1 import device_pb2
from loadtest.platform import running_platform
from tests.support.fake_broker import consuming as another_consumer
from tests.support.mosquitto import IS_THERE, Mosquitto
from tests.support.provision import Provisioner
from tests.support.registry import wait_until

pytestmark = pytest.mark.skipif(not IS_THERE, reason="mosquitto is not installed")


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory):
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as started:
        yield started


@pytest.fixture(scope="module")
def broker(mosquitto):
    return mosquitto.port


@pytest.fixture(scope="module")
def consuming(broker, tmp_path_factory):
    with (
        running_platform(
            tmp_path_factory.mktemp("consumer"),
            f'ingest.broker.host = "127.0.0.1"\ningest.broker.port = {broker}\n'
            "ingest.broker.max_packet_bytes = 100000\n"
            'ingest.broker.filters = ["cf/v1/d/+/telemetry/#", "cf/v1/g/+/telemetry/#", "cf/v1/d/+/state", '
            '"v3/+/devices/+/up"]\n'
            "ingest.state.report_interval_s = 0.5\n",
        ) as platform,
        Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet,
    ):
        fleet.type("gauge", {"water_level_m": (0, 5000)})
        fleet.type("gateway", {}, is_gateway=True)
        yield platform, fleet


def pack(number):
    return json.dumps([{"n": "water_level_m", "t": 1_700_000_000 + number, "v": number}])


async def send(port, topic, numbers, qos=1):
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        for number in numbers:
            await client.publish(topic, pack(number), qos=qos)


def stored(device):
    return f"SELECT count(), sum(value) FROM ioc.readings WHERE device_id = '{device}'"


async def test_what_the_broker_has_is_stored_by_the_topics_device(broker, consuming):
    platform, fleet = consuming
    fleet.device("wl-broker-01", "gauge", ward="00070")
    await send(broker, "cf/v1/d/wl-broker-01/telemetry", range(100))
    await send(broker, "cf/v1/d/wl-broker-01/telemetry/senml-json", range(100, 150), qos=0)
    platform.wait_for(stored("wl-broker-01"), [["150", str(sum(range(150)))]])


async def test_who_talks_through_the_broker_is_heard_and_not_connected(broker, consuming):
    _, fleet = consuming
    fleet.device("wl-broker-02", "gauge")
    await send(broker, "cf/v1/d/wl-broker-02/telemetry", [1])
    async with aiomqtt.Client("127.0.0.1", broker, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.publish("cf/v1/d/wl-broker-02/state", '{"firmware_version": "1.0"}', qos=1, retain=True)
    request = device_pb2.GetDeviceRequest(name="devices/wl-broker-02")
    for _ in wait_until("both are known"):
        found = fleet.devices.GetDevice(request)
        if found.reported.firmware_version == "1.0" and found.reported.HasField("last_reading_time"):
            break
    assert found.connectivity == device_pb2.CONNECTIVITY_ONLINE
    assert not found.reported.is_connected


async def test_a_network_server_on_the_broker_speaks_for_its_sensors(broker, consuming):
    platform, fleet = consuming
    fleet.type("lora", {"water_level_m": (0, 20)})
    created = device_pb2.Device(device_type="lora", external_id="0004a30b001c0530")
    fleet.devices.CreateDevice(device_pb2.CreateDeviceRequest(device_id="wl-lora-01", device=created))
    fleet.device("wl-lora-02", "lora")  # once it is known, so is the one before
    uplink = {
        "end_device_ids": {"dev_eui": "0004A30B001C0530"},
        "uplink_message": {
            "f_port": 1,
            "received_at": "2026-01-02T10:33:20Z",
            "decoded_payload": {"water_level_m": 4.2},
        },
    }
    async with aiomqtt.Client("127.0.0.1", broker, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.publish("v3/city@hanoi/devices/wl/up", json.dumps(uplink), qos=1)
    platform.wait_for(stored("wl-lora-01"), [["1", "4.2"]])


async def test_an_unknown_device_behind_the_broker_goes_to_quarantine(broker, consuming):
    platform, _ = consuming
    await send(broker, "cf/v1/d/nobody-01/telemetry", [1])
    platform.wait_for(
        "SELECT device_id, reason, transport, payload FROM cityfleet.quarantine WHERE topic LIKE '%nobody-01%'",
        [["nobody-01", "unknown_device", "broker", pack(1)]],
    )


async def test_what_a_device_sent_before_it_was_registered_is_stored_by_a_replay(broker, consuming):
    platform, fleet = consuming
    await send(broker, "cf/v1/d/late-01/telemetry", [1, 2, 3])
    uplink = {
        "end_device_ids": {"device_id": "late", "dev_eui": "70B3D57ED00500AA"},
        "uplink_message": {
            "f_port": 1,
            "decoded_payload": {"water_level_m": 4.2},
            "received_at": "2026-01-02T03:04:05Z",
        },
    }
    async with aiomqtt.Client("127.0.0.1", broker, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.publish("v3/city@hanoi/devices/late/up", json.dumps(uplink), qos=1)
    platform.wait_for("SELECT count() FROM cityfleet.quarantine WHERE topic LIKE '%/late%'", [["4"]])
    fleet.device("late-01", "gauge")
    fleet.devices.CreateDevice(
        device_pb2.CreateDeviceRequest(
            device_id="late-02", device=device_pb2.Device(device_type="gauge", external_id="70b3d57ed00500aa")
        )
    )
    fleet.device("late-03", "gauge")  # waits until ingest knows those before
    arguments = ("quarantine", "replay", "--transport", "broker", "--reason", "unknown_device", "--yes", "-o", "json")
    found = json.loads(platform.cli(*arguments, check=False).stdout)
    assert found["readings"] == 4
    platform.wait_for(stored("late-01"), [["3", "6"]])
    platform.wait_for(stored("late-02"), [["1", "4.2"]])


async def test_what_was_not_acknowledged_when_ingest_was_killed_comes_again(broker, consuming):
    platform, fleet = consuming
    fleet.device("wl-broker-killed", "gauge")
    await send(broker, "cf/v1/d/wl-broker-killed/telemetry", range(200))
    killed = platform.pid("ingest")
    os.kill(killed, signal.SIGKILL)
    await send(broker, "cf/v1/d/wl-broker-killed/telemetry", range(200, 400))
    platform.wait_for(stored("wl-broker-killed"), [["400", str(sum(range(400)))]], seconds=60)
    assert platform.pid("ingest") != killed


async def test_bad_payloads_hold_nothing_up(broker, consuming):
    platform, fleet = consuming
    fleet.device("wl-broker-03", "gauge")
    async with aiomqtt.Client("127.0.0.1", broker, protocol=aiomqtt.ProtocolVersion.V5) as client:
        for number in range(1000):
            await client.publish("cf/v1/d/wl-broker-03/telemetry", pack(number), qos=1)
            await client.publish("cf/v1/d/wl-broker-03/telemetry", b"\xff" * (number % 7), qos=1)
    platform.wait_for(stored("wl-broker-03"), [["1000", str(sum(range(1000)))]])
    platform.wait_for(
        "SELECT reason, sum(readings) FROM cityfleet.quarantine WHERE device_id = 'wl-broker-03' "
        "GROUP BY reason ORDER BY reason",
        [["empty_payload", "143"], ["malformed_payload", "857"]],
    )


async def test_a_large_message_goes_to_quarantine(broker, consuming):
    platform, fleet = consuming
    fleet.device("wl-broker-04", "gauge")
    async with aiomqtt.Client("127.0.0.1", broker, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.publish("cf/v1/d/wl-broker-04/telemetry", b"[" + b" " * 300_000 + b"]", qos=1)
        await client.publish("cf/v1/d/wl-broker-04/telemetry", pack(1), qos=1)
    platform.wait_for(stored("wl-broker-04"), [["1", "1"]])
    platform.wait_for(
        "SELECT reason, length(payload) < 100000 FROM cityfleet.quarantine WHERE device_id = 'wl-broker-04'",
        [["payload_too_large", "1"]],
    )


async def test_a_share_group_with_a_killed_member_loses_nothing(broker, consuming):
    platform, fleet = consuming
    fleet.device("wl-broker-05", "gauge")
    async with another_consumer(broker, client_id="another") as other:
        await other.until(lambda: other.consumer.problem == "")
        await send(broker, "cf/v1/d/wl-broker-05/telemetry", range(600))
        os.kill(platform.pid("ingest"), signal.SIGKILL)
        await send(broker, "cf/v1/d/wl-broker-05/telemetry", range(600, 1200))
        await other.until_taken(300)

        def missing():
            rows = platform.query("SELECT value FROM ioc.readings WHERE device_id = 'wl-broker-05'")
            got = {float(value) for (value,) in rows} | {json.loads(payload)[0]["v"] for payload in other.payloads}
            return set(range(1200)) - got

        await other.until(lambda: not missing(), missing)


def test_readiness_and_metrics_tell_of_the_broker(mosquitto, consuming):
    platform, _ = consuming
    assert platform.metric("ingest", 'cityfleet_ingest_broker_open{connection="1"}') == 1
    assert platform.metric("ingest", 'cityfleet_ingest_broker_messages_total{connection="0",qos="1"}') > 0
    assert not_ready(platform) == ""
    mosquitto.stop()
    deadline = time.monotonic() + 60
    while f"broker: broker 127.0.0.1:{mosquitto.port}: unreachable" not in not_ready(platform):
        assert time.monotonic() < deadline, not_ready(platform)
        time.sleep(0.05)


def not_ready(platform):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{platform.metrics_ports['ingest']}/readyz", timeout=60).close()
    except urllib.error.HTTPError as refused:
        return refused.read().decode()
    return ""
