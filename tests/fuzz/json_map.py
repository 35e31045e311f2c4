"""Fuzzing plain JSON: any bytes give what Python's json and the registry's twin give, under every kind of mapping."""

from tests.property.test_json_map_agrees_with_twin import compare

CORPUS = [
    b'{"data":{"level":12.5,"ts":1767312000123},"values":[0,{"v":-1e-3}],"rain":0.2,"ts":1767312000.5,"id":"lora-1"}',
    b'{"ts":"2026-01-02T03:04:05.678+07:00","samples":[{"rain":1,"ts":"2026-01-02T03:04:05Z"},{"data":null,"id":"x"}]}',
    b'[{"rain":"\\u00e9\\ud83d\\ude00"},{"rain":true},{"a.b":false,"data":[{}]}]',
    b'{"data":{"samples":[{"rain":1E5},2,null,[]]},"ts":0}',
    '{"độ":{"ts":[1,2]},"values":[{"ts":1},{"v":1}]}'.encode(),
]


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if the extension and the twin do not agree."""
    compare(data)
