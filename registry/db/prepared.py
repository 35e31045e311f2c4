"""Queries that are asked all the time, put together once and run past SQLAlchemy: on the way through it a query of one
device takes several times as long as in the database."""

from typing import Any, TypeAlias

from sqlalchemy import Connection, Select
from sqlalchemy.engine import Dialect

# Values in the order of the query's columns, as the driver has them: of SQLite truth is 0 or 1.
PlainRow: TypeAlias = tuple[Any, ...]


class Prepared:
    """A query with named parameters. What it is asked with goes to the driver as it is, and what comes back comes as it
    is: for numbers, texts and bytes, on which both drivers agree with SQLAlchemy."""

    def __init__(self, query: Select[Any]) -> None:
        self._query = query
        # By dialect: the text, and the values that are part of it.
        self._made: dict[str, tuple[str, dict[str, Any]]] = {}

    def rows(self, connection: Connection, **values: Any) -> list[PlainRow]:
        """All of them. Raises: sqlalchemy.exc.SQLAlchemyError."""
        dialect = connection.dialect
        made = self._made.get(dialect.name)
        if made is None:
            made = self._made[dialect.name] = _made(self._query, dialect)
        text, constants = made
        try:
            # The connection of the driver's own: no cursor is left open, no column is described.
            driver: Any = connection.connection.dbapi_connection
            found: list[PlainRow] = driver.execute(text, {**constants, **values}).fetchall()
        except dialect.loaded_dbapi.Error:
            # Once more: SQLAlchemy tells a connection that is lost from all else, and throws it away.
            found = [tuple(row) for row in connection.execute(self._query, values)]
        return found

    def row(self, connection: Connection, **values: Any) -> PlainRow | None:
        """The first one; None: there is none. Raises: sqlalchemy.exc.SQLAlchemyError."""
        found = self.rows(connection, **values)
        return found[0] if found else None


def _made(query: Select[Any], dialect: Dialect) -> tuple[str, dict[str, Any]]:
    kind: Any = type(dialect)
    # By itself SQLite's has parameters without names.
    compiled: Any = query.compile(dialect=kind(paramstyle="named") if dialect.name == "sqlite" else dialect)
    return str(compiled), {name: bind.value for bind, name in compiled.bind_names.items() if not bind.required}
