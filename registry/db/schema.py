"""The tables. Numbers (metric_num, type_num, device_num, site_num, group_num, operation_num) come from registry_state,
not from the database's own counters, so that they are known before the insert and never used twice. Times are UTC
milliseconds; NULL: not yet, or never."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData()
# As SQLite's row id; elsewhere 64 bits.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")


def _word(length: int | None = None) -> TypeEngine[str]:
    """Texts in the order of their characters' numbers on PostgreSQL too, so that an index serves filters and pages."""
    plain = String(length) if length else Text()
    return plain.with_variant(String(length, collation="C") if length else Text(collation="C"), "postgresql")


def _where(condition: str) -> dict[str, Any]:
    """Only the rows that a column is set in are in the index."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


# One row. Every write locks it first, so revisions become visible in their order.
registry_state = Table(
    "registry_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("registry_id", String(32), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("last_metric_num", Integer, nullable=False),
    Column("last_type_num", Integer, nullable=False),
    Column("last_device_num", BigInteger, nullable=False),
    Column("last_site_num", BigInteger, nullable=False),
    Column("last_group_num", BigInteger, nullable=False),
    Column("last_operation_num", BigInteger, nullable=False),
    Column("has_starter_catalogue", Boolean, nullable=False),
)

metrics = Table(
    "metrics",
    metadata,
    Column("metric_num", Integer, primary_key=True, autoincrement=False),
    Column("metric_id", _word(63), nullable=False, unique=True),
    Column("unit", String(63), nullable=False),
    Column("description", Text, nullable=False),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("update_time_ms", BigInteger, nullable=False),
)

device_types = Table(
    "device_types",
    metadata,
    Column("type_num", Integer, primary_key=True, autoincrement=False),
    Column("type_id", _word(63), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("is_gateway", Boolean, nullable=False),
    Column("default_encoding", String(31), nullable=False),
    Column("expected_interval_s", Integer, nullable=False),
    # JSON; empty: none.
    Column("decoder", Text, nullable=False),
    Column("vectors", Text, nullable=False),
    # JSON Schema; empty: none.
    Column("config_schema", Text, nullable=False),
    # JSON arrays; empty: none.
    Column("commands", Text, nullable=False),
    Column("hardware_revisions", Text, nullable=False),
    # A deleted type stays as a row: its number and its name stay taken.
    Column("is_deleted", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("dimension_revision", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("update_time_ms", BigInteger, nullable=False),
)

device_type_metrics = Table(
    "device_type_metrics",
    metadata,
    Column("type_num", ForeignKey("device_types.type_num"), primary_key=True),
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    Column("metric_num", ForeignKey("metrics.metric_num"), nullable=False),
    Column("min_value", Float(53)),
    Column("max_value", Float(53)),
    Column("source", String(127), nullable=False),
    Column("source_unit", String(63), nullable=False),
    Column("resolution", Float(53), nullable=False),
    Column("expected_interval_s", Integer, nullable=False),
    # JSON of its quality tests; empty: none.
    Column("tests", Text, nullable=False),
)

# What a type was before its last change, so never the present version.
device_type_revisions = Table(
    "device_type_revisions",
    metadata,
    Column("type_num", ForeignKey("device_types.type_num"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    # JSON of the whole specification.
    Column("spec", Text, nullable=False),
    # When this version began.
    Column("create_time_ms", BigInteger, nullable=False),
)

sites = Table(
    "sites",
    metadata,
    Column("site_num", _NUMBER, primary_key=True, autoincrement=False),
    Column("site_id", _word(63), nullable=False, unique=True),
    Column("display_name", _word(), nullable=False),
    Column("kind", String(31), nullable=False),
    Column("latitude", Float(53)),
    Column("longitude", Float(53)),
    Column("ward_code", _word(5), nullable=False),
    Column("is_ward_derived", Boolean, nullable=False),
    # JSON object; site_labels is its index.
    Column("labels", Text, nullable=False),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("update_time_ms", BigInteger, nullable=False),
    Column("delete_time_ms", BigInteger),
    Column("purge_time_ms", BigInteger),
    Index("ix_sites_ward", "ward_code", "site_num"),
    Index("ix_sites_kind", "kind", "site_num"),
)

site_labels = Table(
    "site_labels",
    metadata,
    Column("key", _word(63), primary_key=True),
    Column("value", _word(255), primary_key=True),
    Column("site_num", ForeignKey("sites.site_num"), primary_key=True),
    Index("ix_site_labels_site", "site_num"),
    sqlite_with_rowid=False,
)

# The wards themselves come with the program; here is where they are.
ward_boundaries = Table(
    "ward_boundaries",
    metadata,
    Column("ward_code", String(5), primary_key=True),
    # Well-known binary of a polygon or multipolygon, longitude before latitude.
    Column("boundary", LargeBinary, nullable=False),
    Column("source", Text, nullable=False),
    Column("load_time_ms", BigInteger, nullable=False),
    # Of the load: all boundaries have the same.
    Column("revision", BigInteger, nullable=False),
)

devices = Table(
    "devices",
    metadata,
    Column("device_num", _NUMBER, primary_key=True, autoincrement=False),
    Column("device_id", _word(63), nullable=False, unique=True),
    # The foreign key is SQLite's alone: types are never deleted, and to check it for each device costs PostgreSQL much.
    Column("type_num", ForeignKey("device_types.type_num"), nullable=False),
    # The gateway that it is registered behind; 0: none.
    Column("gateway_num", BigInteger, nullable=False),
    Column("display_name", _word(), nullable=False),
    # The site that it is mounted at; 0: none.
    Column("site_num", BigInteger, nullable=False),
    # Ward and place are those in force: the device's own, or those of its site, or by the boundary of a ward.
    Column("ward_code", _word(5), nullable=False),
    Column("is_ward_derived", Boolean, nullable=False),
    Column("site", Text, nullable=False),
    Column("latitude", Float(53)),
    Column("longitude", Float(53)),
    Column("is_place_derived", Boolean, nullable=False),
    # Since when it is where it is: gateway, site, ward and place.
    Column("placed_time_ms", BigInteger, nullable=False),
    Column("hardware_revision", String(63), nullable=False),
    # JSON object; device_labels is its index.
    Column("labels", Text, nullable=False),
    # NULL: none.
    Column("external_id", _word(191)),
    # registry.devices.model.State.
    Column("state", SmallInteger, nullable=False),
    # What it was when it was deleted, and will be when it is undeleted.
    Column("deleted_state", SmallInteger),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("update_time_ms", BigInteger, nullable=False),
    Column("delete_time_ms", BigInteger),
    Column("purge_time_ms", BigInteger),
    # A filter on one of these, read in the order of device_num. With the state behind, counting needs no row.
    Index("ix_devices_type", "type_num", "device_num", "state"),
    Index("ix_devices_gateway", "gateway_num", "device_num", "state"),
    Index("ix_devices_ward", "ward_code", "device_num", "state"),
    Index("ix_devices_site", "site_num", "device_num", "state"),
    Index("ix_devices_state", "state", "device_num"),
    # Read in another order.
    Index("ix_devices_name", "display_name", "device_num"),
    Index("ix_devices_create", "create_time_ms", "device_num"),
    Index("ix_devices_update", "update_time_ms", "device_num"),
    # What is near: by bands of latitude, and within one by longitude (registry.db.near).
    Index("ix_devices_place", text("(CAST(latitude * 200 AS INTEGER))"), "longitude", "latitude", "device_num"),
    Index("ix_devices_purge", "purge_time_ms", **_where("purge_time_ms IS NOT NULL")),
    Index("ux_devices_external_id", "external_id", unique=True),
)

# The foreign keys of these two are SQLite's alone: PostgreSQL pays too dear for them when many devices come at once.
device_labels = Table(
    "device_labels",
    metadata,
    Column("key", _word(63), primary_key=True),
    Column("value", _word(255), primary_key=True),
    Column("device_num", ForeignKey("devices.device_num"), primary_key=True),
    Index("ix_device_labels_device", "device_num", "key"),
    sqlite_with_rowid=False,
)

# How many devices have a label that is not empty, by its key, and under the empty key how many devices there are,
# whatever their state: so that nobody looks for devices without a label that all have.
label_keys = Table(
    "label_keys",
    metadata,
    Column("key", _word(63), primary_key=True),
    Column("devices", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

device_tokens = Table(
    "device_tokens",
    metadata,
    Column("device_num", ForeignKey("devices.device_num"), primary_key=True),
    Column("token_sha256", LargeBinary(32), primary_key=True),
    Column("create_time_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Where a device was before its last move; where it is, it says itself. They stay when the device is purged.
device_placements = Table(
    "device_placements",
    metadata,
    Column("device_num", _NUMBER, primary_key=True, autoincrement=False),
    # Of the move that ended it.
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("start_time_ms", BigInteger, nullable=False),
    Column("end_time_ms", BigInteger, nullable=False),
    # Ids, because the gateway and the site may be purged; empty: none.
    Column("gateway_id", String(63), nullable=False),
    Column("site_id", String(63), nullable=False),
    Column("ward_code", String(5), nullable=False),
    Column("latitude", Float(53)),
    Column("longitude", Float(53)),
    sqlite_with_rowid=False,
)

# Ids and numbers that stay taken, and by what the history of a device that is gone is still told apart. Whoever missed
# the end of a device hears of it by the revision.
purged_devices = Table(
    "purged_devices",
    metadata,
    Column("device_num", _NUMBER, primary_key=True, autoincrement=False),
    Column("device_id", _word(63), nullable=False, unique=True),
    Column("type_num", ForeignKey("device_types.type_num"), nullable=False),
    Column("ward_code", String(5), nullable=False),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("purge_time_ms", BigInteger, nullable=False),
)

# What devices said of themselves; a device that was never heard has no row. No foreign key: a report that comes when
# its device is gone must not stop the others.
device_state = Table(
    "device_state",
    metadata,
    Column("device_num", _NUMBER, primary_key=True, autoincrement=False),
    # As in devices: to judge all of them takes their intervals.
    Column("type_num", Integer, nullable=False, server_default="0"),
    Column("is_connected", Boolean, nullable=False),
    Column("connect_time_ms", BigInteger),
    Column("disconnect_time_ms", BigInteger),
    Column("disconnect_reason", String(63), nullable=False),
    # The ingest process that it was last connected to.
    Column("node", String(63), nullable=False),
    Column("last_seen_ms", BigInteger),
    Column("last_reading_ms", BigInteger),
    # From the document.
    Column("firmware_version", _word(63), nullable=False),
    Column("config_version", BigInteger, nullable=False),
    Column("hardware_revision", String(63), nullable=False),
    # Of the flush that changed more than the times of the last message and reading: many rows have the same.
    Column("revision", BigInteger, nullable=False),
    # With the rest behind, counting by connectivity and by health needs no row.
    Index("ix_device_state_seen", "last_seen_ms", "device_num", "type_num", "is_connected"),
    Index("ix_device_state_reading", "last_reading_ms", "device_num", "type_num"),
    Index("ix_device_state_firmware", "firmware_version", "device_num"),
    Index("ix_device_state_revision", "revision", "device_num"),
    Index("ix_device_state_node", "node", **_where("is_connected")),
)

# The others: who was never heard is not found by what is not there.
unheard_devices = Table(
    "unheard_devices",
    metadata,
    Column("device_num", _NUMBER, primary_key=True, autoincrement=False),
    # As in devices.
    Column("type_num", Integer, nullable=False),
)

# Apart, because they are long and seldom read.
device_state_documents = Table(
    "device_state_documents",
    metadata,
    Column("device_num", _NUMBER, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("document_time_ms", BigInteger, nullable=False),
    # Day of the last calibration, YYYY-MM-DD, from the document; empty: it does not say.
    Column("last_calibration", String(10), nullable=False, server_default=""),
    # Of the flush that changed what the store of readings has of it. Unlike device_state.revision it stays when a
    # device connects or says the same again.
    Column("reported_revision", BigInteger, nullable=False, server_default="1"),
    Index("ix_device_state_documents_reported", "reported_revision", "device_num"),
)

# Nodes at which a device is connected beside the one in device_state: see registry.db.connections.
device_connections = Table(
    "device_connections",
    metadata,
    Column("device_num", _NUMBER, primary_key=True, autoincrement=False),
    Column("node", String(63), primary_key=True),
    Column("connect_time_ms", BigInteger, nullable=False),
    Index("ix_device_connections_node", "node"),
)

# Ingest processes that report states; what one of them says is connected is so only as long as it is heard.
ingest_nodes = Table(
    "ingest_nodes",
    metadata,
    Column("node", String(63), primary_key=True),
    # Another number: it has started again.
    Column("run", String(20), nullable=False),
    Column("heard_time_ms", BigInteger, nullable=False),
)

groups = Table(
    "groups",
    metadata,
    Column("group_num", _NUMBER, primary_key=True, autoincrement=False),
    Column("group_id", _word(63), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("update_time_ms", BigInteger, nullable=False),
)

group_members = Table(
    "group_members",
    metadata,
    Column("group_num", ForeignKey("groups.group_num"), primary_key=True),
    Column("device_num", ForeignKey("devices.device_num"), primary_key=True),
    Index("ix_group_members_device", "device_num"),
    sqlite_with_rowid=False,
)

saved_queries = Table(
    "saved_queries",
    metadata,
    Column("saved_query_id", _word(63), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("filter", Text, nullable=False),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("update_time_ms", BigInteger, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", _word(63), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("is_service", Boolean, nullable=False),
    # JSON array.
    Column("grants", Text, nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("update_time_ms", BigInteger, nullable=False),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("token_id", String(63), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False, index=True),
    Column("token_sha256", LargeBinary(32), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("expire_time_ms", BigInteger, nullable=False),
    Column("last_use_time_ms", BigInteger),
)

# Written once, by the only writer, so that numbers have no gaps and each event follows from the one before.
audit_events = Table(
    "audit_events",
    metadata,
    Column("event_num", _NUMBER, primary_key=True, autoincrement=False),
    Column("event_time_ms", BigInteger, nullable=False),
    Column("actor", _word(127), nullable=False),
    Column("peer", Text, nullable=False),
    Column("method", String(127), nullable=False),
    Column("request_id", String(63), nullable=False),
    Column("resource", _word(191), nullable=False),
    # JSON; empty: there was none.
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("result", String(127), nullable=False),
    Column("chain_sha256", LargeBinary(32), nullable=False),
    Index("ix_audit_events_resource", "resource", "event_num"),
    Index("ix_audit_events_actor", "actor", "event_num"),
    Index("ix_audit_events_method", "method", "event_num"),
    Index("ix_audit_events_request", "request_id", "event_num"),
    Index("ix_audit_events_time", "event_time_ms"),
    # What was refused is rare, and asked for often.
    Index("ix_audit_events_refused", "event_num", **_where("result <> 'OK'")),
)

# What was answered to a request id, for a day.
request_ids = Table(
    "request_ids",
    metadata,
    Column("actor", String(127), primary_key=True),
    Column("request_id", String(63), primary_key=True),
    Column("method", String(127), nullable=False),
    Column("request_sha256", LargeBinary(32), nullable=False),
    # The serialised message, without secrets.
    Column("answer", LargeBinary, nullable=False),
    Column("create_time_ms", BigInteger, nullable=False, index=True),
)

operations = Table(
    "operations",
    metadata,
    Column("operation_num", _NUMBER, primary_key=True, autoincrement=False),
    Column("operation_id", _word(63), nullable=False, unique=True),
    Column("actor", String(127), nullable=False),
    Column("method", String(127), nullable=False),
    # Serialised: the request, how far it is, and at the end either the response or a google.rpc.Status.
    Column("request", LargeBinary, nullable=False),
    Column("progress", LargeBinary, nullable=False),
    # Serialised, and apart: long, and seldom another after a chunk. NULL: none.
    Column("failures", LargeBinary),
    Column("response", LargeBinary),
    Column("error", LargeBinary),
    Column("is_done", Boolean, nullable=False),
    Column("is_cancel_requested", Boolean, nullable=False),
    # How far it is, in its work's own words.
    Column("position", BigInteger, nullable=False),
    # The registry process that works on it, and when it last said so.
    Column("worker", String(63), nullable=False),
    Column("worker_time_ms", BigInteger, nullable=False),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("update_time_ms", BigInteger, nullable=False),
    Index("ix_operations_open", "operation_num", **_where("NOT is_done")),
)

# How far each consumer outside has been brought.
sync_positions = Table(
    "sync_positions",
    metadata,
    Column("consumer", String(31), primary_key=True),
    Column("revision", BigInteger, nullable=False),
)

operators = Table(
    "operators",
    metadata,
    Column("operator_num", Integer, primary_key=True, autoincrement=False),
    Column("operator_id", _word(63), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    # JSON arrays.
    Column("subscribe_filters", Text, nullable=False),
    Column("publish_filters", Text, nullable=False),
    Column("token_sha256", LargeBinary(32), nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("is_deleted", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("update_time_ms", BigInteger, nullable=False),
)
