"""External ids of devices; operators.

Revision: 0002. Written out, not taken from registry.db.schema: a released step never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("devices", sa.Column("external_id", sa.String(191), nullable=True))
    op.create_index("ux_devices_external_id", "devices", ["external_id"], unique=True)
    op.create_table(
        "operators",
        sa.Column("operator_num", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("operator_id", sa.String(63), nullable=False, unique=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("subscribe_filters", sa.Text, nullable=False),
        sa.Column("publish_filters", sa.Text, nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("is_disabled", sa.Boolean, nullable=False),
        sa.Column("is_deleted", sa.Boolean, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("update_time_ms", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("operators")
    op.drop_index("ux_devices_external_id", "devices")
    op.drop_column("devices", "external_id")
