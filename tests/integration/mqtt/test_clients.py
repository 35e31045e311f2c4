"""Clients that nobody here wrote: mosquitto, paho, aiomqtt and MQTT.js publish, subscribe, and are refused."""

import asyncio
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.mqtt_server import SENSOR, MqttServer, serve

JS = Path(__file__).parent / "js"
COMMANDS = b"cf/v1/d/wl-1/commands"


async def run(*command: str | Path, timeout_s: float = 20) -> tuple[int, str]:
    """Exit status and everything a program printed."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def deliver_when_subscribed(server: MqttServer, payload: bytes) -> None:
    async with asyncio.timeout(10):
        while not server.endpoint.deliver(SENSOR, COMMANDS, payload, 1):
            await asyncio.sleep(0.01)


def mosquitto(program: str, server: MqttServer, version: str, *options: str) -> list[str]:
    who = ["-u", "wl-1", "-P", "token-wl-1"]
    return [program, "-p", str(server.port), "-V", version, "-d", *who, *options]


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients are not installed")
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
async def test_mosquitto_publishes_and_subscribes(version):
    async with serve() as server:
        for qos in "01":
            status, text = await run(
                *mosquitto("mosquitto_pub", server, version, "-t", "cf/v1/d/wl-1/telemetry", "-q", qos, "-m", qos)
            )
            assert status == 0, text
        assert [taken.payload for taken in server.taken] == [b"0", b"1"]
        assert server.count("acks") == 1
        topics = ["-t", "cf/v1/d/wl-1/#", "-t", "cf/v1/d/wl-2/#"]
        listening = asyncio.create_task(
            run(*mosquitto("mosquitto_sub", server, version, *topics, "-q", "1", "-C", "1"))
        )
        await deliver_when_subscribed(server, b"open the gate")
        status, text = await listening
        assert status == 0, text
        assert "open the gate" in text
        assert "Subscribed (mid: 1): 1, " + ("135" if version == "mqttv5" else "128") in text


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients are not installed")
async def test_mosquitto_is_told_why_it_may_not():
    async with serve() as server:
        foreign = ["-t", "cf/v1/d/wl-2/telemetry", "-q", "1", "-m", "x"]
        _, text = await run(*mosquitto("mosquitto_pub", server, "mqttv5", *foreign))
        assert "RC:135" in text
        status, text = await run("mosquitto_pub", "-p", str(server.port), "-V", "5", "-u", "wl-1", "-P", "no", *foreign)
        assert status != 0
        assert "not authorised" in text.lower() or "bad user name or password" in text.lower()


def use_paho(port: int, version: MQTTProtocolVersion) -> dict[str, Any]:
    """What a device with paho lives through, in its own thread."""
    seen: dict[str, Any] = {}
    client = paho.Client(CallbackAPIVersion.VERSION2, "paho-1", protocol=version)
    client.username_pw_set("wl-1", "token-wl-1")
    client.on_message = lambda _client, _data, message: seen.update(message=(message.topic, message.payload))
    client.on_subscribe = lambda _client, _data, _mid, codes, _props: seen.update(
        granted=[code.value for code in codes]
    )
    client.on_publish = lambda _client, _data, mid, code, _props: seen.setdefault("acks", {}).update({mid: code.value})
    client.on_disconnect = lambda _client, _data, _flags, code, _props: seen.update(closed=code.value)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        properties = None
        if version == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ContentType = "application/senml+json"
            properties.TopicAlias = 3
            properties.UserProperty = ("made", "by paho")
        client.subscribe([("cf/v1/d/wl-1/commands", 1), ("cf/v1/d/wl-2/commands", 1)])
        for qos in (0, 1):
            sent = client.publish("cf/v1/d/wl-1/telemetry", str(qos), qos, properties=properties)
            sent.wait_for_publish(5)
        seen["last"] = sent.mid
        wait_for(seen, "message")
        foreign = client.publish("cf/v1/d/wl-2/telemetry", "x", 1)
        if version == MQTTProtocolVersion.MQTTv5:
            foreign.wait_for_publish(5)
            seen["foreign"] = seen["acks"][foreign.mid]
        else:
            wait_for(seen, "closed")
    finally:
        client.disconnect()
        client.loop_stop()
    return seen


def wait_for(seen: dict[str, Any], name: str) -> None:
    deadline = time.monotonic() + 10
    while name not in seen:
        assert time.monotonic() < deadline, (name, seen)
        time.sleep(0.01)


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
async def test_paho_publishes_and_subscribes(version):
    async with serve() as server:
        device = asyncio.create_task(asyncio.to_thread(use_paho, server.port, version))
        await deliver_when_subscribed(server, b"go")
        seen = await device
        assert [taken.payload for taken in server.taken] == [b"0", b"1"]
        assert seen["message"] == (COMMANDS.decode(), b"go")
        assert seen["acks"][seen["last"]] == 0
        if version == MQTTProtocolVersion.MQTTv5:
            assert [taken.encoding for taken in server.taken] == [1, 1]
            assert (seen["granted"], seen["foreign"]) == ([1, 0x87], 0x87)
        else:
            assert seen["granted"] == [1, 0x80]
        assert server.count("rejected.not_authorized") >= 1


@pytest.mark.parametrize("version", [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5])
async def test_aiomqtt_publishes_and_subscribes(version):
    async with serve() as server:
        async with aiomqtt.Client(
            "127.0.0.1", server.port, username="wl-1", password="token-wl-1", identifier="a", protocol=version
        ) as client:
            await client.subscribe("cf/v1/d/wl-1/commands/#", qos=1)
            for qos in (0, 1):
                await client.publish("cf/v1/d/wl-1/telemetry", str(qos), qos=qos, timeout=5)
            assert server.endpoint.deliver(SENSOR, COMMANDS, b"go", 1) == 1
            async with asyncio.timeout(5):
                message = await anext(aiter(client.messages))
            assert (str(message.topic), message.payload, message.qos) == (COMMANDS.decode(), b"go", 1)
        assert [taken.payload for taken in server.taken] == [b"0", b"1"]


async def test_aiomqtt_is_told_that_its_token_is_wrong():
    async with serve() as server:
        with pytest.raises(aiomqtt.MqttError, match="Bad user name or password"):
            async with aiomqtt.Client("127.0.0.1", server.port, username="wl-1", password="no"):
                pass
        assert server.count("connects.wrong_token") == 1


@pytest.fixture(scope="module")
def mqtt_js() -> Path:
    """The script, with its packages installed as the lock file says."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    if not (JS / "node_modules" / "mqtt").exists():
        subprocess.run(["npm", "ci"], cwd=JS, check=True, capture_output=True, timeout=100)
    return JS / "client.mjs"


@pytest.mark.parametrize(("version", "refused", "foreign"), [(4, 0x80, "closed"), (5, 0x87, 0x87)])
async def test_mqtt_js_publishes_and_subscribes(mqtt_js, version, refused, foreign):
    async with serve() as server:
        device = asyncio.create_task(run("node", mqtt_js, str(server.port), str(version)))
        await deliver_when_subscribed(server, b"go")
        status, text = await device
        assert status == 0, text
        assert json.loads(text) == {
            "granted": 1,
            "refused": refused,
            "topic": COMMANDS.decode(),
            "payload": "go",
            "foreign": foreign,
        }
        assert [taken.payload for taken in server.taken] == [b"zero", b"one"]
