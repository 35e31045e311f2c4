"""Decoders and test vectors between protobuf and the registry: the same fields on both sides."""

from typing import Any, TypeVar

import msgspec
from google.protobuf.message import Message

from cityfleet.registry.v1 import decoder_pb2 as pb
from registry.devices.decoder import Decoder, ExpectedReading, TestVector

Plain = TypeVar("Plain", bound=msgspec.Struct)


def decoder_of(given: pb.Decoder) -> Decoder:
    return _plain(given, Decoder)


def decoder_message(decoder: Decoder) -> pb.Decoder | None:
    """None: nothing that differs from the defaults."""
    return None if decoder == Decoder() else _message(decoder, pb.Decoder())


def vector_of(given: pb.TestVector) -> TestVector:
    return TestVector(
        name=given.name,
        payload=given.payload if given.HasField("payload") else None,
        json=given.json if given.HasField("json") else None,
        f_port=given.f_port if given.HasField("f_port") else None,
        expect=tuple(_plain(entry, ExpectedReading) for entry in given.expect),
        error=given.error,
        times=tuple(given.times),
    )


def vector_message(vector: TestVector) -> pb.TestVector:
    return _message(vector, pb.TestVector())


def _plain(given: Message, kind: type[Plain]) -> Plain:
    """A message as the struct with the same field names."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        value = getattr(given, field.name)
        inner = msgspec.inspect.type_info(field.type)
        if isinstance(inner, msgspec.inspect.VarTupleType):
            is_struct = isinstance(inner.item_type, msgspec.inspect.StructType)
            value = tuple(_plain(item, inner.item_type.cls) if is_struct else item for item in value)  # type: ignore[attr-defined]
        elif isinstance(inner, msgspec.inspect.StructType):
            value = _plain(value, inner.cls)
        values[field.name] = value
    return kind(**values)


MessageType = TypeVar("MessageType", bound=Message)


def _message(plain: msgspec.Struct, into: MessageType) -> MessageType:
    """Fill a message from the struct with the same field names; what is at its default stays unset."""
    for field in msgspec.structs.fields(plain):
        value = getattr(plain, field.name)
        if value is None or value == field.default:
            continue
        if isinstance(value, msgspec.Struct):
            _message(value, getattr(into, field.name))
        elif isinstance(value, tuple) and isinstance(value[0], msgspec.Struct):
            for item in value:
                _message(item, getattr(into, field.name).add())
        elif isinstance(value, tuple):
            getattr(into, field.name).extend(value)
        else:
            setattr(into, field.name, value)
    return into
