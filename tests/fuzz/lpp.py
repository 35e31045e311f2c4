"""Fuzzing Cayenne LPP: any bytes give what the registry's twin gives, up to the same byte."""

from registry.devices.payload import PayloadError, decode_lpp
from tests.property.test_lpp_agrees_with_pycayennelpp import INDEX, SPEC
from tests.support.declared import Answer, comparable_twin

CORPUS = [
    bytes.fromhex("03670110056700ff"),
    bytes.fromhex("0167ffd7067104d2fb2e0000"),
    bytes.fromhex("018806765ff2960a0003e8"),
    bytes.fromhex("0000010101ff0202ffff0303800004640000ffff0565ffff066601076891"),
    bytes.fromhex("ff7327bf00740fa00175ffff02860001ffff8000"),
]


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if the extension and the twin do not agree."""
    if not data:
        return
    answer = Answer(INDEX, data, "lpp")
    try:
        readings, error = decode_lpp(data, SPEC.decoder.ignored), ""
    except PayloadError as exc:
        readings, error = list(exc.readings), str(exc)
    assert repr(answer.comparable()) == repr(comparable_twin(SPEC, readings))
    assert bool(answer.refusals) == bool(error)
