"""Lists of the audit log by method and request id; failures of operations apart from their progress.

Revision: 0005. Written out, not taken from registry.db.schema: a released step never changes.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_operations = sa.table(
    "operations",
    sa.column("operation_num", sa.BigInteger),
    sa.column("progress", sa.LargeBinary),
    sa.column("failures", sa.LargeBinary),
)


def _rewrite(parted: Callable[[dict[str, Any], list[Any]], tuple[dict[str, Any], list[Any]]]) -> None:
    connection = op.get_bind()
    for number, progress, failures in connection.execute(sa.select(_operations)).all():
        known = msgspec.msgpack.decode(failures) if failures else []
        counts, rest = parted(msgspec.msgpack.decode(progress), known)
        values = {
            "progress": msgspec.msgpack.encode(counts),
            "failures": msgspec.msgpack.encode(rest) if rest else None,
        }
        connection.execute(sa.update(_operations).where(_operations.c.operation_num == number).values(values))


def upgrade() -> None:
    op.create_index("ix_audit_events_method", "audit_events", ["method", "event_num"])
    op.create_index("ix_audit_events_request", "audit_events", ["request_id", "event_num"])
    op.add_column("operations", sa.Column("failures", sa.LargeBinary))
    _rewrite(lambda progress, _: (progress, progress.pop("failures", [])))


def downgrade() -> None:
    _rewrite(lambda progress, failures: (progress | {"failures": failures}, []))
    op.drop_column("operations", "failures")
    op.drop_index("ix_audit_events_request", "audit_events")
    op.drop_index("ix_audit_events_method", "audit_events")
