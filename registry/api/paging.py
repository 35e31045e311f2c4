"""Page sizes and opaque page tokens (AIP-158): the key of the last row of the page before, bound to the request."""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from google.protobuf.message import Message

from registry.db import sequence
from registry.errors import InvalidError, Violation

DEFAULT_PAGE = 100

# What a list is ordered by, of one row.
Key: TypeAlias = tuple[int | str, ...]


class _Token(msgspec.Struct, array_like=True):
    filter_crc: int
    last_num: int


class _KeyToken(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    bound: bytes
    now_ms: int
    after: Key


class Page(msgspec.Struct, frozen=True):
    """Which page is asked for.

    `now_ms` is the time of the first page, UTC milliseconds: what depends on the time stays as it was there. `after` is
    the key of the last row of the page before; None: the first page.
    """

    limit: int
    now_ms: int
    after: Key | None
    bound: bytes

    def after_of(self, kinds: Sequence[type]) -> Key | None:
        """`after`, for a list whose keys have values of these kinds. Raises: InvalidError if it is of another shape."""
        if self.after is None or [type(value) for value in self.after] == list(kinds):
            return self.after
        raise unusable_token()

    def token_after(self, key: Key) -> str:
        """The token of the page behind the row with that key."""
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(_KeyToken(self.bound, self.now_ms, key))).decode()


def page_of(request: Any, largest: int) -> Page:
    """The page that a List request (with `page_size` and `page_token`) asks for.

    Raises: InvalidError if the size is negative, or the token is none of ours or of a request that differs in anything
    but its page size.
    """
    limit, bound = page_limit(request.page_size, largest), _bound(request)
    if not request.page_token:
        return Page(limit, sequence.now_ms(), None, bound)
    token = _decode(request.page_token, _KeyToken)
    if token.bound != bound:
        text = "the request differs from the one of the page before; start again without page_token"
        raise InvalidError([Violation("page_token", "PAGE_TOKEN_OF_OTHER_REQUEST", text)])
    return Page(limit, token.now_ms, token.after, bound)


def page_limit(page_size: int, largest: int) -> int:
    """0: the default; above `largest`: `largest`. Raises: InvalidError if negative."""
    if page_size < 0:
        raise InvalidError([Violation("page_size", "PAGE_SIZE_NEGATIVE", "0 for the default, or more")])
    return min(page_size or DEFAULT_PAGE, largest)


def page_start(page_token: str, filter_text: str = "") -> int:
    """The number after which the page begins. Raises: InvalidError for a token that is not of this list."""
    if not page_token:
        return 0
    token = _decode(page_token, _Token)
    if token.filter_crc != zlib.crc32(filter_text.encode()):
        text = "the filter is another than on the page before; start again without page_token"
        raise InvalidError([Violation("page_token", "PAGE_TOKEN_OF_OTHER_FILTER", text)])
    last_num: int = token.last_num
    return last_num


def next_token(last_num: int, filter_text: str = "") -> str:
    raw = msgspec.msgpack.encode(_Token(zlib.crc32(filter_text.encode()), last_num))
    return base64.urlsafe_b64encode(raw).decode()


def unusable_token() -> InvalidError:
    text = "not a page token of ours; use next_page_token as it came, or leave it empty for the first page"
    return InvalidError([Violation("page_token", "PAGE_TOKEN_INVALID", text)])


def _bound(request: Message) -> bytes:
    same = type(request)()
    same.CopyFrom(request)
    same.ClearField("page_size")
    same.ClearField("page_token")
    whole = same.DESCRIPTOR.full_name.encode() + b"\0" + same.SerializeToString(deterministic=True)
    return hashlib.blake2b(whole, digest_size=8).digest()


def _decode(page_token: str, kind: type[Any]) -> Any:
    try:
        return msgspec.msgpack.decode(base64.urlsafe_b64decode(page_token.encode()), type=kind)
    except (binascii.Error, ValueError) as exc:
        raise unusable_token() from exc
