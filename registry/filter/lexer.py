"""Words and signs of a filter."""

import re
from enum import Enum
from typing import NoReturn

import msgspec

from registry.errors import InvalidError, Violation

MAX_LENGTH = 10_000


class Kind(Enum):
    TEXT = "text"
    STRING = "string"
    COMPARATOR = "comparator"
    DOT = "."
    COMMA = ","
    OPEN = "("
    CLOSE = ")"
    MINUS = "-"
    END = "the end"


class Token(msgspec.Struct, frozen=True):
    """`start` to `end` is its place in the filter.

    `parts` is the text that a TEXT or STRING stands for, cut at its wildcards: `("ab",)` for `ab`, `("a", "b")` for
    `a*b`, `("", "")` for `*`.
    """

    kind: Kind
    start: int
    end: int
    parts: tuple[str, ...] = ()
    raw: str = ""


# A time holds `:` and `-` and is one word all the same (AIP-160, "Literals").
_WORD = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d))(?![^\s),])"
    r"|(?P<comparator><=|>=|!=|<|>|=|:)"
    r"|(?P<sign>[.,()])"
    r"|(?P<minus>-)"
    r"|(?P<text>[^\s\"'\\.,()<>=!:&|-][^\s\"'\\.,()<>=!:&|]*)"
)
_SPACE = re.compile(r"\s*")
_SIGNS = {".": Kind.DOT, ",": Kind.COMMA, "(": Kind.OPEN, ")": Kind.CLOSE}


def tokens_of(text: str) -> list[Token]:
    """All tokens of a filter, END last. Raises: InvalidError."""
    if len(text) > MAX_LENGTH:
        _fail("FILTER_TOO_LONG", f"{len(text)} characters; at most {MAX_LENGTH}: save a group and say in_group(...)")
    if "\x00" in text:
        syntax_error(text, text.index("\x00"), "a NUL character is part of no value")
    found: list[Token] = []
    at = _SPACE.match(text).end()  # type: ignore[union-attr]  # matches the empty string too
    while at < len(text):
        token = _string(text, at) if text[at] in "\"'" else _token(text, at)
        found.append(token)
        at = _SPACE.match(text, token.end).end()  # type: ignore[union-attr]
    found.append(Token(Kind.END, len(text), len(text)))
    return found


def syntax_error(text: str, at: int, what: str) -> NoReturn:
    """Raises: InvalidError that says what is wrong and where."""
    rest = text[at : at + 40].strip()
    _fail("FILTER_SYNTAX", f"{what} at `{rest}` (character {at + 1})" if rest else f"{what} at the end")


def _token(text: str, at: int) -> Token:
    word = _WORD.match(text, at)
    if word is None:
        hints = {"&": "write AND, not &&", "|": "write OR, not ||", "!": "write NOT or !="}
        syntax_error(text, at, hints.get(text[at], "put the value in quotes"))
    raw, end = word.group(), word.end()
    match word.lastgroup:
        case "comparator":
            return Token(Kind.COMPARATOR, at, end, raw=raw)
        case "sign":
            return Token(_SIGNS[raw], at, end, raw=raw)
        case "minus":
            return Token(Kind.MINUS, at, end, raw=raw)
    return Token(Kind.TEXT, at, end, tuple(raw.split("*")), raw)


def _string(text: str, start: int) -> Token:
    quote, parts, part, at = text[start], [], [], start + 1
    while at < len(text) and text[at] != quote:
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
            part.append(text[at])
        elif text[at] == "*":
            parts.append("".join(part))
            part = []
        else:
            part.append(text[at])
        at += 1
    if at >= len(text):
        syntax_error(text, start, f"the string that begins with {quote} has no end, expected field = value")
    parts.append("".join(part))
    return Token(Kind.STRING, start, at + 1, tuple(parts), text[start : at + 1])


def _fail(reason: str, text: str) -> NoReturn:
    raise InvalidError([Violation("filter", reason, text)])
