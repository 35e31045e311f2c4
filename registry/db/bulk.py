"""Many rows at once, past SQLAlchemy: a dictionary for each row costs more than the database itself."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from sqlalchemy import ARRAY, Column, ColumnElement, Connection, String, Table, Text, any_, func, literal, select
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
        # Not of the column's own length: PostgreSQL cuts to it what is longer, without a word.
        kind = Text() if isinstance(column.type, String) else column.type
        return column == any_(literal(values, ARRAY(kind)))
    listed = func.json_each(json.dumps(values)).table_valued("value")
    return column.in_(select(listed.c.value))
