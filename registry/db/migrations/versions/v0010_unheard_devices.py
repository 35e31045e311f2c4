"""Which devices were never heard; beside the times of the others their types, so that an index alone judges them; and
an index of what was refused.

Revision: 0010. Written out, not taken from registry.db.schema: a released step never changes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_STATE = "device_state"
_REFUSED = sa.text("result <> 'OK'")
_SEEN, _READING = "ix_device_state_seen", "ix_device_state_reading"


def upgrade() -> None:
    op.create_table(
        "unheard_devices",
        sa.Column(
            "device_num",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("type_num", sa.Integer, nullable=False),
    )
    op.execute(
        "INSERT INTO unheard_devices (device_num, type_num) SELECT device_num, type_num FROM devices AS d "
        "WHERE NOT EXISTS (SELECT 1 FROM device_state AS s WHERE s.device_num = d.device_num) ORDER BY device_num"
    )
    # Without its indices: they are made anew anyway, and there may be a million rows.
    op.drop_index(_SEEN, _STATE)
    op.drop_index(_READING, _STATE)
    op.add_column(_STATE, sa.Column("type_num", sa.Integer, nullable=False, server_default="0"))
    op.execute(
        "UPDATE device_state SET type_num = d.type_num FROM devices AS d WHERE d.device_num = device_state.device_num"
    )
    op.create_index(_SEEN, _STATE, ["last_seen_ms", "device_num", "type_num", "is_connected"])
    op.create_index(_READING, _STATE, ["last_reading_ms", "device_num", "type_num"])
    op.create_index(
        "ix_audit_events_refused", "audit_events", ["event_num"], sqlite_where=_REFUSED, postgresql_where=_REFUSED
    )


def downgrade() -> None:
    op.drop_index("ix_audit_events_refused", "audit_events")
    op.drop_index(_READING, _STATE)
    op.drop_index(_SEEN, _STATE)
    op.drop_column(_STATE, "type_num")
    op.create_index(_SEEN, _STATE, ["last_seen_ms", "device_num"])
    op.create_index(_READING, _STATE, ["last_reading_ms", "device_num"])
    op.drop_table("unheard_devices")
