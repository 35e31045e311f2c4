"""A filter's text to its syntax tree, by the grammar of AIP-160: OR binds tighter than AND, side by side means AND."""

from typing import NoReturn

from registry.filter.lexer import Kind, Token, syntax_error, tokens_of
from registry.filter.syntax import And, Function, Literal, Member, Not, Or, Restriction, Sought, Syntax

MAX_TERMS = 200
MAX_DEPTH = 30
_KEYWORDS = ("AND", "OR", "NOT")
_SHAPE = "expected field = value"


def parse(text: str) -> Syntax | None:
    """None for an empty filter. Raises: InvalidError.

    Source: https://google.aip.dev/assets/misc/ebnf-filtering.txt
    """
    parser = _Parser(text)
    return None if parser.peek().kind is Kind.END else parser.whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens_of(text)
        self._at = 0
        self._depth = 0
        self._terms = 0

    def peek(self) -> Token:
        return self._tokens[self._at]

    def whole(self) -> Syntax:
        tree = self._expression()
        if self.peek().kind is not Kind.END:
            self._fail(f"{_SHAPE}, AND or OR")
        return tree

    def _expression(self) -> Syntax:
        parts = [self._sequence()]
        while self._take_keyword("AND"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _sequence(self) -> Syntax:
        parts = [self._factor()]
        while self._begins_term():
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _factor(self) -> Syntax:
        parts = [self._term()]
        while self._take_keyword("OR"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _term(self) -> Syntax:
        if self._take_keyword("NOT") or self._take(Kind.MINUS):
            if self._is_keyword("NOT") or self.peek().kind is Kind.MINUS:
                self._fail("one NOT is enough")
            return Not(self._simple())
        return self._simple()

    def _simple(self) -> Syntax:
        if self.peek().kind is Kind.OPEN:
            return self._composite()
        self._terms += 1
        if self._terms > MAX_TERMS:
            self._fail(f"more than {MAX_TERMS} terms; save a group and say in_group(...)")
        return self._restriction()

    def _composite(self) -> Syntax:
        opened = self.peek().start
        self._deeper()
        self._at += 1
        tree = self._expression()
        if not self._take(Kind.CLOSE):
            if self.peek().kind is Kind.END:
                syntax_error(self._text, opened, "the parenthesis has no end")
            self._fail("expected `)`, AND or OR")
        self._depth -= 1
        return tree

    def _restriction(self) -> Syntax:
        first = self.peek()
        if first.kind not in (Kind.TEXT, Kind.STRING) or self._is_keyword(*_KEYWORDS):
            self._fail(_SHAPE)
        self._at += 1
        names = [first]
        while self._take(Kind.DOT):
            if self.peek().kind not in (Kind.TEXT, Kind.STRING):
                self._fail("expected a name behind the dot")
            names.append(self.peek())
            self._at += 1
        if self.peek().kind is Kind.OPEN and self.peek().start == names[-1].end and first.kind is Kind.TEXT:
            return self._function(names)
        if self.peek().kind is not Kind.COMPARATOR:
            return self._sought(names)
        comparator = self.peek().raw
        self._at += 1
        member = Member(tuple("*".join(name.parts) for name in names), first.start)
        return Restriction(member, comparator, self._argument())

    def _sought(self, names: list[Token]) -> Sought:
        if len(names) == 1 and names[0].kind is Kind.TEXT and names[0].raw.upper() in _KEYWORDS:
            syntax_error(self._text, names[0].start, f"write {names[0].raw.upper()} in capitals")
        return Sought(self._joined(names))

    def _function(self, names: list[Token]) -> Function:
        self._deeper()
        self._at += 1
        arguments: list[Literal | Function] = []
        if not self._take(Kind.CLOSE):
            arguments.append(self._argument())
            while self._take(Kind.COMMA):
                arguments.append(self._argument())
                if len(arguments) > 10:
                    self._fail("too many arguments")
            if not self._take(Kind.CLOSE):
                self._fail("expected `,` or `)`")
        self._depth -= 1
        return Function(".".join(name.raw for name in names), tuple(arguments), names[0].start)

    def _argument(self) -> Literal | Function:
        """A value, or a function. Signs, dots and colons that touch are part of a value: `-5`, `21.03`, `1.2.3`."""
        start = self._at
        if self.peek().kind is Kind.MINUS:
            self._at += 1
        if self.peek().kind is Kind.OPEN:
            self._fail("a value cannot be in parentheses: repeat the field, as in (a = 1 OR a = 2)")
        if self.peek().kind not in (Kind.TEXT, Kind.STRING) or (self._is_keyword(*_KEYWORDS)):
            self._fail("expected a value (in quotes, unless it is one word)")
        self._at += 1
        if self._tokens[start].kind is Kind.STRING:
            return self._joined(self._tokens[start : self._at])
        while (
            self.peek().kind in (Kind.DOT, Kind.TEXT, Kind.MINUS)
            and self.peek().start == self._tokens[self._at - 1].end
        ):
            self._at += 1
        taken = self._tokens[start : self._at]
        if self.peek().kind is Kind.OPEN and self.peek().start == taken[-1].end:
            return self._function(taken)
        return self._joined(taken)

    def _joined(self, tokens: list[Token]) -> Literal:
        """One value out of tokens that touch; the signs between its words are part of it."""
        parts = [""]
        end = tokens[0].start
        for token in tokens:
            own = token.parts or (token.raw,)
            parts[-1] += self._text[end : token.start] + own[0]
            parts.extend(own[1:])
            end = token.end
        return Literal(tuple(parts), tokens[0].start)

    def _begins_term(self) -> bool:
        kind = self.peek().kind
        if kind in (Kind.STRING, Kind.OPEN, Kind.MINUS):
            return True
        return kind is Kind.TEXT and not self._is_keyword("AND", "OR")

    def _is_keyword(self, *words: str) -> bool:
        return self.peek().kind is Kind.TEXT and self.peek().raw in words

    def _take_keyword(self, word: str) -> bool:
        if not self._is_keyword(word):
            return False
        self._at += 1
        return True

    def _take(self, kind: Kind) -> bool:
        if self.peek().kind is not kind:
            return False
        self._at += 1
        return True

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"more than {MAX_DEPTH} parentheses inside one another")

    def _fail(self, what: str) -> NoReturn:
        syntax_error(self._text, self.peek().start, what)
