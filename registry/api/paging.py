"""Page sizes and opaque page tokens (AIP-158): the key of the last row of the page before, bound to the filter."""

import base64
import binascii
import zlib

import msgspec

from registry.errors import InvalidError, Violation

DEFAULT_PAGE = 100


class _Token(msgspec.Struct, array_like=True):
    filter_crc: int
    last_num: int


def page_limit(page_size: int, largest: int) -> int:
    """0: the default; above `largest`: `largest`. Raises: InvalidError if negative."""
    if page_size < 0:
        raise InvalidError([Violation("page_size", "PAGE_SIZE_NEGATIVE", "0 for the default, or more")])
    return min(page_size or DEFAULT_PAGE, largest)


def page_start(page_token: str, filter_text: str = "") -> int:
    """The number after which the page begins. Raises: InvalidError for a token that is not of this list."""
    if not page_token:
        return 0
    try:
        raw = base64.urlsafe_b64decode(page_token.encode())
        token = msgspec.msgpack.decode(raw, type=_Token)
    except (binascii.Error, ValueError) as exc:
        text = "not a page token of ours; use next_page_token as it came, or leave it empty for the first page"
        raise InvalidError([Violation("page_token", "PAGE_TOKEN_INVALID", text)]) from exc
    if token.filter_crc != zlib.crc32(filter_text.encode()):
        text = "the filter is another than on the page before; start again without page_token"
        raise InvalidError([Violation("page_token", "PAGE_TOKEN_OF_OTHER_FILTER", text)])
    return token.last_num


def next_token(last_num: int, filter_text: str = "") -> str:
    raw = msgspec.msgpack.encode(_Token(zlib.crc32(filter_text.encode()), last_num))
    return base64.urlsafe_b64encode(raw).decode()
