"""Topics of cityfleet are taken apart the same way for every transport."""

import pytest

from ext.telemetry.frames import ENCODING_NAMES
from ext.telemetry.topic import content_type_encoding, parse

SENML, BATCH = ENCODING_NAMES["senml-json"], ENCODING_NAMES["batch"]


@pytest.mark.parametrize(
    ("topic", "parts"),
    [
        (b"cf/v1/d/wl-1/telemetry", (0, b"wl-1", True, 0)),
        (b"cf/v1/d/wl-1/telemetry/senml-json", (0, b"wl-1", True, SENML)),
        (b"cf/v1/d/wl-1/telemetry/batch", (0, b"wl-1", True, BATCH)),
        (b"cf/v1/g/gw-1/telemetry/batch", (1, b"gw-1", True, BATCH)),
        (b"cf/v1/d/wl-1/telemetry/lpp", (0, b"wl-1", True, 255)),
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
        (b"application/cbor", 255),
    ],
)
def test_content_type_names_the_encoding(content_type, encoding):
    assert content_type_encoding(content_type) == encoding
