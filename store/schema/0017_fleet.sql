-- What answers about the fleet itself rest on: how much came by ward and type, what tests found, how late readings are. Filled
-- by the steps of the rollups from 80 on.

-- First hour with a reading of a device: data may be older than its registration.
CREATE TABLE IF NOT EXISTS cityfleet.device_first {on_cluster}
(
    device_num UInt32,
    ward_code LowCardinality(String) COMMENT 'Ward of the device at that time',
    first_ts DateTime('UTC') COMMENT 'Start of that hour',
    version UInt64 COMMENT 'The highest counts',
    is_deleted UInt8 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY device_num
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.availability_1h {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the devices at that time',
    device_type LowCardinality(String) CODEC(ZSTD(1)),
    devices_n UInt32 CODEC(ZSTD(1)) COMMENT 'Devices that sent at least one reading',
    received_n UInt64 CODEC(ZSTD(1)) COMMENT 'Readings of metrics with an interval; of each series at most what is expected and one',
    valid_n UInt64 CODEC(ZSTD(1)) COMMENT 'Of them of quality 1',
    suspect_n UInt64 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt64 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    last_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Newest good reading',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYear(ts)
ORDER BY (ts, ward_code, device_type)
SETTINGS {durable};

-- Few rows: hours of a series in which a test found something.
CREATE TABLE IF NOT EXISTS cityfleet.tests_1h {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour',
    device_num UInt32 CODEC(ZSTD(1)),
    metric_num UInt16 CODEC(ZSTD(1)),
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the device at that time',
    test LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'As in ioc.quality_reasons',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings that the test made suspect',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings that the test failed',
    first_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'First of them',
    last_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Last of them',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, device_num, metric_num, test, ward_code)
SETTINGS {durable};

-- A histogram, because quantiles of hours cannot be put together.
CREATE TABLE IF NOT EXISTS cityfleet.gateway_latency_1h {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour',
    gateway_id String CODEC(ZSTD(1)) COMMENT 'Empty: devices that speak for themselves',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the devices at that time',
    sampled_n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings looked at',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of them of quality 1, as ingest gave it',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    future_n UInt32 CODEC(ZSTD(1)) COMMENT 'More than a second ahead of their arrival',
    late_n UInt32 CODEC(ZSTD(1)) COMMENT 'More than three intervals of their device old when they arrived',
    least_ms Int64 CODEC(ZSTD(1)) COMMENT 'Least arrival minus event time, milliseconds',
    last_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Newest event time',
    buckets Array(UInt16) CODEC(ZSTD(1)) COMMENT 'floor(16 * log2(1 + latency in milliseconds))',
    counts Array(UInt32) CODEC(ZSTD(1)) COMMENT 'Readings in each bucket',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, gateway_id, ward_code)
SETTINGS {durable};
