"""How the payloads of device types are decoded.

Revision: 0003. Written out, not taken from registry.db.schema: a released step never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("decoder", "vectors"):
        op.add_column("device_types", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("device_type_metrics", sa.Column("source", sa.String(127), nullable=False, server_default=""))
    op.add_column("device_type_metrics", sa.Column("source_unit", sa.String(63), nullable=False, server_default=""))


def downgrade() -> None:
    for table, name in (
        ("device_type_metrics", "source_unit"),
        ("device_type_metrics", "source"),
        ("device_types", "vectors"),
        ("device_types", "decoder"),
    ):
        op.drop_column(table, name)
