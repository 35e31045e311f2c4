"""Uplinks of The Things Stack and ChirpStack: the Cython decoder says what Python's json and protobuf runtimes say."""

import base64
import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.devices.decoder import Decoder, JsonMapping, Layout, LayoutField, LayoutRepeat, PortDecoder
from registry.devices.model import TypeSpec
from registry.devices.payload import PayloadError, decode_json, decode_payload, format_of, rfc3339_ms
from tests.support.chirpstack import UplinkEvent
from tests.support.declared import EUI, GATEWAY, NOW_MS, Answer, comparable_twin, make_index, metrics

LAYOUT = Layout(fields=(LayoutField("level", "u16"),), repeat=LayoutRepeat((LayoutField("level", "u16"),), step_s=-600))
SPEC = TypeSpec(
    "lora",
    metrics=metrics(
        water_level_m="level mm",
        temperature_cel="temperature_1",
        rssi_dbm="rssi",
        snr_db="snr",
        frames="f_cnt",
        status="state.mode",
        humidity_pct="list[1].h",
    ),
    decoder=Decoder(
        layouts=(LAYOUT,),
        ports=(PortDecoder((2,), "layout"), PortDecoder((3, 4), "lpp"), PortDecoder((5, 6), "network-server")),
        json=JsonMapping(time="at", time_format="unix_s"),
    ),
)
INDEX = make_index(SPEC)

times = st.integers(NOW_MS - 100_000_000, NOW_MS + 100_000_000)
links = st.fixed_dictionaries(
    {}, optional={"time": times, "rssi": st.integers(-140, -1), "snr": st.integers(-80, 80).map(lambda n: n / 4)}
)
objects = st.dictionaries(
    st.sampled_from(["level", "temperature_1", "rssi", "state", "list", "at", "other"]),
    st.recursive(
        st.none() | st.booleans() | st.floats(-1e9, 1e9) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["mode", "h", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=5,
)


@st.composite
def uplinks(draw) -> dict[str, Any]:
    return {
        "eui": draw(st.sampled_from([EUI, EUI, EUI, EUI.upper(), "0000000000000000", ""])),
        "f_port": draw(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 255])),
        "f_cnt": draw(st.sampled_from([0, 1, 2**32 - 1])),
        "payload": draw(st.binary(max_size=12) | st.just(bytes.fromhex("0167ffd7"))),
        "object": draw(st.none() | objects),
        "time": draw(st.none() | times),
        "links": draw(st.lists(links, max_size=3)),
    }


def text_of(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_zeros(value: dict[str, Any]) -> dict[str, Any]:
    return {label: inner for label, inner in value.items() if inner not in (0, "", b"", None, [])}


def expected(up: dict[str, Any]) -> tuple[str, Any]:
    """What goes to quarantine (``, or a reason) and the readings."""
    if not up["eui"]:
        return "malformed_payload", []
    if up["eui"].lower() != EUI:
        return "unknown_device", []
    gateway = min((link["time"] for link in up["links"] if "time" in link), default=None)
    when = NOW_MS if up["time"] is None else up["time"]
    if gateway is not None and (up["time"] is None or abs(gateway - up["time"]) <= 86_400_000):
        when = gateway
    found: list[tuple[Any, ...]] = [("frames", EUI, when, ("number", float(up["f_cnt"])))]
    heard = [link for link in up["links"] if "rssi" in link or link.get("snr")]
    if heard:
        best = max(heard, key=lambda link: (link.get("snr", 0), link.get("rssi", 0)))
        found.append(("snr_db", EUI, when, ("number", float(best.get("snr", 0)))))
        if "rssi" in best:
            found.append(("rssi_dbm", EUI, when, ("number", float(best["rssi"]))))
    reason = ""
    if up["payload"] or up["object"] is not None:
        readings = []
        try:
            form = format_of(SPEC, up["f_port"])
        except PayloadError:
            return "unknown_encoding", sorted(found, key=repr)
        try:
            if form == "network-server":
                if up["object"] is None:
                    raise PayloadError("nothing decoded")
                readings = decode_json(SPEC, json.dumps(up["object"]))
                readings = [one for one in readings if one.name not in ("rssi", "snr", "f_cnt")]
                if not readings:
                    raise PayloadError("nothing mapped")
            else:
                readings = decode_payload(SPEC, up["payload"], up["f_port"])
        except PayloadError as exc:
            reason, readings = "malformed_payload", list(exc.readings)
        found += comparable_twin(SPEC, readings, when, EUI)
    return reason, sorted(found, key=repr)


def check(up: dict[str, Any], payload: bytes, encoding: str) -> None:
    answer = Answer(INDEX, payload, encoding, GATEWAY)
    assert (answer.reason, answer.comparable()) == expected(up)


@settings(max_examples=150, deadline=None)
@given(uplinks(), st.randoms(use_true_random=False))
def test_the_things_stack(up, rng):
    links = [
        {
            **without_zeros({"rssi": link.get("rssi"), "snr": link.get("snr"), "channel_rssi": -1}),
            "gateway_ids": {"eui": "x"},
        }
        | ({"time": text_of(link["time"])} if "time" in link else {})
        for link in up["links"]
    ]
    message = without_zeros(
        {
            "session_key_id": "AYf",
            "f_port": up["f_port"],
            "f_cnt": up["f_cnt"],
            "frm_payload": base64.b64encode(up["payload"]).decode(),
            "rx_metadata": links,
            "settings": {"data_rate": {"lora": {"bandwidth": 125000}}, "frequency": "923200000", "time": "bad"},
        }
    )
    if up["object"] is not None:
        message["decoded_payload"] = up["object"]
    if up["time"] is not None:
        message["received_at"] = text_of(up["time"])
    top = [
        ("end_device_ids", without_zeros({"dev_eui": up["eui"].upper(), "join_eui": "0000"})),
        ("correlation_ids", ["as:up:01"]),
        ("uplink_message", shuffled(message, rng)),
    ]
    rng.shuffle(top)
    check(up, json.dumps(dict(top)).encode(), "tts")


def shuffled(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    entries = list(value.items())
    rng.shuffle(entries)
    return dict(entries)


def event_of(up: dict[str, Any]) -> Any:
    event = UplinkEvent(deduplication_id="c0ffee", dev_addr="0189", f_cnt=up["f_cnt"], f_port=up["f_port"])
    event.device_info.tenant_id = "t"
    event.device_info.dev_eui = up["eui"]
    event.data = up["payload"]
    if up["object"] is not None:
        json_format.ParseDict(up["object"], event.object)
        event.object.SetInParent()
    if up["time"] is not None:
        event.time.FromMilliseconds(up["time"])
    for link in up["links"]:
        info = event.rx_info.add(gateway_id="ab", uplink_id=7, rssi=link.get("rssi", 0), snr=link.get("snr", 0))
        info.ns_time.FromMilliseconds(NOW_MS)
        if "time" in link:
            info.gw_time.FromMilliseconds(link["time"])
    return event


@settings(max_examples=150, deadline=None)
@given(uplinks())
def test_chirpstack_protobuf(up):
    check(up, event_of(up).SerializeToString(), "chirpstack")


@settings(max_examples=150, deadline=None)
@given(uplinks())
def test_chirpstack_json(up):
    check(up, json_format.MessageToJson(event_of(up)).encode(), "chirpstack-protobuf")


@settings(max_examples=150, deadline=None)
@given(uplinks(), st.data())
def test_damaged_protobuf_is_refused_where_the_runtime_refuses_it(up, data):
    payload = bytearray(event_of(up).SerializeToString())
    at = data.draw(st.integers(0, len(payload) - 1))
    if data.draw(st.booleans()):
        del payload[at:]
    else:
        payload[at] ^= 1 << data.draw(st.integers(0, 7))
    if not payload or payload[0] == ord("{"):
        return
    answer = Answer(INDEX, bytes(payload), "chirpstack", GATEWAY)
    try:
        event = UplinkEvent.FromString(bytes(payload))
    except DecodeError:
        # what is not looked at is not checked: text beside ours, and what nobody has mapped
        return
    if event.device_info.dev_eui.lower() == EUI and event.f_port <= 255 and answer.reason != "malformed_payload":
        assert ("frames", float(event.f_cnt)) in answer.values


def test_truncated_uplinks_are_malformed():
    up = {
        "eui": EUI,
        "f_port": 2,
        "f_cnt": 1,
        "payload": b"\1\2",
        "object": {"level": 1.0},
        "time": NOW_MS,
        "links": [],
    }
    text, packed = json_format.MessageToJson(event_of(up)).encode(), event_of(up).SerializeToString()
    for size in range(1, len(text)):
        assert Answer(INDEX, text[:size], "chirpstack", GATEWAY).reason == "malformed_payload"
    for size in range(1, len(packed)):
        Answer(INDEX, packed[:size], "chirpstack", GATEWAY)


@pytest.mark.parametrize("text", ["2026-02-29T00:00:00Z", "2026-01-02T03:04:05", "nonsense", ""])
def test_a_time_that_is_none_is_malformed(text):
    assert rfc3339_ms(text) is None
    payload = json.dumps({"time": text, "deviceInfo": {"devEui": EUI}, "fPort": 2, "data": "AAE="}).encode()
    assert Answer(INDEX, payload, "chirpstack", GATEWAY).reason == "malformed_payload"
