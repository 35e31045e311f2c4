"""Operators in SQL. A deleted one stays as a row, so that a watcher that comes back later still hears of it."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from registry.db import sequence
from registry.db.schema import operators
from registry.devices.model import Operator, OperatorSpec

_filters_decoder = msgspec.json.Decoder(tuple[str, ...])


def insert_operator(connection: Connection, spec: OperatorSpec, token_sha256: bytes, now_ms: int) -> None:
    """Add an operator whose name is free, or was that of a deleted one."""
    revision = sequence.take(connection, revisions=1).revision
    # Taking the revision made us the only writer.
    last = connection.execute(select(func.max(operators.c.operator_num))).scalar_one_or_none() or 0
    values = {
        **_columns(spec),
        "operator_num": last + 1,
        "token_sha256": token_sha256,
        "is_deleted": False,
        "revision": revision,
        "create_time_ms": now_ms,
        "update_time_ms": now_ms,
    }
    reused = update(operators).where(operators.c.operator_id == spec.operator_id).values(**values)
    if not connection.execute(reused).rowcount:
        connection.execute(insert(operators).values(operator_id=spec.operator_id, **values))


def update_operator(connection: Connection, spec: OperatorSpec, now_ms: int) -> None:
    _change(connection, spec.operator_id, now_ms, **_columns(spec))


def replace_token(connection: Connection, operator_id: str, token_sha256: bytes, now_ms: int) -> None:
    _change(connection, operator_id, now_ms, token_sha256=token_sha256)


def delete_operator(connection: Connection, operator_id: str, now_ms: int) -> None:
    _change(connection, operator_id, now_ms, token_sha256=b"", is_deleted=True)


def find_operator(connection: Connection, operator_id: str) -> Operator | None:
    query = select(operators).where(operators.c.operator_id == operator_id, operators.c.is_deleted.is_(False))
    row = connection.execute(query).one_or_none()
    return _operator(row) if row else None


def list_operators(connection: Connection, after_num: int, limit: int) -> list[Operator]:
    """Operators with a number above `after_num`, in the order of their numbers."""
    query = select(operators).where(operators.c.operator_num > after_num, operators.c.is_deleted.is_(False))
    return [_operator(row) for row in connection.execute(query.order_by(operators.c.operator_num).limit(limit))]


def operators_since(connection: Connection, revision: int) -> list[Operator]:
    """Operators changed after `revision`, deleted ones too, in the order of their change."""
    query = select(operators).where(operators.c.revision > revision).order_by(operators.c.revision)
    return [_operator(row) for row in connection.execute(query)]


def _change(connection: Connection, operator_id: str, now_ms: int, **values: object) -> None:
    revision = sequence.take(connection, revisions=1).revision
    change = update(operators).where(operators.c.operator_id == operator_id)
    connection.execute(change.values(revision=revision, update_time_ms=now_ms, **values))


def _columns(spec: OperatorSpec) -> dict[str, object]:
    return {
        "display_name": spec.display_name,
        "subscribe_filters": msgspec.json.encode(spec.subscribe_filters).decode(),
        "publish_filters": msgspec.json.encode(spec.publish_filters).decode(),
        "is_disabled": spec.disabled,
    }


def _operator(row: Row[Any]) -> Operator:
    return Operator(
        operator_num=row.operator_num,
        spec=OperatorSpec(
            operator_id=row.operator_id,
            display_name=row.display_name,
            subscribe_filters=_filters_decoder.decode(row.subscribe_filters),
            publish_filters=_filters_decoder.decode(row.publish_filters),
            disabled=row.is_disabled,
        ),
        token_sha256=row.token_sha256,
        is_active=not (row.is_disabled or row.is_deleted),
        revision=row.revision,
        create_time_ms=row.create_time_ms,
        update_time_ms=row.update_time_ms,
    )
