"""Filters in SQL: the same answers as registry.filter.evaluate, on SQLite and PostgreSQL. A test is never NULL."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    String,
    and_,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from registry.filter import condition as tree
from registry.filter.condition import Call, Condition, Relation, Test
from registry.filter.evaluate import holds_of

Clause: TypeAlias = ColumnElement[bool]
# The SQL of a function that is a term of its own, from its arguments.
Caller: TypeAlias = Callable[..., Clause]


class Binding(Protocol):
    """Where a field is kept."""

    def clause(self, test: Test, dialect: str) -> Clause:
        """Whether it passes, `negated` left aside; neither may be NULL."""


def clause_of(
    condition: Condition, bindings: Mapping[str, Binding], callers: Mapping[str, Caller], dialect: str
) -> Clause:
    """Args: dialect: `sqlite` or `postgresql`."""
    match condition:
        case tree.All(parts):
            return and_(true(), *(clause_of(part, bindings, callers, dialect) for part in parts))
        case tree.Any(parts):
            return or_(false(), *(clause_of(part, bindings, callers, dialect) for part in parts))
        case Call(name, arguments, negated):
            found = callers[name](*arguments)
            return not_(found) if negated else found
        case Test(field=field, negated=negated):
            found = bindings[field.name].clause(condition, dialect)
            return not_(found) if negated else found


class Text:
    """A column of texts; NULL stands for the empty one if it may be NULL."""

    def __init__(self, column: ColumnElement[Any]) -> None:
        self._column = column

    def clause(self, test: Test, dialect: str) -> Clause:
        nullable = getattr(self._column, "nullable", True)
        passes = text_clause(self._column, test.relation, test.value, dialect)
        if not nullable:
            return passes
        empty = holds_of(test.relation, test.value, "")
        return or_(self._column.is_(None), passes) if empty else and_(self._column.is_not(None), passes)


class Point:
    """A column of whole numbers; NULL: absent, and so is `absent` if it is given."""

    def __init__(self, column: ColumnElement[Any], absent: int | None = None) -> None:
        self._column, self._absent = column, absent

    def clause(self, test: Test, dialect: str) -> Clause:
        column = self._column
        present: list[Clause] = []
        if getattr(column, "nullable", True):
            present.append(column.is_not(None))
        if self._absent is not None:
            present.append(column != self._absent)
        if test.relation is Relation.PRESENT:
            return and_(true(), *present)
        # As 64 bits: the column may have fewer, and the number of the filter not fit into it.
        return and_(*present, compare(column, test.relation, literal(test.value, BigInteger())))


class Word:
    """A column, or any expression, that has one of a few values; each of the field's words stands for one of them."""

    def __init__(self, column: ColumnElement[Any], values: Mapping[str, Any]) -> None:
        self._column, self._values = column, values

    def clause(self, test: Test, dialect: str) -> Clause:
        return true() if test.relation is Relation.PRESENT else self._column == self._values[str(test.value)]


class Reference:
    """A number that stands for a row of another table, which has an id; 0: for none, whose id is empty."""

    def __init__(self, column: ColumnElement[Any], number: ColumnElement[Any], name: ColumnElement[Any]) -> None:
        """Args: column: NOT NULL, never negative. number, name: columns of the other table, each unique."""
        self._column, self._number, self._name = column, number, name

    def clause(self, test: Test, dialect: str) -> Clause:
        if test.relation is Relation.PRESENT:
            return self._column != 0
        if test.relation is Relation.EQUAL and test.value == "":
            return self._column == 0
        named = text_clause(self._name, test.relation, test.value, dialect)
        if test.relation is Relation.EQUAL:
            # Looked up once, and nothing to join for a planner who might begin with it.
            found = select(self._number).where(named).correlate(None).scalar_subquery()
            return self._column == func.coalesce(found, -1)
        # The query round it may have the same table for another purpose.
        meant = self._column.in_(select(self._number).where(named).correlate(None))
        return or_(self._column == 0, meant) if holds_of(test.relation, test.value, "") else meant


class Labels:
    """A table of (key, value, number of the owner)."""

    def __init__(self, table: FromClause, owner: str, number: ColumnElement[Any], *, for_few: bool = False) -> None:
        """Args:
        owner: the table's column that `number` is held against.
        for_few: only some owners are looked at, so the labels of each are to be looked up.
        """
        self._table, self._owner, self._number, self._for_few = table, owner, number, for_few

    def clause(self, test: Test, dialect: str) -> Clause:
        label = self._table.alias()
        found = select(1).where(label.c[self._owner] == self._number, label.c.key == test.key)
        if test.relation is not Relation.PRESENT:
            found = found.where(text_clause(label.c.value, test.relation, test.value, dialect))
        # With an offset PostgreSQL does not make a join of it, which might begin with all that have the label.
        return found.offset(0).exists() if self._for_few and dialect == "postgresql" else found.exists()


def text_clause(column: ColumnElement[Any], relation: Relation, wanted: object, dialect: str) -> Clause:
    """A test of a text that is not NULL."""
    match relation:
        case Relation.PRESENT:
            return column != ""
        case Relation.MATCHES | Relation.CONTAINS:
            assert isinstance(wanted, tuple)
            return _pattern(column, wanted, relation is Relation.CONTAINS, dialect)
        case Relation.EQUAL:
            return column == literal(wanted, String())
    return compare(by_code_point(column, dialect), relation, literal(wanted, String()))


def by_code_point(column: ColumnElement[Any], dialect: str) -> ColumnElement[Any]:
    """The text, compared and ordered by the numbers of its characters: what SQLite does anyway."""
    return column.collate("C") if dialect == "postgresql" else column


def compare(column: ColumnElement[Any], relation: Relation, value: ColumnElement[Any]) -> Clause:
    match relation:
        case Relation.LESS:
            return column < value
        case Relation.LESS_EQUAL:
            return column <= value
        case Relation.GREATER:
            return column > value
        case Relation.GREATER_EQUAL:
            return column >= value
    return column == value


def _pattern(column: ColumnElement[Any], parts: tuple[str, ...], any_case: bool, dialect: str) -> Clause:
    if dialect == "sqlite" and not any_case:
        glob = "*".join("".join(f"[{char}]" if char in "*?[" else char for char in part) for part in parts)
        return column.bool_op("GLOB")(literal(glob, String()))
    escaped = (part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for part in parts)
    like = "%".join(escaped)
    if dialect == "sqlite":
        # SQLite's LIKE takes ASCII letters of any case for the same, and no others: just what is wanted.
        return column.like(literal(like, String()), escape="\\")
    text = by_code_point(column, dialect)
    return (func.lower(text) if any_case else text).like(
        func.lower(literal(like, String()).collate("C")) if any_case else literal(like, String()), escape="\\"
    )
