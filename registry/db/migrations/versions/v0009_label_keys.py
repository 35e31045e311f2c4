"""How many devices have each key of a label.

Revision: 0009. Written out, not taken from registry.db.schema: a released step never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    key = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")
    op.create_table(
        "label_keys",
        sa.Column("key", key, primary_key=True),
        sa.Column("devices", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO label_keys (key, devices) SELECT key, count(*) FROM device_labels WHERE value <> '' GROUP BY key"
    )
    op.execute("INSERT INTO label_keys (key, devices) SELECT '', count(*) FROM devices")


def downgrade() -> None:
    op.drop_table("label_keys")
