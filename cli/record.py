"""Resources as rows: a message's fields under their own names, in words and numbers that every output format has."""

import functools
import operator
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message


def row_of(message: Message, id_key: str) -> dict[str, Any]:
    """A resource; `name` becomes its last part under `id_key`, times are RFC 3339 texts, empty if unset."""
    row = {id_key: last_part(getattr(message, "name", ""))}
    row |= {name: read(message) for name, read in _readers(message.DESCRIPTOR) if name != "name"}
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


@functools.cache
def _readers(descriptor: Any) -> tuple[tuple[str, Callable[[Message], Any]], ...]:
    """How each field of a message is read: what depends on the field alone is asked once, not for each row."""
    return tuple((field.name, _reader(field)) for field in descriptor.fields)


def _reader(field: Any) -> Callable[[Message], Any]:
    get, kind, plain = operator.attrgetter(field.name), field.message_type, _plain(field)
    if kind is not None and kind.GetOptions().map_entry:
        return lambda message: dict(sorted(get(message).items()))
    if field.is_repeated:
        return lambda message: [plain(entry) for entry in get(message)]
    absent = "" if kind is not None and kind.full_name == "google.protobuf.Timestamp" else None
    if field.has_presence:
        return lambda message: plain(get(message)) if message.HasField(field.name) else absent
    return lambda message: plain(get(message))


def _plain(field: Any) -> Callable[[Any], Any]:
    """One value of a field, as every output format has it."""
    kind = field.message_type
    if kind is not None and kind.full_name == "google.protobuf.Timestamp":
        return lambda value: value.ToJsonString()
    if kind is not None:
        return lambda value: {name: read(value) for name, read in _readers(value.DESCRIPTOR)}
    if field.enum_type is not None:
        return functools.cache(functools.partial(enum_word, field))
    return lambda value: value
