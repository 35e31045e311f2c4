"""`cityfleet quarantine list|show|purge` against a platform that refused payloads of every kind."""

import asyncio
import base64
import csv
import io
import json

import aiomqtt
import pytest

DEVICE, OTHER = "quarantine-01", "quarantine-02"
PAYLOADS = {
    b"\xff\x1b[31m\x00": "malformed_payload",
    b'[{"n":"water_level_m","v":1}': "malformed_payload",
    b'[{"n":"no2_ug_m3","v":1},{"n":"no2_ug_m3","v":2}]': "unknown_metric",
    b"": "empty_payload",
    b'[{"n":"water_level_m","v":1}' + b" " * 100_000 + b"!]": "malformed_payload",
}


async def publish(platform, device, token):
    async with aiomqtt.Client("127.0.0.1", platform.mqtt_port, username=device, password=token) as client:
        for payload in PAYLOADS:
            await client.publish(f"cf/v1/d/{device}/telemetry", payload, qos=1)


@pytest.fixture(scope="module")
def refused(platform, fleet):
    """Both devices' payloads are in quarantine."""
    for device in (DEVICE, OTHER):
        asyncio.run(publish(platform, device, fleet.device(device, "gauge")))
    platform.wait_for(
        f"SELECT count() FROM cityfleet.quarantine WHERE device_id IN ('{DEVICE}', '{OTHER}')", [[str(10)]]
    )
    return platform


def listed(platform, *arguments):
    return json.loads(platform.cli("quarantine", "list", "-o", "json", *arguments).stdout)


def test_filters_hold_together(refused):
    assert len(listed(refused, "--device", DEVICE)) == 5
    assert len(listed(refused, "-d", DEVICE, "-d", OTHER, "--limit", "0")) == 10
    assert len(listed(refused, "--device", DEVICE, "--limit", "2")) == 2
    (row,) = listed(refused, "--device", DEVICE, "--reason", "unknown_metric", "--transport", "mqtt", "--since", "1h")
    assert (row["readings"], row["encoding"], row["topic"]) == (2, "senml-json", f"cf/v1/d/{DEVICE}/telemetry")
    assert row["detail"] == "metric no2_ug_m3, reading 1"
    assert listed(refused, "--device", DEVICE, "--until", "1h") == []
    assert listed(refused, "--device", DEVICE, "--transport", "grpc") == []
    assert listed(refused, "--device", DEVICE, "--until", row["received_at"], "--since", row["received_at"]) == []


def test_the_newest_come_first_in_every_format(refused):
    rows = listed(refused, "--device", DEVICE)
    ids = [row["id"] for row in rows]
    assert [row["received_at"] for row in rows] == sorted((row["received_at"] for row in rows), reverse=True)
    out = refused.cli("quarantine", "list", "--device", DEVICE, "-o", "name").stdout
    assert out.split() == ids
    out = refused.cli("quarantine", "list", "--device", DEVICE, "-o", "csv").stdout
    assert [row["id"] for row in csv.DictReader(io.StringIO(out))] == ids
    out = refused.cli("quarantine", "list", "--device", DEVICE).stdout
    assert "3 malformed_payload (3 readings, 1 device)" in out
    assert "1 unknown_metric (2 readings, 1 device)" in out


def test_the_summary_is_by_reason(refused):
    out = refused.cli("quarantine", "list", "--summary", "--device", DEVICE, "-o", "json").stdout
    found = {row["reason"]: (row["payloads"], row["readings"]) for row in json.loads(out)}
    assert found == {"malformed_payload": (3, 3), "unknown_metric": (1, 2), "empty_payload": (1, 1)}


def test_a_payload_is_shown_with_its_bytes_and_the_place_of_the_fault(refused):
    for row in listed(refused, "--device", DEVICE):
        found = json.loads(refused.cli("quarantine", "show", row["id"], "-o", "json").stdout)
        payload = base64.b64decode(found["base64"])
        assert PAYLOADS[payload] == found["reason"] == row["reason"]
        out = refused.cli("quarantine", "show", row["id"][:-1]).stdout
        assert row["id"] in out
        assert found["advice"] in out
        assert all(one.isprintable() or one == "\n" for one in out)
        assert len(out) < 20_000
        if found["fault_at_byte"] is not None:
            assert f"^^ byte {found['fault_at_byte']}" in out


def test_the_raw_bytes_come_out_as_they_came_in(refused):
    (row,) = listed(refused, "--device", DEVICE, "--reason", "unknown_metric")
    assert refused.cli("quarantine", "show", row["id"], "--raw").stdout.encode() in PAYLOADS


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("show", "nonsense"), 3, "no payload"),
        (("show", "019e43b2-8e07-7c55-a3d2-1f0000000004"), 3, "no payload"),
        (("show", "0"), 2, "several"),
        (("list", "--since", "yesterday"), 2, "is no time"),
        (("purge",), 2, "name what to delete"),
        (("purge", "--device", DEVICE), 2, "nobody to ask"),
    ],
)
def test_mistakes_are_said(refused, arguments, code, says):
    done = refused.cli("quarantine", *arguments, check=False)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_purge_takes_what_matches_and_nothing_else(refused):
    first = listed(refused, "--device", OTHER)[0]
    out = refused.cli("quarantine", "purge", first["id"], "--yes").stdout
    assert out.startswith("Deleted 1 payload (1 reading)")
    assert first["id"] not in [row["id"] for row in listed(refused, "--device", OTHER)]
    refused.cli("quarantine", "purge", "--device", OTHER, "--reason", "unknown_metric", "--yes")
    assert len(listed(refused, "--device", OTHER)) == 3
    refused.cli("quarantine", "purge", "--device", OTHER, "--yes")
    assert listed(refused, "--device", OTHER) == []
    assert len(listed(refused, "--device", DEVICE)) == 5
    assert "Nothing" in refused.cli("quarantine", "purge", "--device", OTHER, "--yes").stdout
