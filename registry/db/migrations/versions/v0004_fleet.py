"""Sites, wards, history of places, soft delete, revisions of types, groups, accounts, audit, operations, states.

Revision: 0004. Written out, not taken from registry.db.schema: a released step never changes.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BOOLEAN = (sa.Boolean, sa.false())
_TEXT = (sa.Text, "")
_NUMBER = (sa.BigInteger, "0")
_TIME = (sa.BigInteger, None)
# By table: name, type, what the rows that are there get.
_ADDED: dict[str, tuple[tuple[str, Any, Any], ...]] = {
    "registry_state": (
        ("last_site_num", *_NUMBER),
        ("last_group_num", *_NUMBER),
        ("last_operation_num", *_NUMBER),
    ),
    "device_types": (
        ("config_schema", *_TEXT),
        ("commands", *_TEXT),
        ("hardware_revisions", *_TEXT),
        ("is_deleted", *_BOOLEAN),
    ),
    "device_type_metrics": (
        ("resolution", sa.Float(53), "0"),
        ("expected_interval_s", sa.Integer, "0"),
    ),
    "devices": (
        ("site_num", *_NUMBER),
        ("is_ward_derived", *_BOOLEAN),
        ("is_place_derived", *_BOOLEAN),
        ("placed_time_ms", *_NUMBER),
        ("hardware_revision", sa.String(63), ""),
        ("state", sa.SmallInteger, "1"),
        ("deleted_state", sa.SmallInteger, None),
        ("delete_time_ms", *_TIME),
        ("purge_time_ms", *_TIME),
    ),
}
_INDICES = {
    "ix_devices_type": ["type_num", "device_num", "state"],
    "ix_devices_gateway": ["gateway_num", "device_num", "state"],
    "ix_devices_ward": ["ward_code", "device_num", "state"],
    "ix_devices_site": ["site_num", "device_num", "state"],
    "ix_devices_state": ["state", "device_num"],
    "ix_devices_name": ["display_name", "device_num"],
    "ix_devices_create": ["create_time_ms", "device_num"],
    "ix_devices_update": ["update_time_ms", "device_num"],
    "ix_devices_place": ["latitude", "longitude", "device_num"],
}
# Columns that were ordered as the database's language has it, with their lengths; 0: any.
_WORDS = {
    "metrics": {"metric_id": 63},
    "device_types": {"type_id": 63},
    "devices": {"device_id": 63, "display_name": 0, "ward_code": 5, "external_id": 191},
    "device_labels": {"key": 63, "value": 255},
    "operators": {"operator_id": 63},
}
_OLD_INDICES = {
    "ix_devices_type": ["type_num", "device_num"],
    "ix_devices_gateway": ["gateway_num", "device_num"],
    "ix_devices_ward": ["ward_code", "device_num"],
    "ix_devices_active": ["is_active", "device_num"],
}
_CREATED = (
    "device_type_revisions",
    "sites",
    "site_labels",
    "ward_boundaries",
    "device_placements",
    "purged_devices",
    "device_state",
    "device_state_documents",
    "ingest_nodes",
    "groups",
    "group_members",
    "saved_queries",
    "accounts",
    "access_tokens",
    "audit_events",
    "request_ids",
    "operations",
)


# On PostgreSQL a third of what a new device costs there is the check of these, for rows that are written right behind
# their device and go with it. SQLite has them at hand.
_UNCHECKED = ("device_labels", "device_tokens")


def upgrade() -> None:
    if _is_postgresql():
        for table in _UNCHECKED:
            op.drop_constraint(f"{table}_device_num_fkey", table, type_="foreignkey")
    for table, columns in _ADDED.items():
        for name, kind, default in columns:
            op.add_column(table, sa.Column(name, kind, nullable=default is None, server_default=default))
    for name in _OLD_INDICES:
        op.drop_index(name, "devices")
    op.execute("UPDATE devices SET placed_time_ms = create_time_ms")
    op.execute("UPDATE devices SET is_ward_derived = true WHERE ward_code = '' AND latitude IS NOT NULL")
    op.execute("UPDATE devices SET state = 2 WHERE NOT is_active")
    op.drop_column("devices", "is_active")
    _set_collations("C")
    for name, indexed in _INDICES.items():
        op.create_index(name, "devices", indexed)
    op.create_index("ix_devices_purge", "devices", ["purge_time_ms"], **_where("purge_time_ms IS NOT NULL"))
    op.drop_index("ix_device_labels_device", "device_labels")
    op.create_index("ix_device_labels_device", "device_labels", ["device_num", "key"])
    _create_tables()


def downgrade() -> None:
    op.drop_index("ix_device_labels_device", "device_labels")
    op.create_index("ix_device_labels_device", "device_labels", ["device_num"])
    if _is_postgresql():
        for table in _UNCHECKED:
            op.create_foreign_key(f"{table}_device_num_fkey", table, "devices", ["device_num"], ["device_num"])
    for table in reversed(_CREATED):
        op.drop_table(table)
    for name in ("ix_devices_purge", *_INDICES):
        op.drop_index(name, "devices")
    op.add_column("devices", sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute("UPDATE devices SET is_active = (state = 1)")
    for table, columns in _ADDED.items():
        for name, _, _ in columns:
            op.drop_column(table, name)
    _set_collations("default")
    for name, indexed in _OLD_INDICES.items():
        op.create_index(name, "devices", indexed)


def _word(length: int = 0) -> Any:
    """Texts in the order of their characters' numbers, as SQLite has them anyway."""
    plain = sa.String(length) if length else sa.Text()
    return plain.with_variant(_collated(length, "C"), "postgresql")


def _collated(length: int, collation: str) -> Any:
    return sa.String(length, collation) if length else sa.Text(collation=collation)


def _set_collations(collation: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in _WORDS.items():
            for name, length in columns.items():
                op.alter_column(table, name, type_=_collated(length, collation))


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _create_tables() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "device_type_revisions",
        sa.Column("type_num", sa.Integer, sa.ForeignKey("device_types.type_num"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sites",
        sa.Column("site_num", number, primary_key=True, autoincrement=False),
        sa.Column("site_id", _word(63), nullable=False, unique=True),
        sa.Column("display_name", _word(), nullable=False),
        sa.Column("kind", sa.String(31), nullable=False),
        sa.Column("latitude", sa.Float(53)),
        sa.Column("longitude", sa.Float(53)),
        sa.Column("ward_code", _word(5), nullable=False),
        sa.Column("is_ward_derived", sa.Boolean, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("update_time_ms", sa.BigInteger, nullable=False),
        sa.Column("delete_time_ms", sa.BigInteger),
        sa.Column("purge_time_ms", sa.BigInteger),
        sa.Index("ix_sites_ward", "ward_code", "site_num"),
        sa.Index("ix_sites_kind", "kind", "site_num"),
    )
    op.create_table(
        "site_labels",
        sa.Column("key", _word(63), primary_key=True),
        sa.Column("value", _word(255), primary_key=True),
        sa.Column("site_num", number, sa.ForeignKey("sites.site_num"), primary_key=True),
        sa.Index("ix_site_labels_site", "site_num"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ward_boundaries",
        sa.Column("ward_code", sa.String(5), primary_key=True),
        sa.Column("boundary", sa.LargeBinary, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("load_time_ms", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "device_placements",
        sa.Column("device_num", number, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("start_time_ms", sa.BigInteger, nullable=False),
        sa.Column("end_time_ms", sa.BigInteger, nullable=False),
        sa.Column("gateway_id", sa.String(63), nullable=False),
        sa.Column("site_id", sa.String(63), nullable=False),
        sa.Column("ward_code", sa.String(5), nullable=False),
        sa.Column("latitude", sa.Float(53)),
        sa.Column("longitude", sa.Float(53)),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "purged_devices",
        sa.Column("device_num", number, primary_key=True, autoincrement=False),
        sa.Column("device_id", _word(63), nullable=False, unique=True),
        sa.Column("type_num", sa.Integer, sa.ForeignKey("device_types.type_num"), nullable=False),
        sa.Column("ward_code", sa.String(5), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sa.Column("purge_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "device_state",
        sa.Column("device_num", number, primary_key=True, autoincrement=False),
        sa.Column("is_connected", sa.Boolean, nullable=False),
        sa.Column("connect_time_ms", sa.BigInteger),
        sa.Column("disconnect_time_ms", sa.BigInteger),
        sa.Column("disconnect_reason", sa.String(63), nullable=False),
        sa.Column("node", sa.String(63), nullable=False),
        sa.Column("last_seen_ms", sa.BigInteger),
        sa.Column("last_reading_ms", sa.BigInteger),
        sa.Column("firmware_version", _word(63), nullable=False),
        sa.Column("config_version", sa.BigInteger, nullable=False),
        sa.Column("hardware_revision", sa.String(63), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Index("ix_device_state_seen", "last_seen_ms", "device_num"),
        sa.Index("ix_device_state_reading", "last_reading_ms", "device_num"),
        sa.Index("ix_device_state_firmware", "firmware_version", "device_num"),
        sa.Index("ix_device_state_revision", "revision", "device_num"),
        sa.Index("ix_device_state_node", "node", **_where("is_connected")),
    )
    op.create_table(
        "device_state_documents",
        sa.Column("device_num", number, primary_key=True, autoincrement=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("document_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ingest_nodes",
        sa.Column("node", sa.String(63), primary_key=True),
        sa.Column("run", sa.String(20), nullable=False),
        sa.Column("heard_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "groups",
        sa.Column("group_num", number, primary_key=True, autoincrement=False),
        sa.Column("group_id", _word(63), nullable=False, unique=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("update_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "group_members",
        sa.Column("group_num", number, sa.ForeignKey("groups.group_num"), primary_key=True),
        sa.Column("device_num", number, sa.ForeignKey("devices.device_num"), primary_key=True),
        sa.Index("ix_group_members_device", "device_num"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "saved_queries",
        sa.Column("saved_query_id", _word(63), primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("filter", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("update_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("account_id", _word(63), primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("is_service", sa.Boolean, nullable=False),
        sa.Column("grants", sa.Text, nullable=False),
        sa.Column("is_disabled", sa.Boolean, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("update_time_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "access_tokens",
        sa.Column("token_id", sa.String(63), primary_key=True),
        sa.Column("account_id", sa.String(63), sa.ForeignKey("accounts.account_id"), nullable=False, index=True),
        sa.Column("token_sha256", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("expire_time_ms", sa.BigInteger, nullable=False),
        sa.Column("last_use_time_ms", sa.BigInteger),
    )
    op.create_table(
        "audit_events",
        sa.Column("event_num", number, primary_key=True, autoincrement=False),
        sa.Column("event_time_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", _word(127), nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("method", sa.String(127), nullable=False),
        sa.Column("request_id", sa.String(63), nullable=False),
        sa.Column("resource", _word(191), nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("result", sa.String(127), nullable=False),
        sa.Column("chain_sha256", sa.LargeBinary(32), nullable=False),
        sa.Index("ix_audit_events_resource", "resource", "event_num"),
        sa.Index("ix_audit_events_actor", "actor", "event_num"),
        sa.Index("ix_audit_events_time", "event_time_ms"),
    )
    op.create_table(
        "request_ids",
        sa.Column("actor", sa.String(127), primary_key=True),
        sa.Column("request_id", sa.String(63), primary_key=True),
        sa.Column("method", sa.String(127), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "operations",
        sa.Column("operation_num", number, primary_key=True, autoincrement=False),
        sa.Column("operation_id", _word(63), nullable=False, unique=True),
        sa.Column("actor", sa.String(127), nullable=False),
        sa.Column("method", sa.String(127), nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("progress", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary),
        sa.Column("error", sa.LargeBinary),
        sa.Column("is_done", sa.Boolean, nullable=False),
        sa.Column("is_cancel_requested", sa.Boolean, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.String(63), nullable=False),
        sa.Column("worker_time_ms", sa.BigInteger, nullable=False),
        sa.Column("create_time_ms", sa.BigInteger, nullable=False),
        sa.Column("update_time_ms", sa.BigInteger, nullable=False),
        sa.Index("ix_operations_open", "operation_num", **_where("NOT is_done")),
    )
