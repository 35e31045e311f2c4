-- Readings, the latest reading per series, and what could not be stored.
-- One insert must stay one part and one unit of deduplication per table: see store/client.py.

CREATE DATABASE IF NOT EXISTS cityfleet {on_cluster};

CREATE TABLE IF NOT EXISTS cityfleet.readings {on_cluster}
(
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the device, see cityfleet.devices',
    metric_num UInt16 CODEC(ZSTD(1)) COMMENT 'Number of the metric, see cityfleet.metrics',
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Event time',
    value Float64 CODEC(ZSTD(1)) COMMENT 'In the metric''s canonical unit',
    quality UInt8 CODEC(ZSTD(1)) COMMENT 'QARTOD: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing',
    quality_reasons UInt16 CODEC(ZSTD(1)) COMMENT 'Bitmask: 1 gross range',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the device at that time',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the platform took it; the later copy wins',
    -- A granule holds a few devices, so a ward's readings are in few granules.
    INDEX ward ward_code TYPE set(16) GRANULARITY 1
)
ENGINE = {replacing}(received_at)
PARTITION BY toYYYYMM(ts)
ORDER BY (device_num, metric_num, ts)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.latest {on_cluster}
(
    device_num UInt32,
    metric_num UInt16,
    ts DateTime64(3, 'UTC'),
    value Float64,
    quality UInt8,
    quality_reasons UInt16,
    ward_code LowCardinality(String),
    received_at DateTime64(3, 'UTC')
)
ENGINE = {replacing}(ts)
ORDER BY (device_num, metric_num)
SETTINGS {durable};

-- argMax by one plain column: by a tuple it would cost four times the insert itself.
CREATE MATERIALIZED VIEW IF NOT EXISTS cityfleet.latest_from_readings {on_cluster} TO cityfleet.latest AS
SELECT
    device_num,
    metric_num,
    max(r.ts) AS ts,
    argMax(r.value, r.ts) AS value,
    argMax(r.quality, r.ts) AS quality,
    argMax(r.quality_reasons, r.ts) AS quality_reasons,
    argMax(r.ward_code, r.ts) AS ward_code,
    argMax(r.received_at, r.ts) AS received_at
FROM cityfleet.readings AS r
GROUP BY device_num, metric_num;

CREATE TABLE IF NOT EXISTS cityfleet.quarantine {on_cluster}
(
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    device_id String,
    topic String,
    transport LowCardinality(String),
    encoding LowCardinality(String),
    reason LowCardinality(String),
    detail String,
    readings UInt32 COMMENT 'How many readings this row stands for',
    payload String CODEC(ZSTD(3)) COMMENT 'The bytes as they came'
)
ENGINE = {merge_tree}
ORDER BY received_at
TTL toDateTime(received_at) + INTERVAL 30 DAY
SETTINGS {durable};
