"""Fuzzing SenML JSON: any bytes give the rows and the quarantine that the plain twin gives."""

from tests.support.pipeline import Message, Pipeline, expected
from tests.support.resolve_twin import make_index

CORPUS = [
    b'[{"bn":"wl-1:","bt":1700000000,"bu":"cm","n":"water_level_m","v":12.5},{"n":"rain_mm","u":"mm","t":-60,"v":1e-3}]',
    b'[{"n":"gw-1:temperature_cel","vs":"\\u00e9\\ud83d\\ude00 x"},{"n":"temperature_cel","vb":true},{"vd":"AP8"}]',
    b'[{"bver":10,"bn":"wl-1","bv":0.1,"bs":1,"n":":rain_mm","v":-0.0,"s":3,"ut":60,"x":[{"y":[null,"\\n"]}]}]',
    b'[ {"n" : "rain_mm" , "v" : 123456789012345678901234567890.5E-12 } ]\r\n',
    '[{"n":"rain_mm","v":9007199254740993,"é":"é"}]'.encode(),
]
_PIPELINE = Pipeline(make_index())


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if the extension and the twin do not agree."""
    messages = [Message(data, "gw-1", "gateway")]
    found, wanted = _PIPELINE.outcome(messages), expected(messages)
    assert repr(found) == repr(wanted)
