"""SenML JSON by the json module: the plain twin of ext/telemetry/senml.pyx."""

import base64
import json
import math
import re
from typing import Any, NamedTuple


class Text(NamedTuple):
    """A value that is no number."""

    kind: str
    value: bytes


# (device or None, metric, unit, time_ms, value, reason)
Reading = tuple[str | None, str, str, int, float | Text, str]

NUMBERS = {"bt", "bv", "bs", "bver", "v", "s", "t", "ut"}
STRINGS = {"bn", "bu", "n", "u", "vs", "vd"}
VALUES = {"v", "vs", "vb", "vd"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*")
NEVER_MS = 2**63 - 1
MAX_DEPTH = 32


class MalformedError(ValueError):
    """The whole payload is refused."""


class Pairs(list[tuple[str, Any]]):
    """A JSON object, duplicates kept."""


class Number(str):
    """A JSON number as it was written."""


def parse(payload: bytes) -> Any:
    def no_constant(text: str) -> Any:
        raise MalformedError(text)

    try:
        text = payload.decode()
        if text.startswith("\ufeff"):
            raise MalformedError("byte order mark")
        found = json.loads(
            text,
            object_pairs_hook=Pairs,
            parse_float=Number,
            parse_int=Number,
            parse_constant=no_constant,
        )
    except (ValueError, RecursionError) as exc:
        raise MalformedError(str(exc)) from exc
    check(found)
    return found


def check(value: Any) -> None:
    """Lone surrogates and numbers of more than 1000 characters, anywhere."""
    if isinstance(value, Number):
        if len(value) > 1000:
            raise MalformedError("long number")
    elif isinstance(value, str):
        if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
            raise MalformedError("lone surrogate")
    elif isinstance(value, Pairs):
        for label, inner in value:
            check(label)
            check(inner)
    elif isinstance(value, list):
        for inner in value:
            check(inner)


def depth(value: Any) -> int:
    if isinstance(value, Pairs):
        return 1 + max((depth(inner) for _, inner in value), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def checked_record(pairs: Any) -> dict[str, Any]:
    """Known labels of one record, of the right types."""
    if not isinstance(pairs, Pairs):
        raise MalformedError("not an object")
    record: dict[str, Any] = {}
    for label, value in pairs:
        if label in NUMBERS | STRINGS | {"vb"}:
            if label in record:
                raise MalformedError("twice")
            if label in NUMBERS and not isinstance(value, Number):
                raise MalformedError("number expected")
            if label in STRINGS and (isinstance(value, Number) or not isinstance(value, str)):
                raise MalformedError("string expected")
            if label == "vb" and not isinstance(value, bool):
                raise MalformedError("boolean expected")
            record[label] = float(value) if label in NUMBERS else value
        elif label.endswith("_"):
            raise MalformedError("must be understood")
        elif depth(value) > MAX_DEPTH:
            raise MalformedError("deep")
    return record


def split(name: str) -> tuple[str | None, str]:
    if not NAME.fullmatch(name):
        raise MalformedError("name")
    parts = re.split("[:/]", name)
    if len(parts) == 1:
        return None, name
    return parts[-2], parts[-1]


def time_of(seconds: float, received_ms: int) -> int:
    ms = seconds * 1000.0
    if not math.isfinite(ms) or abs(ms) > 9e18:
        return NEVER_MS
    return round(ms) + (received_ms if seconds < 2**28 else 0)


def text_of(record: dict[str, Any]) -> Text:
    if "vs" in record:
        return Text("string", record["vs"].encode())
    if "vb" in record:
        return Text("boolean", b"true" if record["vb"] else b"false")
    if len(record["vd"]) % 4 == 1 or not re.fullmatch(r"[A-Za-z0-9_-]*", record["vd"]):
        raise MalformedError("base64url")
    return Text("data", base64.urlsafe_b64decode(record["vd"] + "=" * (-len(record["vd"]) % 4)))


def decode(payload: bytes, received_ms: int) -> list[Reading]:
    """Raises: MalformedError."""
    return decode_pack(parse(payload), received_ms)


def decode_pack(pack: Any, received_ms: int) -> list[Reading]:
    """A pack as parse() gives it. Raises: MalformedError."""
    if not isinstance(pack, list) or isinstance(pack, Pairs) or not pack:
        raise MalformedError("not an array of records")
    base: dict[str, Any] = {"bn": "", "bt": 0.0, "bu": ""}
    version = None
    readings: list[Reading] = []
    for pairs in pack:
        record = checked_record(pairs)
        base.update({label: value for label, value in record.items() if label.startswith("b")})
        if "bver" in record:
            if record["bver"] not in {*range(1, 11), 26} or version not in (None, record["bver"]):
                raise MalformedError("version")
            version = record["bver"]
        version = version or 10
        if record and all(label.startswith("b") for label in record):
            continue
        values = VALUES & record.keys()
        if len(values) > 1 or (not values and "s" not in record):
            raise MalformedError("not one value")
        device, metric = split(base["bn"] + record.get("n", ""))
        when = time_of(base["bt"] + record.get("t", 0.0), received_ms)
        value: float | Text = 0.0
        reason = "sum_without_value"
        if values - {"v"}:
            value, reason = text_of(record), ""
        elif values:
            total: float = record["v"] + base["bv"] if "bv" in base else record["v"]
            value, reason = total, "" if math.isfinite(total) else "value_not_finite"
        readings.append((device, metric, record.get("u", base["bu"]), when, value, reason))
    if not readings:
        raise MalformedError("nothing")
    return readings
