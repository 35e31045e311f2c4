"""Cayenne LPP: the Cython decoder, an independent library and the registry's twin say the same of every payload."""

from cayennelpp import LppFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.devices.decoder import Decoder
from registry.devices.model import TypeSpec
from registry.devices.payload import LPP_TYPES, PayloadError, decode_lpp
from tests.support.declared import Answer, comparable_twin, make_index, metrics

SPEC = TypeSpec(
    "lpp",
    default_encoding="lpp",
    metrics=metrics(temperature_cel="temperature_1", water_level_m="analog_in_2 cm", status="gps_255.altitude"),
    decoder=Decoder(ignored=("digital_out_7",)),
)
INDEX = make_index(SPEC)
METRIC_OF = {entry.source: entry.metric for entry in SPEC.metrics}


def size_of(kind: int) -> int:
    _, parts, size, _, _ = LPP_TYPES[kind]
    return size * len(parts)


items = st.sampled_from(sorted(LPP_TYPES)).flatmap(
    lambda kind: st.tuples(
        st.sampled_from([0, 1, 2, 7, 99, 100, 255]),
        st.just(kind),
        st.binary(min_size=size_of(kind), max_size=size_of(kind)),
    )
)


@settings(max_examples=150, deadline=None)
@given(st.lists(items, min_size=1, max_size=12))
def test_whole_payloads(parts):
    payload = b"".join(bytes([channel, kind]) + value for channel, kind, value in parts)
    wanted = []
    for item in LppFrame().from_bytes(payload).data:
        name, suffixes, _, _, _ = LPP_TYPES[int(item.type)]
        for suffix, value in zip(suffixes, item.value, strict=True):
            full = f"{name}_{item.channel}{suffix}"
            if full != "digital_out_7":
                wanted.append((METRIC_OF.get(full, full), float(value)))
    answer = Answer(INDEX, payload, "lpp")
    assert answer.refusals == []
    assert answer.values == wanted


@settings(max_examples=250, deadline=None)
@given(st.binary(min_size=1, max_size=60) | st.lists(items, max_size=4).map(
    lambda parts: b"".join(bytes([channel, kind]) + value for channel, kind, value in parts)[:-1] + b"\x01"
))  # fmt: skip
def test_what_comes_before_the_unknown_is_kept(payload):
    answer = Answer(INDEX, payload, "lpp")
    try:
        readings, error = decode_lpp(payload, SPEC.decoder.ignored), ""
    except PayloadError as exc:
        readings, error = list(exc.readings), str(exc)
    assert answer.comparable() == comparable_twin(SPEC, readings)
    assert bool(answer.refusals) == bool(error)
    if error:
        assert answer.reason == "malformed_payload"
        assert ("type not known" in answer.detail) == ("is not known" in error)
        assert error.endswith(str(answer.refusals[0][2]))
