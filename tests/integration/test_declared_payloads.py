"""Payloads that the device type declares, in the views: the example types, plain and behind network servers."""

import base64
import json

import aiomqtt
import pytest

from cityfleet.registry.v1 import device_pb2
from loadtest.platform import ROOT
from tests.support.chirpstack import UplinkEvent

ACCOUNT = "ns-payloads"
T0 = 1_767_350_000_000  # 2026-01-02T10:33:20Z
TOPIC = "application/5f0c0f3a/device/{}/event/up"


@pytest.fixture(scope="module")
def declared(platform, fleet):
    """Tokens by device: a network server with two LoRaWAN sensors behind it, and a station that speaks JSON."""
    platform.cli("type", "apply", "-f", str(ROOT / "ops" / "types"))
    tokens = {ACCOUNT: fleet.device(ACCOUNT, "lorawan-network-server")}
    fleet.type("tts-server", {}, is_gateway=True, encoding="tts")
    tokens["tts-payloads"] = fleet.device("tts-payloads", "tts-server")
    for name, kind, gateway, eui in (
        ("level-payloads", "level-lorawan", ACCOUNT, "a84041000181c061"),
        ("air-payloads", "air-lorawan-lpp", "tts-payloads", "70b3d57ed0051234"),
        ("station-payloads", "station-json", "", ""),
    ):
        device = device_pb2.Device(device_type=kind, gateway=gateway, external_id=eui, ward_code="00070")
        created = fleet.devices.CreateDevice(device_pb2.CreateDeviceRequest(device_id=name, device=device))
        tokens[name] = created.token
    tokens["last"] = fleet.device("last-payloads", "station-json")  # waits until ingest knows all of them
    return tokens


async def publish(platform, user, token, *messages):
    async with aiomqtt.Client(
        "127.0.0.1", platform.mqtt_port, username=user, password=token, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        for topic, payload in messages:
            await client.publish(topic, payload, qos=1)


def readings(device):
    return (
        "SELECT metric, value, unit, quality, toUnixTimestamp64Milli(ts) FROM ioc.readings"
        f" WHERE device_id = '{device}' ORDER BY ts, metric"
    )


def chirpstack(payload, port, when="2026-01-02T10:33:20.250Z", eui="a84041000181c061"):
    return json.dumps(
        {
            "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
            "time": "2026-01-02T10:33:20.731120+00:00",
            "deviceInfo": {"tenantName": "city", "deviceName": "bridge 4", "devEui": eui, "tags": {"key": "value"}},
            "devAddr": "00189440",
            "dr": 1,
            "fCnt": 144,
            "fPort": port,
            "data": base64.b64encode(payload).decode(),
            "rxInfo": [
                {"gatewayId": "0016c001f153a14c", "uplinkId": 4217106255, "rssi": -121, "snr": -11.5},
                {"gatewayId": "0016c001f153a14d", "gwTime": when, "rssi": -112, "snr": 2.2, "crcStatus": "CRC_OK"},
            ],
            "txInfo": {"frequency": 923200000, "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 10}}},
        }
    )


async def test_chirpstack_uplinks_in_json_and_protobuf(platform, declared):
    topic = TOPIC.format("a84041000181c061")
    event = UplinkEvent(f_cnt=145, f_port=3, data=bytes.fromhex("6957a000 0bb8 ffff 0bc2"))
    event.device_info.dev_eui = "a84041000181c061"
    event.time.FromMilliseconds(T0)
    event.rx_info.add(gateway_id="0016c001f153a14c", rssi=-99, snr=7.25)
    await publish(
        platform,
        ACCOUNT,
        declared[ACCOUNT],
        (topic, chirpstack(bytes.fromhex("0bb8 0113 64"), 2)),
        (topic, event.SerializeToString()),
    )
    log_ms = 0x6957A000 * 1000
    platform.wait_for(
        readings("level-payloads"),
        [
            ["water_level_m", "4.99", "m", "1", str(log_ms - 7_200_000)],
            ["rssi_dbm", "-99", "dBm", "2", str(T0)],
            ["snr_db", "7.25", "dB", "2", str(T0)],
            ["battery_pct", "100", "%", "1", str(T0 + 250)],
            ["rssi_dbm", "-112", "dBm", "2", str(T0 + 250)],
            ["snr_db", "2.2", "dB", "2", str(T0 + 250)],
            ["temperature_cel", "27.5", "Cel", "1", str(T0 + 250)],
            ["water_level_m", "5", "m", "1", str(T0 + 250)],
            ["water_level_m", "5", "m", "1", str(log_ms)],
        ],
    )


async def test_the_things_stack_uplinks(platform, declared):
    uplink = {
        "end_device_ids": {
            "device_id": "air-1",
            "application_ids": {"application_id": "city"},
            "dev_eui": "70B3D57ED0051234",
            "dev_addr": "260B1234",
        },
        "correlation_ids": ["as:up:01"],
        "received_at": "2026-01-02T10:33:21.1Z",
        "uplink_message": {
            "session_key_id": "AYfg",
            "f_port": 1,
            "f_cnt": 9,
            "frm_payload": base64.b64encode(bytes.fromhex("0167ffd70268910302005504880334501028c50003e8")).decode(),
            "decoded_payload": {"temperature_1": 99},
            "rx_metadata": [{"gateway_ids": {"gateway_id": "g"}, "rssi": -60, "channel_rssi": -60, "snr": 9.5}],
            "settings": {"data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 7}}, "frequency": "923200000"},
            "received_at": "2026-01-02T10:33:20.900123456Z",
            "consumed_airtime": "0.056576s",
        },
    }
    await publish(
        platform,
        "tts-payloads",
        declared["tts-payloads"],
        ("v3/city@hanoi/devices/air-1/up", json.dumps(uplink)),
    )
    when = str(T0 + 900)
    platform.wait_for(
        readings("air-payloads"),
        [
            ["battery_pct", "85", "%", "1", when],
            ["humidity_pct", "72.5", "%", "1", when],
            ["rssi_dbm", "-60", "dBm", "2", when],
            ["temperature_cel", "-4.1", "Cel", "1", when],
        ],
    )


async def test_plain_json_by_the_types_default_encoding(platform, declared):
    document = {
        "device": {"battery": 81},
        "samples": [
            {"at": "2026-01-02T17:33:20+07:00", "air": {"temp": 86, "rh": 70}, "rain": [0.2, 9]},
            {"at": "2026-01-02T10:38:20Z", "air": {"temp": "n/a", "rh": 101}},
        ],
        "at": "2026-01-02T10:38:20Z",
    }
    await publish(
        platform,
        "station-payloads",
        declared["station-payloads"],
        ("cf/v1/d/station-payloads/telemetry", json.dumps(document)),
    )
    platform.wait_for(
        readings("station-payloads"),
        [
            ["humidity_pct", "70", "%", "1", str(T0)],
            ["rain_mm", "0.2", "mm", "1", str(T0)],
            ["temperature_cel", "30", "Cel", "1", str(T0)],
            ["battery_pct", "81", "%", "1", str(T0 + 300_000)],
            ["humidity_pct", "101", "%", "4", str(T0 + 300_000)],
        ],
    )
    platform.wait_for(
        "SELECT metric, kind, value FROM ioc.readings_text WHERE device_id = 'station-payloads'",
        [["temperature_cel", "string", "n/a"]],
    )


async def test_what_cannot_be_decoded_says_why_in_quarantine(platform, declared):
    topic = TOPIC.format("x")
    other = "70b3d57ed0051234"  # behind another gateway
    await publish(
        platform,
        ACCOUNT,
        declared[ACCOUNT],
        (topic, chirpstack(b"\0\1\2\3\4", 2, eui="ffffffffffffffff")),
        (topic, chirpstack(bytes.fromhex("016700ff"), 1, eui=other)),
        (topic, chirpstack(b"\0", 77)),
        (topic, chirpstack(b"\0", 2)),
        (topic, chirpstack(b"", 2).replace('"data": ""', '"data": "%%%="')),
    )
    platform.wait_for(
        "SELECT encoding, reason, detail, readings FROM cityfleet.quarantine"
        f" WHERE device_id = '{ACCOUNT}' ORDER BY reason, detail",
        [
            ["chirpstack", "malformed_payload", "payload shorter than its layout, byte 1", "1"],
            ["chirpstack", "malformed_payload", "the payload is not base64, or of more than 512 bytes", "1"],
            ["chirpstack", "not_behind_gateway", f"device {other}, reading 1", "2"],
            ["chirpstack", "unknown_device", "no device has this DevEUI as its id or external id", "1"],
            ["chirpstack", "unknown_encoding", "the device type decodes no payload of this f_port", "1"],
        ],
    )
