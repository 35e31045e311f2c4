"""Topics of cityfleet are taken apart the same way for every transport."""

import pytest

from ext.telemetry.frames import ENCODING_NAMES
from ext.telemetry.topic import content_type_encoding, foreign, parse

SENML, BATCH = ENCODING_NAMES["senml-json"], ENCODING_NAMES["batch"]


@pytest.mark.parametrize(
    ("topic", "parts"),
    [
        (b"cf/v1/d/wl-1/telemetry", (0, b"wl-1", True, 0)),
        (b"cf/v1/d/wl-1/telemetry/senml-json", (0, b"wl-1", True, SENML)),
        (b"cf/v1/d/wl-1/telemetry/batch", (0, b"wl-1", True, BATCH)),
        (b"cf/v1/g/gw-1/telemetry/batch", (1, b"gw-1", True, BATCH)),
        (b"cf/v1/d/wl-1/telemetry/lpp", (0, b"wl-1", True, ENCODING_NAMES["lpp"])),
        (b"cf/v1/d/wl-1/telemetry/xml", (0, b"wl-1", True, 255)),
        (b"cf/v1/d/wl-1/telemetry/", (0, b"wl-1", True, 255)),
        (b"cf/v1/d/wl-1/telemetry/batch/x", (0, b"wl-1", False, 0)),
        (b"cf/v1/d/wl-1/telemetryx", (0, b"wl-1", False, 0)),
        (b"cf/v1/d/wl-1/state", (0, b"wl-1", False, 0)),
        (b"cf/v1/d/wl-1/", (0, b"wl-1", False, 0)),
        (b"cf/v1/d/" + b"a" * 63 + b"/telemetry", (0, b"a" * 63, True, 0)),
    ],
)
def test_parts_of_a_topic(topic, parts):
    assert parse(topic) == parts


@pytest.mark.parametrize(
    "topic",
    [
        b"",
        b"cf/v1/d/",
        b"cf/v1/d/wl-1",
        b"cf/v1/d//telemetry",
        b"cf/v1/x/wl-1/telemetry",
        b"cf/v2/d/wl-1/telemetry",
        b"/cf/v1/d/wl-1/telemetry",
        b"cf/v1/dd/wl-1/telemetry",
        b"cf/v1/d/" + b"a" * 64 + b"/telemetry",
    ],
)
def test_other_topics_are_foreign(topic):
    assert parse(topic) is None


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        (b"", 0),
        (b"application/senml+json", SENML),
        (b"application/senml+json; charset=utf-8", SENML),
        (b"application/x-cityfleet-batch", BATCH),
        (b"application/x-protobuf", BATCH),
        (b"batch", BATCH),
        (b"application/senml+cbor", ENCODING_NAMES["senml-cbor"]),
        (b"application/sensml+cbor", ENCODING_NAMES["senml-cbor"]),
        (b"application/sensml+json", ENCODING_NAMES["senml-json"]),
        (b"application/json", ENCODING_NAMES["json"]),
        (b"application/cbor", 255),
    ],
)
def test_content_type_names_the_encoding(content_type, encoding):
    assert content_type_encoding(content_type) == encoding


@pytest.mark.parametrize("name", ENCODING_NAMES)
def test_every_encoding_is_a_suffix(name):
    assert parse(b"cf/v1/d/wl-1/telemetry/" + name.encode()) == (0, b"wl-1", True, ENCODING_NAMES[name])


@pytest.mark.parametrize(
    ("topic", "family"),
    [
        (b"spBv1.0/city/NDATA/edge", "sparkplug"),
        (b"spBv1.0/STATE/host", "sparkplug"),
        (b"v3/app@tenant/devices/wl-1/up", "tts"),
        (b"v3/app/devices/wl-1/up", "tts"),
        (b"application/5f0c/device/0102030405060708/event/up", "chirpstack"),
    ],
)
def test_foreign_topics_name_their_family(topic, family):
    assert foreign(topic) == ENCODING_NAMES[family]


@pytest.mark.parametrize(
    "topic",
    [
        b"",
        b"spBv1.0",
        b"v3/app@tenant/devices/wl-1/join",
        b"v3/app@tenant/devices/wl-1/down/queued",
        b"v3/app@tenant/devices/wl-1/up/x",
        b"v3//devices/wl-1/up",
        b"v3/app/devices//up",
        b"v3/app/device/wl-1/up",
        b"v3/up",
        b"application/5f0c/device/01/event/join",
        b"application/5f0c/device/01/event/ack",
        b"application/5f0c/device/01/command/down",
        b"application//device/01/event/up",
        b"application/5f0c/device//event/up",
        b"application/5f0c",
        b"cf/v1/d/wl-1/telemetry",
        b"zigbee2mqtt/x",
    ],
)
def test_other_events_of_foreign_systems_are_not_consumed(topic):
    assert foreign(topic) == 255
