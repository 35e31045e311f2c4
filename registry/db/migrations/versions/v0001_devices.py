"""Metrics, device types, devices, their tokens and labels.

Revision: 0001. Written out, not taken from registry.db.schema: a released step never changes.
"""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "registry_state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("registry_id", sa.String(32), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("last_metric_num", sa.Integer, nullable=False),
        sa.Column("last_type_num", sa.Integer, nullable=False),
        sa.Column("last_device_num", sa.BigInteger, nullable=False),
        sa.Column("has_starter_catalogue", sa.Boolean, nullable=False),
    )
    op.create_table(
        "metrics",
        sa.Column("metric_num", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("metric_id", sa.String(63), nullable=False, unique=True),
        sa.Column("unit", sa.String(63), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("update_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "device_types",
        sa.Column("type_num", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("type_id", sa.String(63), nullable=False, unique=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("is_gateway", sa.Boolean, nullable=False),
        sa.Column("default_encoding", sa.String(31), nullable=False),
        sa.Column("expected_interval_s", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("dimension_revision", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("update_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "device_type_metrics",
        sa.Column("type_num", sa.Integer, sa.ForeignKey("device_types.type_num"), primary_key=True),
        sa.Column("position", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("metric_num", sa.Integer, sa.ForeignKey("metrics.metric_num"), nullable=False),
        sa.Column("min_value", sa.Float(53)),
        sa.Column("max_value", sa.Float(53)),
    )
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "devices",
        sa.Column("device_num", number, primary_key=True, autoincrement=False),
        sa.Column("device_id", sa.String(63), nullable=False, unique=True),
        sa.Column("type_num", sa.Integer, sa.ForeignKey("device_types.type_num"), nullable=False),
        sa.Column("gateway_num", sa.BigInteger, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("ward_code", sa.String(5), nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("latitude", sa.Float(53)),
        sa.Column("longitude", sa.Float(53)),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("update_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_devices_type", "devices", ["type_num", "device_num"])
    op.create_index("ix_devices_gateway", "devices", ["gateway_num", "device_num"])
    op.create_index("ix_devices_ward", "devices", ["ward_code", "device_num"])
    op.create_index("ix_devices_active", "devices", ["is_active", "device_num"])
    op.create_table(
        "device_labels",
        sa.Column("key", sa.String(63), primary_key=True),
        sa.Column("value", sa.String(255), primary_key=True),
        sa.Column("device_num", number, sa.ForeignKey("devices.device_num"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_device_labels_device", "device_labels", ["device_num"])
    op.create_table(
        "device_tokens",
        sa.Column("device_num", number, sa.ForeignKey("devices.device_num"), primary_key=True),
        sa.Column("token_sha256", sa.LargeBinary(32), primary_key=True),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sync_positions",
        sa.Column("consumer", sa.String(31), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    state = sa.table(
        "registry_state",
        *(
            sa.column(name)
            for name in (
                "id",
                "registry_id",
                "revision",
                "last_metric_num",
                "last_type_num",
                "last_device_num",
                "has_starter_catalogue",
            )
        ),
    )
    op.bulk_insert(
        state,
        [
            {
                "id": 1,
                "registry_id": uuid.uuid4().hex,
                "revision": 0,
                "last_metric_num": 0,
                "last_type_num": 0,
                "last_device_num": 0,
                "has_starter_catalogue": False,
            }
        ],
    )


def downgrade() -> None:
    for table in (
        "sync_positions",
        "device_tokens",
        "device_labels",
        "devices",
        "device_type_metrics",
        "device_types",
        "metrics",
        "registry_state",
    ):
        op.drop_table(table)
