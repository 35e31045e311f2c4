"""Bad input, each with its defined answer, while a witness device goes on sending and loses nothing."""

import json
import math
import socket
import struct
import threading
import time

import pytest

from cityfleet.telemetry.v1 import telemetry_pb2

PACK_T = 1_700_000_000


def utf8(text):
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def packet(kind, body):
    size = len(body)
    length = bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            return bytes([kind]) + bytes(length) + body


def connect(user, token, version=5, keep_alive=60):
    properties = b"\x00" if version == 5 else b""
    head = utf8("MQTT") + bytes([version, 0xC2]) + struct.pack(">H", keep_alive) + properties
    return packet(0x10, head + utf8(f"raw-{user}") + utf8(user) + utf8(token))


def publish(topic, payload, packet_id=1, version=5):
    properties = b"\x00" if version == 5 else b""
    return packet(0x32, utf8(topic) + struct.pack(">H", packet_id) + properties + payload)


class Raw:
    """A socket that speaks MQTT by hand."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def receive(self):
        """(packet type, body)."""
        kind = self._exactly(1)[0] >> 4
        size, shift = 0, 0
        while True:
            digit = self._exactly(1)[0]
            size |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return kind, self._exactly(size)

    def closes(self):
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionResetError:
            pass
        return True


@pytest.fixture(scope="module")
def tokens(fleet):
    return {
        "bad-01": fleet.device("bad-01", "gauge"),
        "bad-02": fleet.device("bad-02", "gauge"),
        "witness-01": fleet.device("witness-01", "gauge"),
    }


@pytest.fixture(scope="module")
def witness(platform, tokens):
    """Sends a reading every 20 ms while the module's tests run; at the end every one of them is stored, once."""
    done = threading.Event()
    sent = []
    slowest = [0.0]

    def send():
        with Raw(platform.mqtt_port) as client:
            client.send(connect("witness-01", tokens["witness-01"]))
            assert client.receive()[1][1] == 0
            while not done.wait(0.02):
                number = len(sent) + 1
                pack = json.dumps([{"n": "water_level_m", "t": PACK_T + number, "v": 1}]).encode()
                began = time.monotonic()
                client.send(publish("cf/v1/d/witness-01/telemetry", pack, number % 65_535 or 1))
                kind, body = client.receive()
                assert (kind, body[2:3] or b"\x00") == (4, b"\x00")
                slowest[0] = max(slowest[0], time.monotonic() - began)
                sent.append(number)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    done.set()
    thread.join(30)
    assert len(sent) > 20
    assert slowest[0] < 5
    platform.wait_for("SELECT count() FROM ioc.readings WHERE device_id = 'witness-01'", [[str(len(sent))]])


@pytest.fixture
def connected(platform, tokens, witness):
    with Raw(platform.mqtt_port) as client:
        client.send(connect("bad-01", tokens["bad-01"]))
        kind, body = client.receive()
        assert (kind, body[1]) == (2, 0)
        yield client


@pytest.mark.parametrize(
    ("user", "version", "code"),
    [("bad-01", 5, 0x86), ("bad-01", 4, 4), ("nobody-here", 5, 0x86), ("nobody-here", 4, 4), ("No/Such#Id", 5, 0x86)],
)
def test_a_wrong_token_and_an_unknown_device_are_refused(platform, witness, user, version, code):
    with Raw(platform.mqtt_port) as client:
        client.send(connect(user, "not the token", version))
        kind, body = client.receive()
        assert (kind, body[1]) == (2, code)
        assert client.closes()


def test_another_devices_id_is_not_authorized_and_nothing_is_stored(platform, connected):
    connected.send(publish("cf/v1/d/bad-02/telemetry", b'[{"n":"water_level_m","v":1}]'))
    kind, body = connected.receive()
    assert (kind, body[2]) == (4, 0x87)
    assert platform.query("SELECT count() FROM ioc.readings WHERE device_id = 'bad-02'") == [["0"]]


def test_another_devices_id_closes_a_3_1_1_connection(platform, tokens, witness):
    with Raw(platform.mqtt_port) as client:
        client.send(connect("bad-01", tokens["bad-01"], 4))
        assert client.receive() == (2, b"\x00\x00")
        client.send(publish("cf/v1/d/bad-02/telemetry", b"[]", version=4))
        assert client.closes()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x33\x03\x00\x01", None),  # half a packet: see the silence test; closed with us
        (b"\x36\x05\x00\x01a\x00\x01", 0x81),  # QoS 3
        (b"\xf1\x00", 0x81),  # reserved flags of AUTH
        (b"\x30\xff\xff\xff\xff\x01", 0x81),  # a remaining length of five bytes
        (packet(0x32, utf8("cf/v1/d/bad-01/telemetry") + b"\x00\x00\x00x"), 0x82),  # packet id 0
        (packet(0x30, utf8("cf/v1/d/bad-01/+") + b"\x00x"), 0x90),  # wildcard in a topic name
        (packet(0x30, struct.pack(">H", 2) + b"\xc3\x28" + b"\x00x"), 0x81),  # not UTF-8
        (b"\x00\x00", 0x81),  # packet type 0
    ],
)
def test_a_malformed_packet_ends_the_connection_with_its_reason(connected, data, code):
    connected.send(data)
    if code is None:
        return
    kind, body = connected.receive()
    assert kind == 14
    assert body[0] in {code, 0x82 if code == 0x81 else code}
    assert connected.closes()


def test_a_packet_over_the_limit_is_refused_before_it_is_sent(connected):
    connected.send(b"\x30" + b"\xff\xff\xff\x7f")  # says it will be 256 MiB
    kind, body = connected.receive()
    assert (kind, body[0]) == (14, 0x95)
    assert connected.closes()


def test_half_a_connect_and_then_silence_is_closed(platform, tokens, witness):
    with Raw(platform.mqtt_port) as client:
        client.send(connect("bad-01", tokens["bad-01"])[:9])
        began = time.monotonic()
        assert client.closes()
        assert time.monotonic() - began < 10


def test_half_a_publish_and_then_silence_is_closed_by_keep_alive(platform, tokens, witness):
    with Raw(platform.mqtt_port) as client:
        client.send(connect("bad-01", tokens["bad-01"], keep_alive=1))
        assert client.receive()[1][1] == 0
        client.send(publish("cf/v1/d/bad-01/telemetry", b"x" * 100)[:50])
        kind, body = client.receive()
        assert (kind, body[0]) == (14, 0x8D)
        assert client.closes()


def record(**fields):
    return json.dumps([fields]).encode()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty_payload"),
        (b"\xff\x00 not json", "malformed_payload"),
        (b"[", "malformed_payload"),
        (b'{"n":"water_level_m","v":1}', "malformed_payload"),
        (record(n="water_level_m", t=PACK_T, v="wet"), "malformed_payload"),
        (record(n="water_level_m", t=PACK_T), "malformed_payload"),
        (record(n="water_level_m", t=PACK_T, v=1, crucial_=1), "malformed_payload"),
        (b'[{"n":"water_level_m","t":1700000000,"v":NaN}]', "malformed_payload"),
        (b'[{"n":"water_level_m","t":1700000000,"v":1e999}]', "value_not_finite"),
        (record(n="water_level_m", t=PACK_T, s=1), "sum_without_value"),
        (record(n="no2_ug_m3", t=PACK_T, v=1), "unknown_metric"),
        (record(n="water_level_m", u="furlong", t=PACK_T, v=1), "unknown_unit"),
        (record(n="bad-02:water_level_m", t=PACK_T, v=1), "not_behind_gateway"),
        (record(n="water_level_m", t=300_000_000, v=1), "time_out_of_range"),
        (record(n="water_level_m", t=4_291_747_200, v=1), "time_out_of_range"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_bad_payload_is_acknowledged_and_quarantined_with_its_bytes(platform, connected, payload, reason):
    before = int(platform.query("SELECT count() FROM cityfleet.quarantine WHERE device_id = 'bad-01'")[0][0])
    connected.send(publish("cf/v1/d/bad-01/telemetry", payload))
    kind, body = connected.receive()
    assert (kind, body[2:3] or b"\x00") == (4, b"\x00")
    platform.wait_for("SELECT count() FROM cityfleet.quarantine WHERE device_id = 'bad-01'", [[str(before + 1)]])
    assert platform.query(
        "SELECT reason, hex(payload), topic, transport, readings FROM cityfleet.quarantine WHERE device_id = 'bad-01'"
        f" AND payload = unhex('{payload.hex()}') ORDER BY received_at DESC LIMIT 1"
    ) == [[reason, payload.hex().upper(), "cf/v1/d/bad-01/telemetry", "mqtt", "1"]]


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        ({"value": [math.nan], "base_time_ms": PACK_T * 1000}, "value_not_finite"),
        ({"value": [math.inf], "base_time_ms": PACK_T * 1000}, "value_not_finite"),
        ({"value": [1.0], "base_time_ms": 0}, "time_out_of_range"),
        ({"value": [1.0], "base_time_ms": 4_291_747_200_000}, "time_out_of_range"),
        ({"value": [1.0, 2.0], "base_time_ms": 1, "metric_index": [0, 9]}, "malformed_payload"),
        ({"value": [1.0, 2.0, 3.0], "base_time_ms": 1, "time_delta_ms": [0, 1]}, "malformed_payload"),
    ],
)
def test_a_bad_batch_is_quarantined(platform, connected, batch, reason):
    payload = telemetry_pb2.ReadingBatch(metrics=["water_level_m"], **batch).SerializeToString()
    connected.send(publish("cf/v1/d/bad-01/telemetry/batch", payload))
    connected.receive()
    platform.wait_for(
        "SELECT any(reason) FROM cityfleet.quarantine"
        f" WHERE device_id = 'bad-01' AND payload = unhex('{payload.hex()}')",
        [[reason]],
    )


def test_one_bad_reading_does_not_cost_the_good_ones_of_its_pack(platform, connected):
    pack = [{"n": "water_level_m", "t": PACK_T + 7, "v": 3}, {"n": "no2_ug_m3", "t": PACK_T, "v": 1}]
    connected.send(publish("cf/v1/d/bad-01/telemetry", json.dumps(pack).encode()))
    connected.receive()
    platform.wait_for("SELECT value FROM ioc.readings WHERE device_id = 'bad-01'", [["3"]])


def test_what_nobody_consumes_is_kept_in_quarantine(platform, connected):
    connected.send(publish("cf/v1/d/bad-01/logs", b'{"boot":"1.2"}'))
    assert connected.receive()[0] == 4
    platform.wait_for(
        "SELECT reason, payload FROM cityfleet.quarantine WHERE topic = 'cf/v1/d/bad-01/logs'",
        [["unsupported_topic", '{"boot":"1.2"}']],
    )


def test_ingest_has_lived_through_it_all(platform, witness):
    ledger = "cityfleet_ingest_ledger_readings_total"
    assert platform.metric("ingest", f'{ledger}{{entry="quarantined"}}') > 20
    assert platform.metric("ingest", f'{ledger}{{entry="set_aside"}}') == 0
