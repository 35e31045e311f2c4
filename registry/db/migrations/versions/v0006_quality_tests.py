"""Quality tests of a type's metrics.

Revision: 0006. Written out, not taken from registry.db.schema: a released step never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("device_type_metrics", sa.Column("tests", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("device_type_metrics", "tests")
