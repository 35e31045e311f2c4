"""The tables. Numbers (metric_num, type_num, device_num) come from registry_state, not from the database's own
counters, so that they are known before the insert and never used twice. Times are UTC milliseconds."""

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
)

metadata = MetaData()

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
    Column("has_starter_catalogue", Boolean, nullable=False),
)

metrics = Table(
    "metrics",
    metadata,
    Column("metric_num", Integer, primary_key=True, autoincrement=False),
    Column("metric_id", String(63), nullable=False, unique=True),
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
    Column("type_id", String(63), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("is_gateway", Boolean, nullable=False),
    Column("default_encoding", String(31), nullable=False),
    Column("expected_interval_s", Integer, nullable=False),
    # JSON; empty: none.
    Column("decoder", Text, nullable=False),
    Column("vectors", Text, nullable=False),
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
)

devices = Table(
    "devices",
    metadata,
    Column("device_num", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("device_id", String(63), nullable=False, unique=True),
    Column("type_num", ForeignKey("device_types.type_num"), nullable=False),
    # The gateway that it is registered behind; 0: none.
    Column("gateway_num", BigInteger, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("ward_code", String(5), nullable=False),
    Column("site", Text, nullable=False),
    Column("latitude", Float(53)),
    Column("longitude", Float(53)),
    # JSON object; device_labels is its index.
    Column("labels", Text, nullable=False),
    # NULL: none.
    Column("external_id", String(191)),
    Column("is_active", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("create_time_ms", BigInteger, nullable=False),
    Column("update_time_ms", BigInteger, nullable=False),
    # A filter on one of these, read in the order of device_num.
    Index("ix_devices_type", "type_num", "device_num"),
    Index("ix_devices_gateway", "gateway_num", "device_num"),
    Index("ix_devices_ward", "ward_code", "device_num"),
    Index("ix_devices_active", "is_active", "device_num"),
    Index("ux_devices_external_id", "external_id", unique=True),
)

device_labels = Table(
    "device_labels",
    metadata,
    Column("key", String(63), primary_key=True),
    Column("value", String(255), primary_key=True),
    Column("device_num", ForeignKey("devices.device_num"), primary_key=True),
    Index("ix_device_labels_device", "device_num"),
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
    Column("operator_id", String(63), nullable=False, unique=True),
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
