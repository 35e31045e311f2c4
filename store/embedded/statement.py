"""What a request's text is: where the statement ends and its data begins, its verb, its output format."""

import re
from dataclasses import dataclass

# ClickHouse's lexer (src/Parsers/Lexer.cpp), as far as it matters for finding where words stand. What is not closed
# goes on to the end of the text, so that each byte is looked at once.
_BLANK = rb"\s++|--[^\n]*+|\#[\ !][^\n]*+|/\*(?:.*?\*/|.*+)"
_STRING = rb"'(?:[^'\\]++|\\.|'')*+(?:'|\\?\Z)"
_HEREDOC = rb"(?P<mark>\$\w*+\$)(?:.*?(?P=mark)|.*+)"
_QUOTED = rb'"(?:[^"\\]++|\\.|"")*+(?:"|\\?\Z)|`(?:[^`\\]++|\\.|``)*+(?:`|\\?\Z)'
_REST = rb"(?P<word>[A-Za-z_][A-Za-z0-9_]*+)|(?P<number>[0-9][0-9A-Za-z_.]*+)|(?P<other>.)"
_HEAD = rb"(?P<blank>" + _BLANK + rb")|(?P<quoted>" + _QUOTED + rb")|(?P<string>" + _STRING
_TOKEN = re.compile(_HEAD + rb"|" + _HEREDOC + rb")|" + _REST, re.DOTALL)
_CANONICAL_TOKEN = re.compile(_HEAD + rb")|" + _REST, re.DOTALL)
# Words after which FORMAT is a name, not the clause.
_NAME_FOLLOWS = frozenset({b"FROM", b"JOIN", b"AS", b"SELECT", b",", b".", b"=", b"(", b"BY", b"AND", b"OR", b"IN"})
_QUERIES = frozenset({"SELECT", "WITH", "FROM"})


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: bytes
    start: int
    end: int

    @property
    def upper(self) -> bytes:
        return self.text.upper() if self.kind == "word" else self.text


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a request.

    Attributes:
        verb: its first word, in upper case.
        text: the whole statement, without trailing semicolons and data.
        sql: the same without its FORMAT clause.
        format: the format named in it, or "".
        tail: what followed the FORMAT clause (SETTINGS ...), or "".
        data_at: for an INSERT with data, the offset of the first data byte in the request's text; else -1.
        settings_at: for an INSERT with data, where SETTINGS begins in `sql`; its length without.
    """

    verb: str
    text: str
    sql: str
    format: str
    tail: str
    data_at: int
    settings_at: int = -1

    @property
    def is_query(self) -> bool:
        """It gives rows and can be streamed."""
        return self.verb in _QUERIES or self.verb == "("

    @property
    def takes_data(self) -> bool:
        return self.data_at >= 0


def tokens(text: bytes, *, is_canonical: bool = False) -> list[Token]:
    """All tokens of `text` but blanks and comments; canonical text (the engine's formatter's) has no heredocs."""
    found = (_token(match) for match in (_CANONICAL_TOKEN if is_canonical else _TOKEN).finditer(text))
    return [token for token in found if token.kind != "blank"]


def _token(match: re.Match[bytes]) -> Token:
    kind = next(name for name in ("blank", "word", "other", "string", "quoted", "number") if match[name] is not None)
    return Token(kind, match.group(), match.start(), match.end())


def parse(text: bytes) -> Statement:
    """Find the statement in a request's text. Anything that is not understood is left to the engine's parser."""
    first = _first_word(text)
    if first == "INSERT":
        insert = _parse_insert(text)
        if insert is not None:
            return insert
    found = tokens(text)
    while found and found[-1].text == b";":
        found.pop()
    if not found:
        return Statement(first, "", "", "", "", -1)
    end = found[-1].end
    at = _format_clause(found)
    if at < 0:
        return Statement(first, _decode(text[:end]), _decode(text[:end]), "", "", -1)
    name = found[at + 1]
    return Statement(
        verb=first,
        text=_decode(text[:end]),
        sql=_decode(text[: found[at].start]).rstrip(),
        format=_decode(name.text),
        tail=_decode(text[name.end : end]).strip(),
        data_at=-1,
    )


def _first_word(text: bytes) -> str:
    for match in _TOKEN.finditer(text):
        if match["blank"] is None:
            return _decode(match.group()).upper()
    return ""


def _parse_insert(text: bytes) -> Statement | None:
    """INSERT with data: ends at VALUES or at FORMAT name, whichever comes first outside of parentheses."""
    depth = 0
    before: Token | None = None
    pending: Token | None = None  # a FORMAT word that waits for its name
    settings_at = len(text)
    for match in _TOKEN.finditer(text):
        if match["blank"] is not None:
            continue
        token = _token(match)
        if pending is not None:
            if token.kind == "word":
                data_at = _data_at(text, token.end)
                return _with_data(text, pending.start, _decode(token.text), data_at, settings_at)
            pending = None
        if token.text in (b"(", b"["):
            depth += 1
        elif token.text in (b")", b"]"):
            depth -= 1
        elif token.kind == "word" and depth == 0 and not _names(before):
            word = token.upper
            if word in (b"SELECT", b"WITH"):
                return None  # the rows come from a query; FORMAT then says nothing
            if word == b"VALUES":
                return _with_data(text, token.start, "Values", token.end, settings_at)
            if word == b"SETTINGS":
                settings_at = min(settings_at, token.start)
            if word == b"FORMAT":
                pending = token
        before = token
    return None


def _with_data(text: bytes, end: int, input_format: str, data_at: int, settings_at: int) -> Statement:
    sql = _decode(text[:end]).rstrip()
    return Statement("INSERT", sql, sql, input_format, "", data_at, min(len(sql), len(_decode(text[:settings_at]))))


def _names(before: Token | None) -> bool:
    return before is not None and before.upper in (b"INTO", b"TABLE", b".", *_NAME_FOLLOWS)


def _data_at(text: bytes, at: int) -> int:
    """Data starts after the line break that follows the format's name, or after the blanks (ParserInsertQuery.cpp)."""
    while at < len(text) and text[at] in b" \t\f":
        at += 1
    if text[at : at + 1] == b"\r":
        at += 1
    if text[at : at + 1] == b"\n":
        at += 1
    return at


def _format_clause(found: list[Token]) -> int:
    """Index of the FORMAT word of `... FORMAT name [SETTINGS ...]` at the statement's end, or -1."""
    for at in range(len(found) - 2, 0, -1):
        if found[at].upper != b"FORMAT" or found[at + 1].kind != "word" or found[at - 1].upper in _NAME_FOLLOWS:
            continue
        rest = found[at + 2 :]
        if not rest or rest[0].upper == b"SETTINGS":
            return at
    return -1


def _decode(text: bytes) -> str:
    return text.decode("utf-8", errors="surrogateescape")
