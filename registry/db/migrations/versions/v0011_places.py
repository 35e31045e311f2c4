"""The index of places by bands of latitude, so that what is near is read off it alone, not what lies east and west too.

Revision: 0011. Written out, not taken from registry.db.schema: a released step never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_PLACE = "ix_devices_place"


def upgrade() -> None:
    op.drop_index(_PLACE, "devices")
    band = sa.text("(CAST(latitude * 200 AS INTEGER))")
    op.create_index(_PLACE, "devices", [band, "longitude", "latitude", "device_num"])


def downgrade() -> None:
    op.drop_index(_PLACE, "devices")
    op.create_index(_PLACE, "devices", ["latitude", "longitude", "device_num"])
