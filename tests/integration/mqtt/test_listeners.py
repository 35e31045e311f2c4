"""Every listener with clients that nobody here wrote: TCP, TLS, WebSocket and both, with what each client can."""

import asyncio
import json
import shutil
import ssl
import time
from pathlib import Path
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from ingest.settings import SecureWebSocketSettings, TlsSettings, WebSocketSettings
from tests.support.certificates import Authority
from tests.support.mqtt_server import SENSOR, MqttServer, serve

COMMANDS = b"cf/v1/d/wl-1/commands"
TELEMETRY = "cf/v1/d/wl-1/telemetry"
KINDS = ("mqtt", "mqtts", "ws", "wss")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def everywhere(authority: Authority, **tls: Any):
    cert_file, key_file = authority.issue("server")
    return serve(
        tls=TlsSettings(enabled=True, port=0, cert_file=str(cert_file), key_file=str(key_file), **tls),
        websocket=WebSocketSettings(enabled=True, port=0),
        websocket_tls=SecureWebSocketSettings(enabled=True, port=0),
    )


async def run(*command: str | Path) -> str:
    """Everything a program printed, which must end well."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def deliver_when_subscribed(server: MqttServer, payload: bytes) -> None:
    async with asyncio.timeout(60):
        while not server.endpoint.deliver(SENSOR, COMMANDS, payload, 1):
            await asyncio.sleep(0.01)


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients are not installed")
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
async def test_mosquitto_publishes_and_subscribes_over_tls(authority, version):
    async with everywhere(authority) as server:
        who = ["-p", str(server.port_of("mqtts")), "--cafile", str(authority.ca_file), "-u", "wl-1", "-P", "token-wl-1"]
        listening = asyncio.create_task(
            run("mosquitto_sub", "-h", "127.0.0.1", *who, "-V", version, "-t", COMMANDS.decode(), "-q", "1", "-C", "1")
        )
        for qos in "01":
            await run("mosquitto_pub", "-h", "127.0.0.1", *who, "-V", version, "-t", TELEMETRY, "-q", qos, "-m", qos)
        await deliver_when_subscribed(server, b"open the gate")
        assert "open the gate" in await listening
        assert [taken.payload for taken in server.taken] == [b"0", b"1"]
        assert server.count("tls_handshakes") == 3


@pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="mosquitto-clients are not installed")
async def test_mosquitto_shows_a_client_certificate(authority):
    cert_file, key_file = authority.issue("device")
    async with everywhere(authority, client_ca_file=str(authority.ca_file)) as server:
        who = ["-h", "127.0.0.1", "-p", str(server.port_of("mqtts")), "-u", "wl-1", "-P", "token-wl-1"]
        message = ["--cafile", str(authority.ca_file), "-t", TELEMETRY, "-q", "1", "-m", "x"]
        with pytest.raises(AssertionError):
            await run("mosquitto_pub", *who, *message)
        await server.until("connects.tls_failed", 1)
        await run("mosquitto_pub", *who, *message, "--cert", cert_file, "--key", key_file)
        assert [taken.payload for taken in server.taken] == [b"x"]


def use_paho(port: int, kind: str, version: MQTTProtocolVersion, ca_file: Path) -> dict[str, Any]:
    """What a device with paho lives through, in its own thread."""
    seen: dict[str, Any] = {}
    transport = "websockets" if "w" in kind else "tcp"
    client = paho.Client(CallbackAPIVersion.VERSION2, "paho-1", protocol=version, transport=transport)
    client.username_pw_set("wl-1", "token-wl-1")
    if transport == "websockets":
        client.ws_set_options(path="/mqtt")
    if kind.endswith("s") and kind != "ws":
        client.tls_set(ca_certs=str(ca_file))
    client.on_message = lambda _client, _data, message: seen.update(message=message.payload)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        client.subscribe(COMMANDS.decode(), 1)
        for qos in (0, 1):
            client.publish(TELEMETRY, str(qos) * 70_000, qos).wait_for_publish(60)
        deadline = time.monotonic() + 60
        while "message" not in seen:
            assert time.monotonic() < deadline, "no downlink"
            time.sleep(0.01)
    finally:
        client.disconnect()
        client.loop_stop()
    return seen


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
@pytest.mark.parametrize("kind", KINDS)
async def test_paho_publishes_and_subscribes(authority, kind, version):
    async with everywhere(authority) as server:
        device = asyncio.create_task(
            asyncio.to_thread(use_paho, server.port_of(kind), kind, version, authority.ca_file)
        )
        await deliver_when_subscribed(server, b"go" * 40_000)
        assert (await device)["message"] == b"go" * 40_000
        assert [taken.payload for taken in server.taken] == [b"0" * 70_000, b"1" * 70_000]


@pytest.mark.parametrize("kind", KINDS)
async def test_aiomqtt_publishes_and_subscribes(authority, kind):
    options: dict[str, Any] = {}
    if "w" in kind:
        options |= {"transport": "websockets", "websocket_path": "/mqtt"}
    if kind in ("mqtts", "wss"):
        options["tls_context"] = ssl.create_default_context(cafile=authority.ca_file)
    async with everywhere(authority) as server:
        async with aiomqtt.Client(
            "127.0.0.1", server.port_of(kind), username="wl-1", password="token-wl-1", identifier="a", **options
        ) as client:
            await client.subscribe(COMMANDS.decode(), qos=1)
            for qos in (0, 1):
                await client.publish(TELEMETRY, str(qos), qos=qos, timeout=60)
            assert server.endpoint.deliver(SENSOR, COMMANDS, b"go", 1) == 1
            async with asyncio.timeout(60):
                assert (await anext(aiter(client.messages))).payload == b"go"
        assert [taken.payload for taken in server.taken] == [b"0", b"1"]


@pytest.mark.parametrize(("kind", "version"), [(kind, version) for kind in KINDS for version in (4, 5)])
async def test_mqtt_js_publishes_and_subscribes(authority, mqtt_js, kind, version):
    async with everywhere(authority) as server:
        url = f"{kind}://127.0.0.1:{server.port_of(kind)}{'/mqtt' if 'w' in kind else ''}"
        device = asyncio.create_task(run("node", mqtt_js / "listener.mjs", url, str(version), authority.ca_file))
        await deliver_when_subscribed(server, b"go")
        assert json.loads(await device) == [COMMANDS.decode(), "go"]
        assert [taken.payload for taken in server.taken] == [b"zero", b"one"]


async def test_only_the_listeners_that_are_enabled_are_there(authority):
    cert_file, key_file = authority.issue("server")
    tls = TlsSettings(enabled=True, port=0, cert_file=str(cert_file), key_file=str(key_file))
    async with serve(tls=tls) as server:
        assert set(server.addresses) == {"mqtt", "mqtts"}
    async with serve() as server:
        assert set(server.addresses) == {"mqtt"}
