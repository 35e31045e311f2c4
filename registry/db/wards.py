"""Boundaries of wards in SQL."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from registry.db import sequence
from registry.db.schema import ward_boundaries


class StoredBoundary(msgspec.Struct, frozen=True):
    """`boundary`: well-known binary, longitude before latitude."""

    ward_code: str
    boundary: bytes
    source: str
    load_time_ms: int


def boundaries_revision(connection: Connection) -> int:
    """Revision of the load in force; 0: none was ever loaded."""
    return connection.execute(select(func.max(ward_boundaries.c.revision))).scalar_one() or 0


def list_boundaries(connection: Connection) -> list[StoredBoundary]:
    """In the order of their codes."""
    c = ward_boundaries.c
    query = select(c.ward_code, c.boundary, c.source, c.load_time_ms).order_by(c.ward_code)
    return [StoredBoundary(*row) for row in connection.execute(query)]


def boundary_sources(connection: Connection) -> dict[str, tuple[str, int]]:
    """Where each boundary came from and when it was loaded, by ward."""
    c = ward_boundaries.c
    rows = connection.execute(select(c.ward_code, c.source, c.load_time_ms))
    return {row.ward_code: (row.source, row.load_time_ms) for row in rows}


def replace_boundaries(connection: Connection, shapes: Sequence[tuple[str, bytes]], source: str, now_ms: int) -> None:
    """Args: shapes: (ward_code, well-known binary), at least one."""
    revision = sequence.take(connection, revisions=1).revision
    connection.execute(delete(ward_boundaries))
    connection.execute(
        insert(ward_boundaries),
        [
            {"ward_code": code, "boundary": shape, "source": source, "load_time_ms": now_ms, "revision": revision}
            for code, shape in shapes
        ],
    )
