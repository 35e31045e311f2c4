"""What a filter means: typed tests joined by all and any, negations pushed down to the tests."""

from enum import Enum
from typing import TypeAlias

import msgspec

from registry.filter.fields import Field


class Relation(Enum):
    """Between a field and the value it is held against; `value` of a Test is what stands in brackets.

    PRESENT (nothing): a text is not empty, a number, time or key is there. MATCHES (the text between wildcards, two
    parts or more) counts capitals, CONTAINS (as MATCHES) does not for ASCII letters.
    """

    EQUAL = "="
    LESS = "<"
    LESS_EQUAL = "<="
    GREATER = ">"
    GREATER_EQUAL = ">="
    PRESENT = ":*"
    MATCHES = "= *"
    CONTAINS = ":"


class Test(msgspec.Struct, frozen=True):
    """A number or time that is absent, or a key that is not there, passes no test; then `negated` turns that round.

    `value` is a str for a text, enum or label, an int for a number, UTC milliseconds for a time.
    """

    field: Field
    key: str
    relation: Relation
    value: str | int | tuple[str, ...]
    negated: bool = False


class Call(msgspec.Struct, frozen=True):
    """A function of the resource, with arguments as its signature says."""

    name: str
    arguments: tuple[str | float, ...]
    negated: bool = False


class All(msgspec.Struct, frozen=True):
    """Without parts: always true."""

    parts: "tuple[Condition, ...]"


class Any(msgspec.Struct, frozen=True):
    """Without parts: never true."""

    parts: "tuple[Condition, ...]"


Condition: TypeAlias = Test | Call | All | Any

ALWAYS = All(())
NEVER = Any(())


def negate(condition: Condition) -> Condition:
    match condition:
        case All(parts):
            return Any(tuple(negate(part) for part in parts))
        case Any(parts):
            return All(tuple(negate(part) for part in parts))
        case Test() | Call():
            return msgspec.structs.replace(condition, negated=not condition.negated)


def conjuncts(condition: Condition) -> list[Condition]:
    """The parts that must all hold."""
    if isinstance(condition, All):
        return [inner for part in condition.parts for inner in conjuncts(part)]
    return [condition]


def tests_of(condition: Condition) -> list[Test | Call]:
    """All tests and calls in it."""
    if isinstance(condition, All | Any):
        return [test for part in condition.parts for test in tests_of(part)]
    return [condition]
