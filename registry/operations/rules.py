"""Operations: begin, look up, cancel, delete. Each function runs in one transaction."""

from sqlalchemy import Connection

from registry.audit.record import changed
from registry.db import operations as db
from registry.db import sequence
from registry.errors import NotFoundError, PreconditionError
from registry.operations.model import Operation, Progress


def begin(connection: Connection, prefix: str, method: str, actor: str, request: bytes, total: int) -> Operation:
    """Nobody works on it until the Runner of some registry process takes it. Args: total: things to do, about."""
    now_ms = sequence.now_ms()
    operation_id = db.insert_operation(connection, prefix, method, actor, request, Progress(total), now_ms)
    return get(connection, operation_id)


def begin_attended(
    connection: Connection,
    worker: str,
    prefix: str,
    method: str,
    actor: str,
    total: int,
    told: dict[str, object] | None,
) -> Operation:
    """One that `worker` is at already. Args: total: 0: nobody knows. told: for the audit; None: nothing."""
    operation_id = db.insert_operation(
        connection, prefix, method, actor, b"", Progress(total), sequence.now_ms(), worker
    )
    if told is not None:
        changed(f"operations/{operation_id}", None, told)
    return get(connection, operation_id)


def get(connection: Connection, operation_id: str, owner: str = "") -> Operation:
    """Args: owner: whose it must be; empty: anybody's. Raises: NotFoundError."""
    found = db.find_operation(connection, operation_id)
    if found is None or (owner and found.actor != owner):
        text = f"there is no operation {operation_id}; those that are done are kept for 30 days"
        raise NotFoundError(text, reason="OPERATION_NOT_FOUND", metadata={"operation": operation_id})
    return found


def cancel(connection: Connection, operation_id: str, owner: str = "") -> None:
    """It ends before its next chunk; what is done stays done. One that has ended stays as it is.

    Raises: NotFoundError.
    """
    found = get(connection, operation_id, owner)
    if not found.is_done and not found.is_cancel_requested:
        db.request_cancel(connection, found.operation_num)
        changed(f"operations/{operation_id}", {"is_cancel_requested": False}, {"is_cancel_requested": True})


def delete(connection: Connection, operation_id: str, owner: str = "") -> None:
    """Raises: NotFoundError, PreconditionError while it runs."""
    found = get(connection, operation_id, owner)
    if not found.is_done:
        raise PreconditionError(
            f"{operation_id} is running; cancel it first",
            reason="OPERATION_RUNNING",
            metadata={"operation": operation_id},
        )
    db.delete_operation(connection, found.operation_num)
    changed(f"operations/{operation_id}", {"actor": found.actor, "method": found.method}, None)
