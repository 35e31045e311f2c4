"""What the registry says of devices that talk to ingest: connected, heard, gone and why, what they say themselves."""

import asyncio
import json
import signal
import time

import grpc
import pytest

from cityfleet.registry.v1 import device_pb2
from cityfleet.registry.v1.device_pb2 import Connectivity, Device, Health
from cityfleet.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc
from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.provision import Provisioner
from tests.support.registry import wait_until
from tests.support.roles import roles_on

OFTEN = "ingest.state.report_interval_s = 0.2\ningest.state.progress_interval_s = 0\n"


def get(fleet: Provisioner, device: str) -> Device:
    request = device_pb2.GetDeviceRequest(name=f"devices/{device}", view=device_pb2.DEVICE_VIEW_FULL)
    return fleet.devices.GetDevice(request)


async def until(fleet: Provisioner, device: str, claim) -> Device:
    for _ in wait_until(f"{device} is as it should be"):
        found = await asyncio.to_thread(get, fleet, device)
        if claim(found):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError


async def connected(port: int, device: str, token: str) -> RawClient:
    client = await RawClient(port).__aenter__()
    client.send(mq.connect(5, b"c", device.encode(), token.encode()))
    assert (await client.reply()).reasons[0] == 0
    return client


async def publish(client: RawClient, topic: str, document: object, packet_id: int = 1) -> None:
    client.send(mq.publish(topic.encode(), json.dumps(document).encode(), packet_id))
    assert await client.reply() == mq.Reply(mq.PUBACK, packet_id, (0,))


async def test_a_device_is_online_while_it_talks_and_is_said_to_have_gone(platform, fleet):
    token = fleet.device("wl-state-01", "gauge")
    before_ms = time.time_ns() // 1_000_000
    client = await connected(platform.mqtt_port, "wl-state-01", token)
    found = await until(fleet, "wl-state-01", lambda one: one.reported.is_connected)
    assert found.connectivity == Connectivity.CONNECTIVITY_ONLINE
    assert (found.health, list(found.health_reasons)) == (Health.HEALTH_DEGRADED, ["NO_READING"])
    assert found.reported.connect_time.ToMilliseconds() >= before_ms

    await publish(client, "cf/v1/d/wl-state-01/telemetry", [{"n": "water_level_m", "v": 2}])
    found = await until(fleet, "wl-state-01", lambda one: one.reported.HasField("last_reading_time"))
    assert found.health == Health.HEALTH_GOOD
    assert before_ms <= found.reported.last_reading_time.ToMilliseconds() <= time.time_ns() // 1_000_000

    state = {"firmware_version": "2.4.1", "config_version": 7, "hardware_revision": "C", "uptime_s": 12}
    await publish(client, "cf/v1/d/wl-state-01/state", state, 2)
    found = await until(fleet, "wl-state-01", lambda one: one.reported.document)
    assert json.loads(found.reported.document) == state
    assert (found.reported.firmware_version, found.reported.config_version) == ("2.4.1", 7)
    assert found.reported.hardware_revision == "C"

    client.send(mq.disconnect())
    await client.until_closed()
    found = await until(fleet, "wl-state-01", lambda one: not one.reported.is_connected)
    assert found.reported.disconnect_reason == "normal_disconnection"
    assert found.reported.disconnect_time.ToMilliseconds() >= found.reported.connect_time.ToMilliseconds()
    assert found.connectivity == Connectivity.CONNECTIVITY_ONLINE  # it was heard just now
    await client.__aexit__(None, None, None)


async def test_a_connection_that_is_lost_is_told_apart_from_a_good_bye(platform, fleet):
    token = fleet.device("wl-state-02", "gauge")
    client = await connected(platform.mqtt_port, "wl-state-02", token)
    await until(fleet, "wl-state-02", lambda one: one.reported.is_connected)
    await client.__aexit__(None, None, None)
    found = await until(fleet, "wl-state-02", lambda one: not one.reported.is_connected)
    assert found.reported.disconnect_reason == "connection_lost"

    first = await connected(platform.mqtt_port, "wl-state-02", token)
    opened = await until(fleet, "wl-state-02", lambda one: one.reported.is_connected)
    second = await connected(platform.mqtt_port, "wl-state-02", token)  # takes the client id over
    await first.until_closed()
    again = await until(fleet, "wl-state-02", lambda one: one.reported.connect_time != opened.reported.connect_time)
    assert again.reported.is_connected
    for client in (first, second):
        await client.__aexit__(None, None, None)


async def test_a_device_that_connects_only_to_say_something_is_known_to_have_been_there(platform, fleet):
    token = fleet.device("wl-state-06", "gauge")
    before_ms = time.time_ns() // 1_000_000
    client = await connected(platform.mqtt_port, "wl-state-06", token)
    await publish(client, "cf/v1/d/wl-state-06/telemetry", [{"n": "water_level_m", "v": 2}])
    client.send(mq.disconnect())
    await client.until_closed()
    await client.__aexit__(None, None, None)
    found = await until(fleet, "wl-state-06", lambda one: one.reported.disconnect_time.ToMilliseconds() > before_ms)
    assert (found.reported.is_connected, found.health) == (False, Health.HEALTH_GOOD)
    assert found.reported.disconnect_reason == "normal_disconnection"
    assert before_ms <= found.reported.connect_time.ToMilliseconds() <= found.reported.disconnect_time.ToMilliseconds()


async def test_devices_behind_a_gateway_are_heard_through_it(platform, fleet):
    token = fleet.device("gw-state-01", "gateway")
    fleet.device("wl-state-03", "gauge", gateway="gw-state-01")
    fleet.device("wl-state-04", "gauge", gateway="gw-state-01")
    client = await connected(platform.mqtt_port, "gw-state-01", token)
    await publish(client, "cf/v1/g/gw-state-01/telemetry", [{"n": "wl-state-03:water_level_m", "v": 1}])
    await publish(client, "cf/v1/d/wl-state-04/state", {"firmware_version": "9"}, 2)
    found = await until(fleet, "wl-state-03", lambda one: one.health == Health.HEALTH_GOOD)
    assert (found.connectivity, found.reported.is_connected) == (Connectivity.CONNECTIVITY_ONLINE, False)
    found = await until(fleet, "wl-state-04", lambda one: one.reported.firmware_version == "9")
    assert not found.reported.HasField("last_reading_time")
    found = await until(fleet, "gw-state-01", lambda one: one.reported.is_connected)
    assert not found.reported.HasField("last_reading_time")
    await client.__aexit__(None, None, None)


async def test_a_grpc_stream_is_a_connection(platform, fleet):
    token = fleet.device("wl-state-05", "gauge")
    metadata = (("cf-device-id", "wl-state-05"), ("authorization", f"Bearer {token}"))
    async with grpc.aio.insecure_channel(platform.grpc) as channel:
        stream = telemetry_pb2_grpc.TelemetryServiceStub(channel).Publish(metadata=metadata)
        batch = telemetry_pb2.ReadingBatch(base_time_ms=time.time_ns() // 1_000_000, metrics=["rain_mm"], value=[1])
        await stream.write(telemetry_pb2.PublishRequest(sequence=1, batch=batch))
        found = await until(fleet, "wl-state-05", lambda one: one.reported.HasField("last_reading_time"))
        assert found.reported.is_connected
        await stream.done_writing()
        found = await until(fleet, "wl-state-05", lambda one: not one.reported.is_connected)
        assert found.reported.disconnect_reason == "stream_ended"


async def test_nothing_of_the_last_state_is_lost_while_the_registry_or_ingest_is_away(tmp_path):
    with roles_on(tmp_path, OFTEN) as roles:
        for role in ("registry", "ingest"):
            await asyncio.to_thread(roles.start, role)
        with Provisioner(roles.registry_channel(), roles.ports["mqtt"]) as fleet:
            fleet.type("gauge", {"water_level_m": (0, 20)})
            tokens = {name: fleet.device(name, "gauge") for name in ("wl-a", "wl-b", "wl-c")}
        client = await connected(roles.ports["mqtt"], "wl-a", tokens["wl-a"])
        goes = await connected(roles.ports["mqtt"], "wl-b", tokens["wl-b"])
        with roles.registry_channel() as channel:
            fleet = Provisioner(channel)
            await until(fleet, "wl-b", lambda one: one.reported.is_connected)

        await asyncio.to_thread(roles.end, "registry", signal.SIGKILL)
        goes.send(mq.disconnect())
        await goes.until_closed()
        comes = await connected(roles.ports["mqtt"], "wl-c", tokens["wl-c"])
        for version in range(3):
            await publish(client, "cf/v1/d/wl-a/state", {"config_version": version}, version + 1)
        await asyncio.to_thread(roles.start, "registry")
        with roles.registry_channel() as channel:
            fleet = Provisioner(channel)
            await until(fleet, "wl-a", lambda one: one.reported.config_version == 2)
            found = await until(fleet, "wl-b", lambda one: not one.reported.is_connected)
            assert found.reported.disconnect_reason == "normal_disconnection"
            await until(fleet, "wl-c", lambda one: one.reported.is_connected)

            # A node that was killed says nothing; the one that comes after it ends its connections.
            await asyncio.to_thread(roles.end, "ingest", signal.SIGKILL)
            await asyncio.to_thread(roles.start, "ingest")
            for device in ("wl-a", "wl-c"):
                found = await until(fleet, device, lambda one: not one.reported.is_connected)
                assert found.reported.disconnect_reason == "ingest_restarted"

            # One that leaves says so.
            again = await connected(roles.ports["mqtt"], "wl-a", tokens["wl-a"])
            await until(fleet, "wl-a", lambda one: one.reported.is_connected)
            await asyncio.to_thread(roles.end, "ingest")
            found = await until(fleet, "wl-a", lambda one: not one.reported.is_connected)
            assert found.reported.disconnect_reason == "server_shutting_down"
        for one in (client, goes, comes, again):
            await one.__aexit__(None, None, None)


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGKILL, 1), (signal.SIGTERM, 1), (signal.SIGTERM, 2)])
async def test_an_acknowledged_document_outlives_ingest_while_the_registry_is_away(tmp_path, number, workers):
    with roles_on(tmp_path, OFTEN + f"ingest.workers = {workers}\n") as roles:
        for role in ("registry", "ingest"):
            await asyncio.to_thread(roles.start, role)
        with Provisioner(roles.registry_channel(), roles.ports["mqtt"]) as fleet:
            fleet.type("gauge", {"water_level_m": (0, 20)})
            tokens = {f"wl-{at}": fleet.device(f"wl-{at}", "gauge") for at in range(6)}
        clients = [await connected(roles.ports["mqtt"], device, token) for device, token in tokens.items()]
        await asyncio.to_thread(roles.end, "registry", signal.SIGKILL)
        for at, client in enumerate(clients):
            await publish(client, f"cf/v1/d/wl-{at}/state", {"config_version": 1})
            await publish(client, f"cf/v1/d/wl-{at}/state", {"config_version": 10 + at}, 2)
        await asyncio.to_thread(roles.end, "ingest", number)
        # Once more: what was found is not lost by a second end before it is told.
        await asyncio.to_thread(roles.start, "ingest")
        await asyncio.to_thread(roles.end, "ingest", number)
        for role in ("registry", "ingest"):
            await asyncio.to_thread(roles.start, role)
        with roles.registry_channel() as channel:
            for at in range(len(clients)):
                found = await until(Provisioner(channel), f"wl-{at}", lambda one: one.reported.document)
                assert found.reported.config_version == 10 + at
        for client in clients:
            await client.__aexit__(None, None, None)
