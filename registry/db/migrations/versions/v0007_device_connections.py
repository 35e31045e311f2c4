"""Devices that are connected to several ingest nodes at once.

Revision: 0007. Written out, not taken from registry.db.schema: a released step never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "device_connections",
        sa.Column("device_num", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("node", sa.String(63), primary_key=True),
        sa.Column("connect_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_device_connections_node", "device_connections", ["node"])


def downgrade() -> None:
    op.drop_table("device_connections")
