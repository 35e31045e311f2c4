"""Fuzzing SenML CBOR: any bytes give the rows and the quarantine that the plain twin gives."""

from decimal import Decimal

import cbor2

from tests.support.pipeline import Message, Pipeline, expected
from tests.support.resolve_twin import make_index

_RAIN = b"\x00\x6cwl-1:rain_mm"
CORPUS = [
    cbor2.dumps(
        [{-2: "wl-1:", -3: 1.7e9, -4: "cm", 0: "water_level_m", 2: 12.5}, {0: "rain_mm", 1: "mm", 6: -60, 2: 5}]
    ),
    cbor2.dumps(
        [
            {"bn": "wl-1:", "n": "rain_mm", "vs": "wet", "x": [{1: None}]},
            {0: "rain_mm", 4: True},
            {0: "rain_mm", 8: b"\x00\xff"},
        ]
    ),
    cbor2.dumps([{-1: 10, -2: "wl-1:", -5: 0.1, -6: 1, 0: "rain_mm", 2: -0.0, 5: 3, 7: 60}]),
    cbor2.dumps([{-2: "wl-1:", 0: "rain_mm", 2: Decimal("273.15")}, {0: "rain_mm", 2: 1 << 70}]),
    # a stream: everything of indefinite length
    b"\x9f\xbf\x21\x7f\x63wl-\x621:\xff\x00\x67rain_mm" + b"\x02\xf9\x4a\x00\xff\xff",
    b"\x81\xa2" + _RAIN + b"\x02\xc4\x9f\x38\x63\xc3\x5f\x41\x01\x49" + bytes(9) + b"\xff\xff",
    b"\x81\xa2" + _RAIN + b"\x02\xc5\x82\x20\x1b" + b"\xff" * 8,
    b"\x81\xa3" + _RAIN + b"\x02\x01\x61x\xd8\x20\x9f\xbf\xf7\x5f\x41a\xff\xff\xfb" + bytes(8) + b"\xff",
]
_PIPELINE = Pipeline(make_index())


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if the extension and the twin do not agree."""
    messages = [Message(data, "gw-1", "gateway", "senml-cbor")]
    found, wanted = _PIPELINE.outcome(messages), expected(messages)
    assert repr(found) == repr(wanted)
