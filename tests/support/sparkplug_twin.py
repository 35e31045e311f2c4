"""Sparkplug by the protobuf runtime and dicts: the plain twin of ext/telemetry/sparkplug*.pyx."""

from typing import Any, NamedTuple

from google.protobuf.unknown_fields import UnknownFieldSet

from loadtest.sparkplug_schema import Metric, Payload, PropertySet, PropertyValue

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING, DATETIME, TEXT, UUID = range(
    1, 16
)
DATASET, BYTES, FILE, TEMPLATE = 16, 17, 18, 19
_LAST_TIME = (1 << 63) - 1


def has_field_zero(fields: Any) -> bool:
    """No field has the number 0; the runtime looks at that everywhere but inside groups that it does not know."""
    return any(field.field_number == 0 or (field.wire_type == 3 and has_field_zero(field.data)) for field in fields)


class Refused(NamedTuple):
    reason: str


class Outcome(NamedTuple):
    """Numbers: (device, metric, unit, time_ms, value, reason); texts: (device, metric, time_ms, kind, value, reason).

    The device is a key; names and texts are bytes.
    """

    numbers: list[tuple[Any, ...]]
    texts: list[tuple[Any, ...]]


class Refusal(Exception):
    pass


class _Birth:
    def __init__(self) -> None:
        self.by_alias: dict[int, tuple[bytes, int, bytes]] = {}
        self.by_name: dict[bytes, tuple[bytes, int, bytes]] = {}


def is_control(name: bytes) -> bool:
    return name == b"bdSeq" or name.startswith((b"Node Control/", b"Device Control/"))


def unit_of(metric: Any) -> bytes:
    properties = metric.properties
    keys = list(properties.keys)
    if b"engUnit" not in keys or keys.index(b"engUnit") >= len(properties.values):
        return b""
    value = properties.values[keys.index(b"engUnit")]
    if value.is_null or value.WhichOneof("value") != "string_value":
        return b""
    try:
        value.string_value.decode()
    except UnicodeDecodeError:
        return b"?"
    return value.string_value[:64].decode(errors="ignore").encode()


def _integer(raw: int, datatype: int) -> int:
    if datatype in (INT64, DATETIME):
        return raw - (1 << 64) if raw >> 63 else raw
    if datatype in (UINT8, UINT16, UINT32, UINT64):
        if raw >> (8 << (datatype - UINT8)):
            raise Refusal("type_mismatch")
        return raw
    width = 8 << (datatype - INT8)
    for bits in (width, 32, 64):
        value = raw - (1 << bits) if raw >= 1 << (bits - 1) else raw
        if 0 <= raw < 1 << bits and -(1 << (width - 1)) <= value < 1 << (width - 1):
            return value
    raise Refusal("type_mismatch")


def value_of(metric: Any, datatype: int) -> tuple[str, Any]:
    """(`number`, float) or (kind of text, bytes). Raises Refusal."""
    field = metric.WhichOneof("value")
    value = getattr(metric, field)
    if field in ("dataset_value", "template_value", "extension_value") or datatype == DATASET or datatype > BYTES:
        raise Refusal("unsupported_datatype")
    allowed = {
        "int_value": (*range(INT8, UINT64 + 1), DATETIME),
        "long_value": (*range(INT8, UINT64 + 1), DATETIME),
        "float_value": (0, FLOAT, DOUBLE),
        "double_value": (0, FLOAT, DOUBLE),
        "boolean_value": (0, BOOLEAN),
        "string_value": (0, STRING, TEXT, UUID),
        "bytes_value": (0, BYTES),
    }[field]
    if datatype not in allowed:
        raise Refusal("unsupported_datatype" if datatype == 0 else "type_mismatch")
    if field in ("int_value", "long_value"):
        return "number", float(_integer(value, datatype))
    if field in ("float_value", "double_value"):
        if value - value != 0:
            raise Refusal("value_not_finite")
        return "number", value
    if field == "boolean_value":
        return "boolean", b"true" if value else b"false"
    if field == "bytes_value":
        return "data", value
    try:
        value.decode()
    except UnicodeDecodeError:
        raise Refusal("type_mismatch") from None
    return "string", value


class Host:
    """One host application that everything reaches through a broker."""

    def __init__(self) -> None:
        self.births: dict[bytes, _Birth] = {}
        self.bd_seq: dict[bytes, int | None] = {}
        self.transient = 0
        self.nulls = 0

    def take(self, topic: bytes, data: bytes, received_ms: int) -> Outcome | Refused:
        _, group, verb, edge, *device = topic.split(b"/")
        node = group + b"/" + edge
        key = b"/".join([node, *device])
        if not data:
            return Refused("empty_payload")
        try:
            payload = Payload.FromString(data)
            for metric in payload.metrics:
                metric.name.decode()
            parts = [payload, *payload.metrics, *(one.properties for one in payload.metrics)]
            parts += [value for one in payload.metrics for value in one.properties.values]
            if any(has_field_zero(UnknownFieldSet(part)) for part in parts):
                return Refused("malformed_payload")
        except Exception:  # DecodeError and UnicodeDecodeError
            return Refused("malformed_payload")
        if verb.endswith(b"DEATH"):
            self._bury(key, verb, payload)
            return Outcome([], [])
        outcome = Outcome([], [])
        default_ms = min(payload.timestamp, _LAST_TIME) if payload.HasField("timestamp") else received_ms
        for metric in payload.metrics:
            time_ms = min(metric.timestamp, _LAST_TIME) if metric.HasField("timestamp") else default_ms
            self._take_metric(metric, key, verb, time_ms, outcome)
        if verb.endswith(b"BIRTH"):
            self._bear(key, verb, payload)
        return outcome

    def _take_metric(self, metric: Any, key: bytes, verb: bytes, time_ms: int, outcome: Outcome) -> None:
        birth = None if verb.endswith(b"BIRTH") else self.births.get(key)
        found: tuple[bytes, int, bytes] | None = None
        if verb.endswith(b"BIRTH") and metric.HasField("name"):
            found = (metric.name, metric.datatype, unit_of(metric))
        elif metric.HasField("name"):
            found = birth.by_name.get(metric.name) if birth else None
            found = found or (metric.name, 0, b"")
        elif birth and metric.HasField("alias"):
            found = birth.by_alias.get(metric.alias)
        if found and is_control(found[0]):
            return
        if metric.is_transient:
            self.transient += 1
            return
        if metric.is_null or metric.WhichOneof("value") is None:
            self.nulls += 1
            return
        if found is None:
            reason = "unknown_alias" if metric.HasField("alias") else "unknown_metric"
            outcome.numbers.append((key, None, b"", 0, 0.0, reason))
            return
        name, datatype, unit = found
        try:
            kind, value = value_of(metric, metric.datatype or datatype)
            reason = ""
        except Refusal as refusal:
            (reason,) = refusal.args
            kind, value = (
                ("string", metric.string_value) if self._is_text(metric, reason, datatype) else ("number", None)
            )
        if kind == "number":
            outcome.numbers.append((key, name, unit, time_ms, value, reason))
        else:
            outcome.texts.append((key, name, time_ms, kind, value, reason))

    @staticmethod
    def _is_text(metric: Any, reason: str, datatype: int) -> bool:
        """A string of the right datatype that is not UTF-8."""
        return (
            reason == "type_mismatch"
            and metric.WhichOneof("value") == "string_value"
            and (metric.datatype or datatype) in (0, STRING, TEXT, UUID)
        )

    def _bear(self, key: bytes, verb: bytes, payload: Any) -> None:
        birth = _Birth()
        bd_seq = None
        for metric in payload.metrics:
            if not metric.HasField("name"):
                continue
            if metric.name == b"bdSeq" and not metric.is_null:
                bd_seq = self._number(metric, bd_seq)
            if len(metric.name) > 1024:
                continue
            entry = (metric.name, min(metric.datatype, 255), unit_of(metric))
            birth.by_name[metric.name] = entry
            if metric.HasField("alias"):
                birth.by_alias[metric.alias] = entry
        if verb == b"NBIRTH":
            for other in [other for other in self.births if other.startswith(key + b"/")]:
                del self.births[other]
            self.bd_seq[key] = bd_seq
        self.births[key] = birth

    @staticmethod
    def _number(metric: Any, otherwise: int | None) -> int | None:
        field = metric.WhichOneof("value")
        return getattr(metric, field) if field in ("int_value", "long_value") else otherwise

    def _bury(self, key: bytes, verb: bytes, payload: Any) -> None:
        if key not in self.births:
            return
        if verb == b"NDEATH":
            found = None
            for metric in payload.metrics:
                if metric.name == b"bdSeq" and not metric.is_null:
                    found = self._number(metric, found)
            if found is not None and self.bd_seq.get(key) is not None and found != self.bd_seq[key]:
                return
            for other in [other for other in self.births if other.startswith(key + b"/")]:
                del self.births[other]
        del self.births[key]


def metric(value: Any = None, field: str = "double_value", **fields: Any) -> Any:
    """A metric; texts are str or bytes."""
    one = Metric(**{name: text.encode() if isinstance(text, str) else text for name, text in fields.items()})
    if value is not None:
        setattr(one, field, value.encode() if isinstance(value, str) else value)
    return one


def payload(*metrics: Any, timestamp: int | None = None, seq: int | None = None) -> bytes:
    data: bytes = Payload(timestamp=timestamp, seq=seq, metrics=metrics).SerializeToString()
    return data


def properties(**texts: str) -> Any:
    return PropertySet(
        keys=[name.encode() for name in texts],
        values=[PropertyValue(type=STRING, string_value=text.encode()) for text in texts.values()],
    )
