"""Clients that nobody here wrote: mosquitto, paho, aiomqtt and MQTT.js publish, subscribe, and are refused."""

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.mqtt_server import SENSOR, VIEWER, MqttServer, serve, token_of

COMMANDS = b"cf/v1/d/wl-1/commands"


async def run(*command: str | Path, timeout_s: float = 60) -> tuple[int, str]:
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
    async with asyncio.timeout(60):
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


def as_viewer(program: str, server: MqttServer, version: str, *options: str) -> list[str]:
    who = ["-u", VIEWER.decode(), "-P", token_of(VIEWER).decode()]
    return [program, "-p", str(server.port), "-V", version, *who, *options]


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients are not installed")
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
async def test_mosquitto_speaks_qos_2_and_finds_retained_messages(version):
    async with serve() as server:
        topic = "cf/v1/d/wl-1/telemetry"
        status, text = await run(
            *mosquitto("mosquitto_pub", server, version, "-t", topic, "-q", "2", "-r", "-m", "last")
        )
        assert status == 0, text
        assert [taken.payload for taken in server.taken] == [b"last"]
        assert server.count("messages.qos2") == 1
        status, text = await run(
            *as_viewer("mosquitto_sub", server, version, "-t", "cf/v1/#", "-q", "2", "-C", "1", "-F", "%t %p %q %r")
        )
        assert (status, text.strip()) == (0, f"{topic} last 2 1")
        await run(*mosquitto("mosquitto_pub", server, version, "-t", topic, "-r", "-n"))
        assert server.count("retained") == 0


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients are not installed")
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
async def test_mosquitto_finds_its_session_again(version):
    async with serve() as server:
        session = ["-i", "keeper", "-c", *(["-x", "300"] if version == "mqttv5" else []), "-q", "2"]
        plain = ["-t", "plain/x", *session]
        status, text = await run(*as_viewer("mosquitto_sub", server, version, *plain, "-E"))
        assert status == 0, text
        for payload in (b"one", b"two"):
            assert server.endpoint.publish(b"plain/x", payload, 2) == 1
        status, text = await run(*as_viewer("mosquitto_sub", server, version, *plain, "-C", "2"))
        assert (status, text.split()) == (0, ["one", "two"])
        assert server.count("sessions_resumed") == 1


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients are not installed")
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
async def test_the_will_of_a_killed_mosquitto_is_sent(version):
    async with serve() as server:
        will = ["--will-topic", "cf/v1/d/wl-1/state", "--will-payload", "gone", "--will-qos", "1", "--will-retain"]
        victim = await asyncio.create_subprocess_exec(
            *mosquitto("mosquitto_sub", server, version, "-t", "cf/v1/d/wl-1/commands", *will),
            stdout=asyncio.subprocess.DEVNULL,
        )
        await server.until("subscriptions", 1)
        victim.kill()
        await victim.wait()
        await server.until("wills", 1)
        status, text = await run(*as_viewer("mosquitto_sub", server, version, "-t", "cf/v1/+/wl-1/state", "-C", "1"))
        assert (status, text.strip()) == (0, "gone")


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients are not installed")
async def test_mosquittos_share_the_work():
    async with serve() as server:
        sub = as_viewer(
            "mosquitto_sub", server, "mqttv5", "-t", "$share/g/plain/#", "-t", "$share/g/plain/+", "-C", "5"
        )
        workers = [asyncio.create_task(run(*sub)) for _ in range(2)]
        await server.until("subscriptions", 2)  # `plain/#` is more than a viewer may see
        for i in range(10):
            assert server.endpoint.publish(b"plain/x", b"%d" % i, 0) == 1
        heard = [(await worker)[1] for worker in workers]
        lines = [line for text in heard for line in text.splitlines() if line.isdigit()]
        assert sorted(map(int, lines)) == list(range(10))


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
            sent.wait_for_publish(60)
        seen["last"] = sent.mid
        wait_for(seen, "message")
        foreign = client.publish("cf/v1/d/wl-2/telemetry", "x", 1)
        if version == MQTTProtocolVersion.MQTTv5:
            foreign.wait_for_publish(60)
            seen["foreign"] = seen["acks"][foreign.mid]
        else:
            wait_for(seen, "closed")
    finally:
        client.disconnect()
        client.loop_stop()
    return seen


def wait_for(seen: dict[str, Any], name: str) -> None:
    deadline = time.monotonic() + 60
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


def paho_viewer(port: int, version: MQTTProtocolVersion, seen: list[Any], **session: Any) -> paho.Client:
    """A client that keeps its session and notes (topic, payload, QoS, properties) of what comes."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        "paho-viewer",
        protocol=version,
        **({"clean_session": False} if version == MQTTProtocolVersion.MQTTv311 else {}),
    )
    client.username_pw_set(VIEWER.decode(), token_of(VIEWER).decode())
    client.on_message = lambda _client, _data, message: seen.append(
        (message.topic, message.payload, message.qos, message.properties)
    )
    client.connect("127.0.0.1", port, **session)
    return client


def watch_with_paho(server: MqttServer, version: MQTTProtocolVersion) -> list[Any]:
    seen: list[Any] = []
    session: dict[str, Any] = {}
    if version == MQTTProtocolVersion.MQTTv5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 300
        properties.ReceiveMaximum = 2
        session = {"clean_start": False, "properties": properties}
    client = paho_viewer(server.port, version, seen, **session)
    client.loop_start()
    try:
        subscribed: list[Any] = []
        client.on_subscribe = lambda *facts: subscribed.append(facts)
        properties = None
        if version == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.SUBSCRIBE)
            properties.SubscriptionIdentifier = 9
            client.subscribe("cf/v1/#", options=SubscribeOptions(qos=2, noLocal=True), properties=properties)
        else:
            client.subscribe("cf/v1/#", 2)
        poll(lambda: len(subscribed) == 1)
        device = paho.Client(CallbackAPIVersion.VERSION2, "paho-device", protocol=version)
        device.username_pw_set("wl-1", "token-wl-1")
        device.connect("127.0.0.1", server.port)
        device.loop_start()
        for i in range(9):
            device.publish("cf/v1/d/wl-1/telemetry", b"%d" % i, i % 3).wait_for_publish(60)
        poll(lambda: len(seen) == 9)
        client.disconnect()
        client.loop_stop()
        for i in range(9, 12):
            device.publish("cf/v1/d/wl-1/telemetry", b"%d" % i, 2).wait_for_publish(60)
        client = paho_viewer(server.port, version, seen, **session)
        client.loop_start()
        poll(lambda: len(seen) == 12)
        device.disconnect()
        device.loop_stop()
    finally:
        client.disconnect()
        client.loop_stop()
    return seen


def poll(is_so: Any) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
async def test_paho_watches_telemetry_at_qos_2_over_two_connections(version):
    async with serve() as server:
        seen = await asyncio.to_thread(watch_with_paho, server, version)
        # Sorted: paho tells of a QoS 2 message at its PUBREL, when later ones of QoS 0 and 1 have passed it.
        assert sorted((int(payload), qos) for _, payload, qos, _ in seen[:9]) == [(i, i % 3) for i in range(9)]
        assert [(int(payload), qos) for _, payload, qos, _ in seen[9:]] == [(i, 2) for i in range(9, 12)]
        assert {topic for topic, *_ in seen} == {"cf/v1/d/wl-1/telemetry"}
        if version == MQTTProtocolVersion.MQTTv5:
            assert all(properties.SubscriptionIdentifier == [9] for *_, properties in seen)
        assert [taken.payload for taken in server.taken] == [b"%d" % i for i in range(12)]


@pytest.mark.parametrize("version", [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5])
async def test_aiomqtt_publishes_and_subscribes(version):
    async with serve() as server:
        async with aiomqtt.Client(
            "127.0.0.1", server.port, username="wl-1", password="token-wl-1", identifier="a", protocol=version
        ) as client:
            await client.subscribe("cf/v1/d/wl-1/commands/#", qos=1)
            for qos in (0, 1):
                await client.publish("cf/v1/d/wl-1/telemetry", str(qos), qos=qos, timeout=60)
            assert server.endpoint.deliver(SENSOR, COMMANDS, b"go", 1) == 1
            async with asyncio.timeout(60):
                message = await anext(aiter(client.messages))
            assert (str(message.topic), message.payload, message.qos) == (COMMANDS.decode(), b"go", 1)
        assert [taken.payload for taken in server.taken] == [b"0", b"1"]


async def test_aiomqtt_leaves_a_will_and_watches_with_wildcards():
    async with serve() as server:
        viewer = aiomqtt.Client(
            "127.0.0.1", server.port, username=VIEWER.decode(), password=token_of(VIEWER).decode(), identifier="v"
        )
        async with viewer:
            await viewer.subscribe("cf/v1/d/+/state", qos=2)
            device = aiomqtt.Client(
                "127.0.0.1",
                server.port,
                username="wl-1",
                password="token-wl-1",
                will=aiomqtt.Will("cf/v1/d/wl-1/state", b"gone", qos=2),
            )
            async with device:
                await device.publish("cf/v1/d/wl-1/state", b"here", qos=2)
                server.endpoint.kick(SENSOR)
            async with asyncio.timeout(60):
                messages = aiter(viewer.messages)
                assert [(await anext(messages)).payload for _ in range(2)] == [b"here", b"gone"]


async def test_aiomqtt_is_told_that_its_token_is_wrong():
    async with serve() as server:
        with pytest.raises(aiomqtt.MqttError, match="Bad user name or password"):
            async with aiomqtt.Client("127.0.0.1", server.port, username="wl-1", password="no"):
                pass
        assert server.count("connects.wrong_token") == 1


@pytest.mark.parametrize(("version", "refused", "foreign"), [(4, 0x80, "closed"), (5, 0x87, 0x87)])
async def test_mqtt_js_publishes_and_subscribes(mqtt_js, version, refused, foreign):
    async with serve() as server:
        device = asyncio.create_task(run("node", mqtt_js / "client.mjs", str(server.port), str(version)))
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


async def test_mqtt_js_watches_at_qos_2_with_aliases_and_finds_its_session(mqtt_js):
    async with serve() as server:
        script = mqtt_js / "watch.mjs"
        status, text = await run("node", script, str(server.port), VIEWER.decode(), token_of(VIEWER).decode())
        assert status == 0, text
        facts = json.loads(text)
        assert (facts["granted"], facts["present"]) == (2, True)
        # MQTT.js tells of a QoS 2 message at its PUBREL, when later ones of QoS 0 and 1 have passed it.
        assert sorted(facts["seen"][:6], key=lambda message: message[1]) == [
            [f"plain/{i % 2}", f"{i}", i % 3, 77, {"n": f"{i}"}] for i in range(6)
        ]
        assert facts["seen"][6:] == [["plain/0", "while away", 2, 77, None]]
