"""The syntax tree of a filter: what was written, before anybody knows the fields."""

from typing import TypeAlias

import msgspec


class Literal(msgspec.Struct, frozen=True):
    """A value as written, cut at its wildcards (see lexer.Token)."""

    parts: tuple[str, ...]
    at: int

    @property
    def text(self) -> str:
        return "*".join(self.parts)


class Member(msgspec.Struct, frozen=True):
    """`labels.owner`: names joined by dots."""

    names: tuple[str, ...]
    at: int

    @property
    def text(self) -> str:
        return ".".join(self.names)


class Function(msgspec.Struct, frozen=True):
    """`near(21.03, 105.85, 500)`."""

    name: str
    arguments: "tuple[Literal | Function, ...]"
    at: int


class Restriction(msgspec.Struct, frozen=True):
    """`member comparator value`."""

    member: Member
    comparator: str
    value: Literal | Function


class Sought(msgspec.Struct, frozen=True):
    """A value alone: any of the fields that are searched has it."""

    value: Literal


class Not(msgspec.Struct, frozen=True):
    part: "Syntax"


class And(msgspec.Struct, frozen=True):
    parts: "tuple[Syntax, ...]"


class Or(msgspec.Struct, frozen=True):
    parts: "tuple[Syntax, ...]"


Syntax: TypeAlias = And | Or | Not | Restriction | Function | Sought
