"""What of the documents of devices the store of readings has: since which revision, and the last calibration.

Documents of before have revision 1: the store has none of them, notices it, and gets all.

Revision: 0008. Written out, not taken from registry.db.schema: a released step never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TABLE = "device_state_documents"
_INDEX = "ix_device_state_documents_reported"


def upgrade() -> None:
    op.add_column(_TABLE, sa.Column("last_calibration", sa.String(10), nullable=False, server_default=""))
    op.add_column(_TABLE, sa.Column("reported_revision", sa.BigInteger, nullable=False, server_default="1"))
    op.create_index(_INDEX, _TABLE, ["reported_revision", "device_num"])


def downgrade() -> None:
    op.drop_index(_INDEX, _TABLE)
    op.drop_column(_TABLE, "reported_revision")
    op.drop_column(_TABLE, "last_calibration")
