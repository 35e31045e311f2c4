"""What was answered to request ids, in SQL."""

import msgspec
from sqlalchemy import Connection, delete, insert, select

from registry.db.schema import request_ids

FORGOTTEN_AT_ONCE = 1000


class Answered(msgspec.Struct, frozen=True):
    """`answer` as registry.api.replay has packed it."""

    method: str
    request_sha256: bytes
    answer: bytes


def find_answer(connection: Connection, actor: str, request_id: str, since_ms: int) -> Answered | None:
    """Unless it was given before `since_ms`."""
    columns = request_ids.c
    query = select(columns.method, columns.request_sha256, columns.answer).where(
        columns.actor == actor, columns.request_id == request_id, columns.create_time_ms >= since_ms
    )
    row = connection.execute(query).one_or_none()
    return Answered(row[0], bytes(row[1]), bytes(row[2])) if row else None


def insert_answer(connection: Connection, actor: str, request_id: str, answered: Answered, now_ms: int) -> None:
    """In the place of one that is no longer remembered."""
    columns = request_ids.c
    connection.execute(delete(request_ids).where(columns.actor == actor, columns.request_id == request_id))
    connection.execute(
        insert(request_ids).values(
            actor=actor,
            request_id=request_id,
            method=answered.method,
            request_sha256=answered.request_sha256,
            answer=answered.answer,
            create_time_ms=now_ms,
        )
    )


def forget_before(connection: Connection, time_ms: int) -> int:
    """Forget some of the answers that were given before; returns how many: call again until it is 0."""
    columns = request_ids.c
    old = select(columns.actor, columns.request_id).where(columns.create_time_ms < time_ms)
    keys = connection.execute(old.order_by(columns.create_time_ms).limit(FORGOTTEN_AT_ONCE)).all()
    for actor, request_id in keys:
        connection.execute(delete(request_ids).where(columns.actor == actor, columns.request_id == request_id))
    return len(keys)
