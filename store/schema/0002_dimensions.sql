-- Devices, metrics and wards, written by the registry; the highest version of a row counts.

CREATE TABLE IF NOT EXISTS cityfleet.devices {on_cluster}
(
    device_num UInt32,
    device_id String,
    device_type String,
    display_name String,
    ward_code String,
    site String,
    gateway_id String,
    latitude Nullable(Float64),
    longitude Nullable(Float64),
    labels Map(String, String),
    state LowCardinality(String) COMMENT 'active or decommissioned',
    expected_interval_s UInt32,
    create_time DateTime64(3, 'UTC'),
    update_time DateTime64(3, 'UTC'),
    version UInt64
)
ENGINE = {replacing}(version)
ORDER BY device_num
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.metrics {on_cluster}
(
    metric_num UInt16,
    metric String,
    unit String COMMENT 'UCUM',
    description String,
    version UInt64
)
ENGINE = {replacing}(version)
ORDER BY metric_num
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.wards {on_cluster}
(
    ward_code String,
    name String,
    kind String,
    province_code String,
    version UInt64
)
ENGINE = {replacing}(version)
ORDER BY ward_code
SETTINGS {durable};
