"""The same request id again (AIP-155): the same request gets the answer that it got, another one is refused.

The answer is kept in the transaction that it answers, for a day. Tokens in it are sealed with the access token that
the caller came with, of which the database has only a digest: nobody else can read them there. Who comes back with
another access token gets the answer without them.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy import Connection

from registry.audit.event import Origin
from registry.db import request_ids as db
from registry.db import sequence
from registry.db.request_ids import Answered
from registry.errors import InvalidError, PreconditionError, Violation

AnyMessage = TypeVar("AnyMessage", bound=Message)
KEPT_MS = 86_400_000
# Fields of answers that nobody sees a second time.
SECRET_FIELD = "token"  # noqa: S105
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NONCE = 12


class _Packed(msgspec.Struct, array_like=True):
    """`plain`: the message without its tokens, compressed. `sealed`: those tokens, in their order; empty: none."""

    plain: bytes
    sealed: bytes


class Replay:
    """The request id of one call."""

    def __init__(self, origin: Origin, request: Message, authorization: str) -> None:
        """Args: authorization: what the caller has identified himself by.

        Raises: InvalidError if the id is none.
        """
        self._actor, self._method, self._id = origin.actor, origin.method, origin.request_id
        if not _UUID.fullmatch(self._id):
            text = "a UUID, as in 7f0c2a5e-4f35-4d57-9c0d-0f5a0d1a8c11; a new one for each request, or the same again"
            raise InvalidError([Violation("request_id", "REQUEST_ID_INVALID", text)])
        self._request_sha256 = _digest(origin.method, request)
        self._key = hashlib.sha256(b"cityfleet answers to request ids\0" + authorization.encode()).digest()

    def answer(self, connection: Connection) -> Any | None:
        """The answer that was given before, as the method's message. Raises: PreconditionError."""
        found = db.find_answer(connection, self._actor, self._id, sequence.now_ms() - KEPT_MS)
        if found is None:
            return None
        if found.request_sha256 != self._request_sha256:
            raise PreconditionError(
                f"the request id {self._id} was that of another request, to {found.method.rpartition('/')[2]}; "
                "take a new one for each request",
                reason="REQUEST_ID_REUSED",
                metadata={"request_id": self._id, "method": found.method},
            )
        packed = msgspec.msgpack.decode(found.answer, type=_Packed)
        message = _answer_class(self._method).FromString(zlib.decompress(packed.plain))
        if packed.sealed and (tokens := self._unsealed(packed.sealed)):
            _put(message, tokens)
        return message

    def keep(self, connection: Connection, answer: Message) -> None:
        """Remember what is being answered."""
        plain = type(answer)()
        plain.CopyFrom(answer)
        tokens = _taken(plain)
        packed = _Packed(zlib.compress(plain.SerializeToString(), 1), self._sealed(tokens) if any(tokens) else b"")
        answered = Answered(self._method, self._request_sha256, msgspec.msgpack.encode(packed))
        db.insert_answer(connection, self._actor, self._id, answered, sequence.now_ms())

    def _sealed(self, tokens: Sequence[str]) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(self._key).encrypt(nonce, msgspec.msgpack.encode(tokens), self._request_sha256)

    def _unsealed(self, sealed: bytes) -> list[str]:
        """Empty: they were sealed with another access token."""
        try:
            raw = AESGCM(self._key).decrypt(sealed[:_NONCE], sealed[_NONCE:], self._request_sha256)
        except InvalidTag:
            return []
        return msgspec.msgpack.decode(raw, type=list[str])


def without_tokens(answer: AnyMessage) -> AnyMessage:
    """The same message: tokens of what was only tried are nobody's."""
    _taken(answer)
    return answer


def _digest(method: str, request: Message) -> bytes:
    same = type(request)()
    same.CopyFrom(request)
    same.ClearField("request_id")
    return hashlib.sha256(method.encode() + b"\0" + same.SerializeToString(deterministic=True)).digest()


def _answer_class(method: str) -> type[Message]:
    descriptor = Default().FindMethodByName(method.replace("/", "."))
    found: type[Message] = GetMessageClass(descriptor.output_type)
    return found


def _taken(message: Message) -> list[str]:
    """Takes the tokens out."""
    tokens = []
    for holder in _holders(message):
        tokens.append(getattr(holder, SECRET_FIELD))
        holder.ClearField(SECRET_FIELD)
    return tokens


def _put(message: Message, tokens: Sequence[str]) -> None:
    for holder, token in zip(_holders(message), tokens, strict=True):
        setattr(holder, SECRET_FIELD, token)


def _holders(message: Message) -> Iterator[Message]:
    """The message itself and those in it that have a token, always in the same order."""
    field = message.DESCRIPTOR.fields_by_name.get(SECRET_FIELD)
    if field is not None and field.type == FieldDescriptor.TYPE_STRING:
        yield message
    for inner, value in message.ListFields():
        if inner.message_type is None or inner.message_type.GetOptions().map_entry:
            continue
        for part in value if inner.is_repeated else (value,):
            yield from _holders(part)
