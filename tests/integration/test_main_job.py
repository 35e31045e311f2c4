"""The main job: a registered device's readings over MQTT and gRPC, in ClickHouse, as another process sees them."""

import asyncio
import json
import subprocess
import time

import aiomqtt
import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cityfleet.telemetry.v1 import downlink_pb2, downlink_pb2_grpc, telemetry_pb2, telemetry_pb2_grpc
from runtime.secrets import secret

DAY_MS = 86_400_000


def count_sql(device):
    return f"SELECT count(), sum(value) FROM ioc.readings WHERE device_id = '{device}'"


async def publish(platform, device, token, topic, payload, **options):
    async with aiomqtt.Client(
        "127.0.0.1", platform.mqtt_port, username=device, password=token, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        await client.publish(topic, payload, qos=1, **options)


async def test_a_reading_over_mqtt_is_in_the_views(platform, fleet):
    token = fleet.device("wl-views-01", "gauge", ward="00070")
    now_ms = time.time_ns() // 1_000_000
    pack = [{"n": "water_level_m", "u": "m", "t": now_ms / 1000, "v": 9.62}]
    await publish(platform, "wl-views-01", token, "cf/v1/d/wl-views-01/telemetry", json.dumps(pack))
    platform.wait_for(
        "SELECT device_id, device_type, metric, unit, value, quality, ward_code, ward_name, toUnixTimestamp64Milli(ts)"
        " FROM ioc.readings WHERE device_id = 'wl-views-01'",
        [["wl-views-01", "gauge", "water_level_m", "m", "9.62", "1", "00070", "Phường Hoàn Kiếm", str(now_ms)]],
    )
    platform.wait_for(
        "SELECT metric, value FROM ioc.latest WHERE device_id = 'wl-views-01'", [["water_level_m", "9.62"]]
    )


async def test_units_are_converted_and_values_out_of_range_are_kept_and_flagged(platform, fleet):
    token = fleet.device("wl-units-01", "gauge")
    pack = [
        {"bn": "", "n": "water_level_m", "u": "cm", "t": 1_700_000_000, "v": 250},
        {"n": "water_level_m", "t": 1_700_000_060, "v": 99},
        {"n": "temperature_cel", "u": "K", "t": 1_700_000_000, "v": 300.15},
    ]
    await publish(platform, "wl-units-01", token, "cf/v1/d/wl-units-01/telemetry", json.dumps(pack))
    platform.wait_for(
        "SELECT metric, value, quality, quality_reasons FROM ioc.readings"
        " WHERE device_id = 'wl-units-01' ORDER BY metric, ts",
        [["temperature_cel", "27", "2", "0"], ["water_level_m", "2.5", "1", "0"], ["water_level_m", "99", "4", "1"]],
    )


async def test_strings_booleans_and_blobs_are_in_a_view_of_their_own(platform, fleet):
    token = fleet.device("wl-texts-01", "gauge", ward="00070")
    pack = [
        {"bn": "wl-texts-01:", "bt": 1_700_000_000, "n": "water_level_m", "vs": "above the gauge"},
        {"n": "water_level_m", "t": 1, "vb": True},
        {"n": "water_level_m", "t": 2, "vd": "AP8"},
        {"n": "water_level_m", "t": 3, "v": 7},
    ]
    for _ in range(2):
        await publish(platform, "wl-texts-01", token, "cf/v1/d/wl-texts-01/telemetry", json.dumps(pack))
    platform.wait_for(
        "SELECT device_type, metric, toUnixTimestamp(ts), kind, hex(value), quality, ward_name FROM ioc.readings_text"
        " WHERE device_id = 'wl-texts-01' ORDER BY ts",
        [
            ["gauge", "water_level_m", str(1_700_000_000 + at), kind, value.hex().upper(), "2", "Phường Hoàn Kiếm"]
            for at, (kind, value) in enumerate(
                [("string", b"above the gauge"), ("boolean", b"true"), ("data", b"\x00\xff")]
            )
        ],
    )
    platform.wait_for(count_sql("wl-texts-01"), [["1", "7"]])


async def test_the_same_reading_twice_counts_once_and_the_latest_is_by_event_time(platform, fleet):
    token = fleet.device("wl-twice-01", "gauge")
    topic = "cf/v1/d/wl-twice-01/telemetry"
    newer = json.dumps([{"n": "water_level_m", "t": 1_700_000_600, "v": 2}])
    older = json.dumps([{"n": "water_level_m", "t": 1_700_000_000, "v": 1}])
    for payload in (newer, older, newer):
        await publish(platform, "wl-twice-01", token, topic, payload)
    platform.wait_for(count_sql("wl-twice-01"), [["2", "3"]])
    time.sleep(1)
    assert platform.query(count_sql("wl-twice-01")) == [["2", "3"]]
    assert platform.query("SELECT value FROM ioc.latest WHERE device_id = 'wl-twice-01'") == [["2"]]


async def test_a_gateway_speaks_for_the_devices_behind_it(platform, fleet):
    token = fleet.device("gw-main-01", "gateway")
    fleet.device("wl-behind-01", "gauge", gateway="gw-main-01", ward="00004")
    fleet.device("wl-elsewhere-01", "gauge")
    batch = telemetry_pb2.ReadingBatch(
        base_time_ms=1_700_000_000_000,
        devices=["wl-behind-01", "wl-elsewhere-01"],
        metrics=["water_level_m"],
        device_index=[0, 0, 1],
        metric_index=[0],
        time_delta_ms=[0, 1000, 1000],
        value=[1.5, 2.5, 7],
    )
    topic = "cf/v1/g/gw-main-01/telemetry/batch"
    await publish(platform, "gw-main-01", token, topic, batch.SerializeToString())
    platform.wait_for(count_sql("wl-behind-01"), [["2", "4"]])
    platform.wait_for(
        f"SELECT reason, readings, hex(payload) FROM cityfleet.quarantine WHERE topic = '{topic}'",
        [["not_behind_gateway", "1", batch.SerializeToString().hex().upper()]],
    )
    assert platform.query(count_sql("wl-elsewhere-01"))[0][0] == "0"


async def test_a_grpc_stream_is_acknowledged_by_sequence_and_stored(platform, fleet):
    token = fleet.device("wl-grpc-01", "gauge")
    metadata = (("cf-device-id", "wl-grpc-01"), ("authorization", f"Bearer {token}"))

    async def requests():
        for sequence in range(1, 51):
            batch = telemetry_pb2.ReadingBatch(
                base_time_ms=1_700_000_000_000 + sequence * 1000, metrics=["water_level_m"], value=[sequence]
            )
            yield telemetry_pb2.PublishRequest(sequence=sequence, batch=batch)

    async with grpc.aio.insecure_channel(platform.grpc) as channel:
        stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        for _ in range(20):  # the last acknowledgement must not be lost to the end of the stream, whatever the timing
            acked = [answer.acked_sequence async for answer in stub.Publish(requests(), metadata=metadata)]
            assert acked[-1] == 50
            assert acked == sorted(set(acked))
    platform.wait_for(count_sql("wl-grpc-01"), [["50", str(sum(range(1, 51)))]])


async def test_a_grpc_stream_refuses_strangers_and_nonsense(platform, fleet):
    token = fleet.device("wl-grpc-02", "gauge")

    async def outcome(metadata, *messages):
        async with grpc.aio.insecure_channel(platform.grpc) as channel:
            publish = channel.stream_stream("/cityfleet.telemetry.v1.TelemetryService/Publish")

            async def requests():
                for message in messages:
                    yield message
                if not messages:
                    # grpc.aio itself may answer INTERNAL to who sends into a call that was refused.
                    await asyncio.Event().wait()

            try:
                async for _ in publish(requests(), metadata=metadata):
                    pass
            except grpc.aio.AioRpcError as exc:
                return exc.code()
        return grpc.StatusCode.OK

    known = (("cf-device-id", "wl-grpc-02"), ("authorization", f"Bearer {token}"))
    good = telemetry_pb2.PublishRequest(sequence=1).SerializeToString()
    assert await outcome(()) is grpc.StatusCode.UNAUTHENTICATED
    assert await outcome((known[0], ("authorization", "Bearer wrong"))) is grpc.StatusCode.UNAUTHENTICATED
    assert await outcome(known, good, good) is grpc.StatusCode.INVALID_ARGUMENT
    assert await outcome(known, b"\xff\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT
    assert await outcome(known, good) is grpc.StatusCode.OK


async def test_a_downlink_reaches_the_device_that_subscribed(platform, fleet):
    token = fleet.device("wl-down-01", "gauge")
    topic = "cf/v1/d/wl-down-01/commands"
    subscriber = subprocess.Popen(  # prints one message and ends
        ["mosquitto_sub", "-V", "mqttv5", "-p", str(platform.mqtt_port), "-u", "wl-down-01", "-P", token, "-t", topic]
        + ["-C", "1", "-W", "20", "-q", "1", "-N"],
        stdout=subprocess.PIPE,
    )
    metadata = (("authorization", f"Bearer {secret(platform.data_dir, 'internal')}"),)
    async with grpc.aio.insecure_channel(platform.grpc) as channel:
        stub = downlink_pb2_grpc.DownlinkServiceStub(channel)
        request = downlink_pb2.DeliverRequest(device_id="wl-down-01", subtopic="commands", payload=b"reboot", qos=1)
        deadline = time.monotonic() + 60
        while (await stub.Deliver(request, metadata=metadata)).deliveries == 0:
            assert time.monotonic() < deadline
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Deliver(request, metadata=(("authorization", "Bearer guess"),))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert subscriber.communicate(timeout=60)[0] == b"reboot"


async def test_a_decommissioned_device_is_disconnected_and_stays_out(platform, fleet):
    token = fleet.device("wl-gone-01", "gauge")
    async with aiomqtt.Client(
        "127.0.0.1", platform.mqtt_port, username="wl-gone-01", password=token, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        assert platform.cli("device", "decommission", "wl-gone-01", "--yes").returncode == 0
        with pytest.raises(aiomqtt.MqttError):
            async for _ in client.messages:
                pass
    with pytest.raises(aiomqtt.MqttError, match=r"(?i)not authorized"):
        await publish(platform, "wl-gone-01", token, "cf/v1/d/wl-gone-01/telemetry", "[]")


def test_every_role_says_how_it_is(platform):
    for role in ("store", "registry", "ingest"):
        for path in ("healthz", "readyz", "metrics"):
            address = f"http://127.0.0.1:{platform.metrics_ports[role]}/{path}"
            done = subprocess.run(["curl", "-sSf", address], capture_output=True, text=True, check=True)
            assert f"cityfleet_{role}_" in done.stdout if path == "metrics" else done.stdout == "ok\n"


def test_a_second_instance_on_the_same_folder_is_refused(platform):
    done = platform.cli("up", check=False)
    assert done.returncode == 1
    assert f"already running on {platform.data_dir} (process {platform.process.pid})" in done.stderr


def test_reflection_lists_the_services_of_registry_and_ingest(platform):
    def services(address):
        with grpc.insecure_channel(address) as channel:
            return set(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert {
        "cityfleet.registry.v1.DeviceService",
        "cityfleet.registry.v1.DeviceTypeService",
        "cityfleet.registry.v1.MetricService",
        "grpc.health.v1.Health",
    } <= services(platform.registry)
    assert {"cityfleet.telemetry.v1.TelemetryService", "grpc.health.v1.Health"} <= services(platform.grpc)
