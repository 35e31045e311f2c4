"""Page sizes and opaque page tokens (AIP-158): the key of the last row of the page before, bound to the request."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from google.protobuf.message import Message

from registry.db import sequence
from registry.errors import InvalidError, Violation

DEFAULT_PAGE = 100

# What a list is ordered by, of one row.
Key: TypeAlias = tuple[int | str, ...]


class _Token(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
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
        """`after`, for a list whose keys have values of these kinds, or for their beginnings: what begins with them is
        over. Raises: InvalidError if it is of another shape."""
        if self.after is None:
            return None
        kinds = kinds[: len(self.after)]
        if kinds and [type(value) for value in self.after] == list(kinds) and all(map(_fits, self.after)):
            return self.after
        raise unusable_token()

    def after_number(self) -> int:
        """`after` of a list in the order of one number above 0; 0: the first page. Raises: InvalidError."""
        after = self.after_of([int])
        return int(after[0]) if after else 0

    def token_after(self, key: Key) -> str:
        """The token of the page behind the row with that key."""
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(_Token(self.bound, self.now_ms, key))).decode()


def page_of(request: Any, largest: int) -> Page:
    """The page that a List request (with `page_size` and `page_token`) asks for.

    Raises: InvalidError if the size is negative, or the token is none of ours or of a request that differs in anything
    but its page size.
    """
    limit, bound = _limit(request.page_size, largest), _bound(request)
    if not request.page_token:
        return Page(limit, sequence.now_ms(), None, bound)
    token = _decode(request.page_token)
    if token.bound != bound:
        text = "the request differs from the one of the page before; start again without page_token"
        raise InvalidError([Violation("page_token", "PAGE_TOKEN_OF_OTHER_REQUEST", text)])
    return Page(limit, token.now_ms, token.after, bound)


def _limit(page_size: int, largest: int) -> int:
    """0: the default; above `largest`: `largest`. Raises: InvalidError if negative."""
    if page_size < 0:
        raise InvalidError([Violation("page_size", "PAGE_SIZE_NEGATIVE", "0 for the default, or more")])
    return min(page_size or DEFAULT_PAGE, largest)


def unusable_token() -> InvalidError:
    text = "not a page token of ours; use next_page_token as it came, or leave it empty for the first page"
    return InvalidError([Violation("page_token", "PAGE_TOKEN_INVALID", text)])


def _fits(value: int | str) -> bool:
    """Whether a database takes it as a value."""
    return "\0" not in value if isinstance(value, str) else -(1 << 63) <= value < 1 << 63


def _bound(request: Message) -> bytes:
    same = type(request)()
    same.CopyFrom(request)
    same.ClearField("page_size")
    same.ClearField("page_token")
    whole = same.DESCRIPTOR.full_name.encode() + b"\0" + same.SerializeToString(deterministic=True)
    return hashlib.blake2b(whole, digest_size=8).digest()


def _decode(page_token: str) -> _Token:
    try:
        return msgspec.msgpack.decode(base64.urlsafe_b64decode(page_token.encode()), type=_Token)
    except (binascii.Error, ValueError) as exc:
        raise unusable_token() from exc
