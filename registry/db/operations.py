"""Operations in SQL."""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from registry.db import sequence
from registry.db.schema import operations
from registry.operations.model import Ending, Failure, Operation, Progress, Step

_progress = msgspec.msgpack.Decoder(Progress)
_failures = msgspec.msgpack.Decoder(tuple[Failure, ...])
_ending = msgspec.msgpack.Decoder(Ending)
_encode = msgspec.msgpack.encode


def insert_operation(
    connection: Connection,
    prefix: str,
    method: str,
    actor: str,
    request: bytes,
    progress: Progress,
    now_ms: int,
    worker: str = "",
) -> str:
    """Returns its id: `prefix` and a number that is never used again. Args: worker: who is at it already."""
    number = sequence.take(connection, operations=1).operation_num
    operation_id = f"{prefix}-{number}"
    connection.execute(
        insert(operations).values(
            operation_num=number,
            operation_id=operation_id,
            actor=actor,
            method=method,
            request=request,
            progress=_counts(progress),
            failures=_encode(progress.failures) if progress.failures else None,
            is_done=False,
            is_cancel_requested=False,
            position=0,
            worker=worker,
            worker_time_ms=now_ms if worker else 0,
            create_time_ms=now_ms,
            update_time_ms=now_ms,
        )
    )
    return operation_id


def find_operation(connection: Connection, operation_id: str) -> Operation | None:
    row = connection.execute(select(operations).where(operations.c.operation_id == operation_id)).one_or_none()
    return _operation(row) if row else None


def list_operations(
    connection: Connection, before_num: int, limit: int, *, is_done: bool | None = None, actor: str = ""
) -> list[Operation]:
    """The newest first, those with a number below `before_num` (0: all)."""
    query = select(operations).order_by(operations.c.operation_num.desc()).limit(limit)
    if before_num:
        query = query.where(operations.c.operation_num < before_num)
    if is_done is not None:
        query = query.where(operations.c.is_done.is_(is_done))
    if actor:
        query = query.where(operations.c.actor == actor)
    return [_operation(row) for row in connection.execute(query)]


def has_open(connection: Connection, attended: Collection[str]) -> bool:
    """Whether there is one that `claim` may take, now or later."""
    ours = operations.c.is_done.is_(False) & operations.c.method.not_in(attended)
    return connection.execute(select(operations.c.operation_num).where(ours).limit(1)).first() is not None


def claim(
    connection: Connection, worker: str, now_ms: int, stale_ms: int, limit: int, attended: Collection[str] = ()
) -> list[Operation]:
    """Take over open operations that nobody works on, or whose worker was last heard before `stale_ms`.

    Args: attended: methods whose operations nobody else can go on with.
    """
    free = or_(operations.c.worker == "", operations.c.worker_time_ms < stale_ms)
    ours = operations.c.is_done.is_(False) & operations.c.method.not_in(attended)
    query = select(operations.c.operation_num).where(ours, free)
    numbers = list(connection.execute(query.order_by(operations.c.operation_num).limit(limit)).scalars())
    if not numbers:
        return []
    mine = operations.c.operation_num.in_(numbers)
    connection.execute(update(operations).where(mine).values(worker=worker, worker_time_ms=now_ms))
    return [_operation(row) for row in connection.execute(select(operations).where(mine))]


def heartbeat(connection: Connection, worker: str, now_ms: int) -> None:
    mine = (operations.c.worker == worker) & operations.c.is_done.is_(False)
    connection.execute(update(operations).where(mine).values(worker_time_ms=now_ms))


def release(connection: Connection, worker: str) -> None:
    """Leave everything that `worker` has not finished to whoever comes next."""
    mine = (operations.c.worker == worker) & operations.c.is_done.is_(False)
    connection.execute(update(operations).where(mine).values(worker="", worker_time_ms=0))


def save_step(connection: Connection, operation: Operation, step: Step, now_ms: int) -> None:
    """Args: operation: as it was before the step."""
    values: dict[str, Any] = {
        "position": step.position,
        "progress": _counts(step.progress),
        "is_done": step.is_over,
        "worker_time_ms": now_ms,
        "update_time_ms": now_ms,
    }
    if step.progress.failures is not operation.progress.failures:
        values["failures"] = _encode(step.progress.failures)
    connection.execute(update(operations).where(operations.c.operation_num == operation.operation_num).values(**values))


def end(connection: Connection, operation_num: int, ending: Ending, now_ms: int) -> None:
    change = update(operations).where(operations.c.operation_num == operation_num)
    connection.execute(change.values(is_done=True, error=_encode(ending), update_time_ms=now_ms))


def lost(connection: Connection, attended: Collection[str], stale_ms: int) -> list[Operation]:
    """Open ones of these methods whose worker was last heard before `stale_ms`."""
    gone = operations.c.is_done.is_(False) & (operations.c.worker_time_ms < stale_ms)
    found = connection.execute(select(operations).where(gone, operations.c.method.in_(attended)))
    return [_operation(row) for row in found]


def called_off(connection: Connection, operation_nums: Collection[int]) -> dict[int, bool]:
    """Those of the operations that are not to go on: whether they were cancelled; else they have ended, or are gone."""
    columns = (operations.c.operation_num, operations.c.is_done, operations.c.is_cancel_requested)
    rows = connection.execute(select(*columns).where(operations.c.operation_num.in_(operation_nums)))
    found = {row.operation_num: row for row in rows}
    return {
        num: num in found and not found[num].is_done
        for num in operation_nums
        if num not in found or found[num].is_done or found[num].is_cancel_requested
    }


def note(
    connection: Connection, operation_num: int, progress: Progress, now_ms: int, *, has_new_failures: bool = True
) -> None:
    """How far one is that its worker is at; never less far than before. Not of one that has ended."""
    values: dict[str, Any] = {
        "position": progress.processed,
        "progress": _counts(progress),
        "worker_time_ms": now_ms,
        "update_time_ms": now_ms,
    }
    if has_new_failures and progress.failures:
        values["failures"] = _encode(progress.failures)
    is_it = (operations.c.operation_num == operation_num) & operations.c.is_done.is_(False)
    connection.execute(update(operations).where(is_it, operations.c.position <= progress.processed).values(**values))


def finish(connection: Connection, operation_num: int, now_ms: int) -> None:
    change = update(operations).where(operations.c.operation_num == operation_num)
    connection.execute(change.values(is_done=True, update_time_ms=now_ms))


def disown(connection: Connection, actor: str) -> None:
    """The account is gone; what comes to have its id has begun none of its operations."""
    change = update(operations).where(operations.c.actor == actor)
    connection.execute(change.values(actor=f"{actor} (deleted)"))


def request_cancel(connection: Connection, operation_num: int) -> None:
    change = update(operations).where(operations.c.operation_num == operation_num)
    connection.execute(change.values(is_cancel_requested=True))


def delete_operation(connection: Connection, operation_num: int) -> None:
    connection.execute(delete(operations).where(operations.c.operation_num == operation_num))


def delete_done_before(connection: Connection, time_ms: int) -> None:
    old = operations.c.is_done.is_(True) & (operations.c.update_time_ms < time_ms)
    connection.execute(delete(operations).where(old))


def _counts(progress: Progress) -> bytes:
    return _encode(msgspec.structs.replace(progress, failures=()))


def _operation(row: Row[Any]) -> Operation:
    progress = _progress.decode(row.progress)
    if row.failures is not None:
        progress = msgspec.structs.replace(progress, failures=_failures.decode(row.failures))
    return Operation(
        operation_num=row.operation_num,
        operation_id=row.operation_id,
        actor=row.actor,
        method=row.method,
        request=row.request,
        progress=progress,
        ending=_ending.decode(row.error) if row.error is not None else None,
        is_done=row.is_done,
        is_cancel_requested=row.is_cancel_requested,
        position=row.position,
        worker=row.worker,
        worker_time_ms=row.worker_time_ms,
        create_time_ms=row.create_time_ms,
        update_time_ms=row.update_time_ms,
    )
