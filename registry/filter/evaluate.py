"""A condition held against one thing in memory: what a watch does, and what the SQL has to agree with."""

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from registry.filter.condition import All, Any, Call, Condition, Relation, Test
from registry.filter.fields import Type

EARTH_RADIUS_M = 6_371_008.8
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}

# By name: a str for TEXT and ENUM, an int or None for NUMBER and TIME (UTC milliseconds), a dict of texts for a MAP.
Row: TypeAlias = Mapping[str, object]
# Whether the row is meant by a function and its arguments.
Answer: TypeAlias = Callable[[str, tuple[str | float, ...], Row], bool]


def holds(condition: Condition, row: Row, answer: Answer) -> bool:
    match condition:
        case All(parts):
            return all(holds(part, row, answer) for part in parts)
        case Any(parts):
            return any(holds(part, row, answer) for part in parts)
        case Call(name, arguments, negated):
            return answer(name, arguments, row) != negated
        case Test():
            return _passes(condition, row[condition.field.name]) != condition.negated


def holds_of(relation: Relation, wanted: object, value: str) -> bool:
    """Whether a text passes a test."""
    match relation:
        case Relation.PRESENT:
            return value != ""
        case Relation.MATCHES | Relation.CONTAINS:
            assert isinstance(wanted, tuple)
            return _matches(wanted, value, relation is Relation.CONTAINS)
    assert isinstance(wanted, str)
    return _compare(relation, (value > wanted) - (value < wanted))


def is_near(place: tuple[float, float], latitude: float, longitude: float, radius_m: float) -> bool:
    """Whether a place (latitude, longitude) is within `radius_m` on a sphere, by the haversine of the angle between."""
    here, there = math.radians(place[0]), math.radians(latitude)
    half_lat, half_lon = (here - there) / 2, math.radians(place[1] - longitude) / 2
    haversine = math.sin(half_lat) ** 2 + math.cos(here) * math.cos(there) * math.sin(half_lon) ** 2
    return haversine <= haversine_limit(radius_m)


def haversine_limit(radius_m: float) -> float:
    return math.sin(radius_m / EARTH_RADIUS_M / 2) ** 2


def _passes(test: Test, value: object) -> bool:
    if test.field.type is Type.MAP:
        assert isinstance(value, dict)
        if test.key not in value:
            return False
        return test.relation is Relation.PRESENT or holds_of(test.relation, test.value, value[test.key])
    if isinstance(value, str):
        return holds_of(test.relation, test.value, value)
    if value is None or test.relation is Relation.PRESENT:
        return value is not None
    assert isinstance(value, int)
    assert isinstance(test.value, int)
    return _compare(test.relation, (value > test.value) - (value < test.value))


def _compare(relation: Relation, sign: int) -> bool:
    match relation:
        case Relation.EQUAL:
            return sign == 0
        case Relation.LESS:
            return sign < 0
        case Relation.LESS_EQUAL:
            return sign <= 0
        case Relation.GREATER:
            return sign > 0
    return sign >= 0


def _matches(parts: tuple[str, ...], value: str, any_case: bool) -> bool:
    if any_case:
        parts, value = tuple(part.translate(_ASCII_LOWER) for part in parts), value.translate(_ASCII_LOWER)
    first, *inner, last = parts
    if not value.startswith(first) or not value.endswith(last) or len(value) < len(first) + len(last):
        return False
    at, end = len(first), len(value) - len(last)
    for part in inner:
        found = value.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return at <= end
