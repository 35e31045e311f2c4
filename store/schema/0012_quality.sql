-- What the store's own tests of quality found, and what the types ask for. See docs/quality.md.

ALTER TABLE cityfleet.device_types {on_cluster}
    ADD COLUMN IF NOT EXISTS metric_tests Array(String) COMMENT 'JSON of the tests of each metric' AFTER metric_resolutions;

-- Few rows: readings of which a test in the store found something, and those of which it no longer does.
CREATE TABLE IF NOT EXISTS cityfleet.quality_flags {on_cluster}
(
    metric_num UInt16 CODEC(ZSTD(1)) COMMENT 'Number of the metric, see cityfleet.metrics',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the device, see cityfleet.devices',
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Event time of the reading',
    quality UInt8 CODEC(ZSTD(1)) COMMENT 'That counts instead of the quality in cityfleet.readings',
    quality_reasons UInt16 CODEC(ZSTD(1)) COMMENT 'Instead of the reasons in cityfleet.readings, which it includes',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the device at that time',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was found, milliseconds since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more',
    INDEX ward ward_code TYPE set(16) GRANULARITY 1
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (device_num, metric_num, ts)
SETTINGS {durable};

-- The newest row of each series, so that the latest readings need not look through all flags. Of two rows of one time the one
-- that was inserted last stays.
CREATE TABLE IF NOT EXISTS cityfleet.quality_latest {on_cluster}
(
    metric_num UInt16,
    device_num UInt32,
    ts DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading with a row in cityfleet.quality_flags',
    quality UInt8,
    quality_reasons UInt16,
    ward_code LowCardinality(String)
)
ENGINE = {replacing}(ts)
ORDER BY (device_num, metric_num)
SETTINGS {durable};

CREATE MATERIALIZED VIEW IF NOT EXISTS cityfleet.quality_latest_of_flags {on_cluster} TO cityfleet.quality_latest AS
SELECT metric_num, device_num, ts, quality, quality_reasons, ward_code FROM cityfleet.quality_flags;
