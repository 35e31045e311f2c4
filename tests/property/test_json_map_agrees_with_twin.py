"""Plain JSON by mapping: the Cython decoder and the twin on Python's json say the same of every document."""

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.devices.decoder import Decoder, JsonMapping
from registry.devices.model import TypeSpec
from registry.devices.payload import PayloadError, decode_json
from tests.support.declared import Answer, comparable_twin, make_index, metrics

SPEC = TypeSpec(
    "plain",
    default_encoding="json",
    metrics=metrics(
        water_level_m="data.level cm",
        temperature_cel="values[1].v",
        rain_mm="rain",
        battery_pct="data",
        status=r"a\.b",
        humidity_pct="samples[0].h",
    ),
)
MAPPINGS = [
    JsonMapping(),
    JsonMapping(time="ts", time_format="unix_s"),
    JsonMapping(time="data.ts", time_format="unix_ms", device="id"),
    JsonMapping(records="samples", time="ts", time_format="rfc3339", device="id"),
    JsonMapping(records="data.samples", time="ts", time_format="unix_s"),
    JsonMapping(records="values", time="values[0].ts", time_format="unix_s"),
]
CASES = [msgspec.structs.replace(SPEC, decoder=Decoder(json=mapping)) for mapping in MAPPINGS]
INDEXES = [make_index(spec) for spec in CASES]

LABELS = ["data", "level", "values", "v", "rain", "ts", "id", "samples", "a.b", "h", "x", "độ"]
TIMES = [
    "2026-01-02T03:04:05Z",
    "2026-02-29T00:00:00Z",
    "2026-01-02T03:04:60.5+07:00",
    "2026-01-02",
    "",
    "9999-12-31T23:59:59Z",
]
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(TIMES)
    | st.text(max_size=6)
    | st.sampled_from([1_767_312_000, 1_767_312_000_123, 1e300])
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(LABELS), inner, max_size=6),
    max_leaves=25,
)  # fmt: skip


def has_label_twice(text: bytes) -> bool:
    twice = False

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        twice = twice or len({label for label, _ in found}) < len(found)
        return dict(found)

    try:
        json.loads(text.decode(), object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return False
    return twice


def compare(payload: bytes) -> None:
    if not payload or has_label_twice(payload):  # RFC 8259 leaves open what a label that comes twice means
        return
    for spec, index in zip(CASES, INDEXES, strict=True):
        answer = Answer(index, payload, "json")
        try:
            wanted = comparable_twin(spec, decode_json(spec, payload))
        except PayloadError:
            assert answer.reason == "malformed_payload"
            assert not answer.rows
            assert not answer.texts
        else:
            assert answer.refusals == []
            assert answer.comparable() == wanted


@settings(max_examples=150, deadline=None)
@given(values, st.booleans())
def test_every_document_maps_to_the_same(document, ascii_only):
    compare(json.dumps(document, ensure_ascii=ascii_only).encode())


@settings(max_examples=150, deadline=None)
@given(values, st.data())
def test_damaged_documents_are_refused_alike(document, data):
    text = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=2) | st.sampled_from([b'"', b"\\", b"{", b"]", b"1e999", b"\\ud800", b"NaN", b"\xff"])
        )
    compare(bytes(text))


def test_nesting_is_bounded():
    for depth in (30, 31, 32, 33, 40, 100_000):
        compare(b'{"rain": 1, "data": ' + b"[" * depth + b"]" * depth + b"}")
        compare(b'{"rain": 1, "x": ' + b"[" * depth + b"]" * depth + b"}")
    compare(b"[" * 100_000)
