"""Resources as rows: a message's fields under their own names, in words and numbers that every output format has."""

from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def row_of(message: Message, id_key: str) -> dict[str, Any]:
    """A resource; `name` becomes its last part under `id_key`, times are RFC 3339 texts, empty if unset."""
    row = {id_key: last_part(getattr(message, "name", ""))}
    row |= {field.name: _value(message, field) for field in message.DESCRIPTOR.fields if field.name != "name"}
    return row


def last_part(name: str) -> str:
    return name.rpartition("/")[2]


def enum_word(field: Any, number: int) -> str:
    """`STATE_ACTIVE` of enum State as `active`; the value 0 as nothing."""
    kind = field.enum_type
    known = kind.values_by_number.get(number)
    if number == 0 or known is None:
        return "" if number == 0 else str(number)
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(known.name.removeprefix(prefix)).lower()


def _value(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {key: value[key] for key in sorted(value)}
    if field.is_repeated:
        return [_plain(entry, field) for entry in value]
    if kind is not None and kind.full_name == "google.protobuf.Timestamp":
        return value.ToJsonString() if message.HasField(field.name) else ""
    if field.has_presence and not message.HasField(field.name):
        return None
    return _plain(value, field)


def _plain(value: Any, field: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToJsonString()
    if isinstance(value, Message):
        return {inner.name: _value(value, inner) for inner in value.DESCRIPTOR.fields}
    if field.enum_type is not None:
        return enum_word(field, value)
    return value
