"""An external broker: mosquitto in front, a shared subscription behind it, acknowledgements after the spool."""

import json
import os
import shutil
import signal
import subprocess

import aiomqtt
import pytest

from loadtest.platform import free_ports, running_platform
from tests.support.provision import Provisioner

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
pytestmark = pytest.mark.skipif(not os.access(MOSQUITTO, os.X_OK), reason="mosquitto is not installed")


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mosquitto")
    (port,) = free_ports(1)
    (folder / "conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 100000\n"
    )
    process = subprocess.Popen([MOSQUITTO, "-c", str(folder / "conf")], stderr=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def consuming(broker, tmp_path_factory):
    with (
        running_platform(
            tmp_path_factory.mktemp("consumer"), f'ingest.broker.host = "127.0.0.1"\ningest.broker.port = {broker}\n'
        ) as platform,
        Provisioner(platform.registry, platform.mqtt_port) as fleet,
    ):
        fleet.type("gauge", {"water_level_m": (0, 20)})
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


async def test_an_unknown_device_behind_the_broker_goes_to_quarantine(broker, consuming):
    platform, _ = consuming
    await send(broker, "cf/v1/d/nobody-01/telemetry", [1])
    platform.wait_for(
        "SELECT device_id, reason, transport, payload FROM cityfleet.quarantine WHERE topic LIKE '%nobody-01%'",
        [["nobody-01", "unknown_device", "broker", pack(1)]],
    )


async def test_what_was_not_acknowledged_when_ingest_was_killed_comes_again(broker, consuming):
    platform, fleet = consuming
    fleet.device("wl-broker-02", "gauge")
    await send(broker, "cf/v1/d/wl-broker-02/telemetry", range(200))
    killed = platform.pid("ingest")
    os.kill(killed, signal.SIGKILL)
    await send(broker, "cf/v1/d/wl-broker-02/telemetry", range(200, 400))
    platform.wait_for(stored("wl-broker-02"), [["400", str(sum(range(400)))]], seconds=60)
    assert platform.pid("ingest") != killed
