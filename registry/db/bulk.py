"""Many rows at once, past SQLAlchemy: a dictionary for each row costs more than the database itself."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    String,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.exc import OperationalError


def insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows of plain values in the order of `columns`; truth as 0 and 1, which both drivers take as it is.

    Raises: sqlalchemy.exc.DBAPIError.
    """
    if not rows:
        return
    names = ", ".join(columns)
    if connection.dialect.name != "postgresql":
        marks = ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(rows))  # noqa: S608
        return
    statement = f"COPY {table.name} ({names}) FROM STDIN"
    try:
        with connection.connection.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[attr-defined]
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as exc:
        raise OperationalError(statement, None, exc) from exc


def among(connection: Connection, column: Column[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """`column IN (values)` by one parameter, however many texts or numbers there are."""
    values = list(values)
    if connection.dialect.name == "postgresql":
        if isinstance(column.type, String):
            # As JSON: an array of texts the driver would write down one by one.
            listed = func.json_array_elements_text(cast(literal(json.dumps(values)), JSON)).table_valued("value")
            return column == any_(func.array(select(listed.c.value).scalar_subquery(), type_=ARRAY(Text())))
        return column == any_(literal(values, ARRAY(column.type)))
    listed = func.json_each(json.dumps(values)).table_valued("value")
    return column.in_(select(listed.c.value))


def placed(connection: Connection, values: Sequence[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Numbers as a table to join, by one parameter: the number, and its place in `values`, from 0."""
    value = column("value", BigInteger)
    if connection.dialect.name == "postgresql":
        given = func.unnest(literal(list(values), ARRAY(BigInteger))).table_valued(value, with_ordinality="place")
        named = given.render_derived()
        return named.c.value, type_coerce(named.c.place, BigInteger) - 1
    listed = func.json_each(json.dumps(list(values))).table_valued(value, column("key", BigInteger))
    return listed.c.value, listed.c.key


def among_bound(dialect: str, column: Column[Any], name: str) -> ColumnElement[bool]:
    """As `among`, for a statement that is made once and gets its values, as `bound` makes them, by a name."""
    if dialect == "postgresql":
        return column == any_(bindparam(name, type_=ARRAY(column.type)))
    return column.in_(select(func.json_each(bindparam(name, type_=Text())).table_valued("value").c.value))


def bound(connection: Connection, values: Sequence[int]) -> list[int] | str:
    return list(values) if connection.dialect.name == "postgresql" else json.dumps(list(values))
