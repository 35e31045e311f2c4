-- Sums of readings by time, and what the runner of rollups (store/rollup) knows about them. See docs/rollups.md.
-- Parts of the last hours are pruned by their times; months of ten minutes would be too much to look through for that.

CREATE TABLE IF NOT EXISTS cityfleet.readings_10min {on_cluster}
(
    metric_num UInt16 CODEC(ZSTD(1)) COMMENT 'Number of the metric, see cityfleet.metrics',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the device, see cityfleet.devices',
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the ten minutes',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the device at that time',
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings, each counted once',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    sum Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings; 0 without one',
    min Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings; NaN without one',
    max Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings; NaN without one',
    last Float64 CODEC(ZSTD(1)) COMMENT 'Newest good reading; NaN without one',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its time; 1970-01-01 without one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toMonday(ts)
ORDER BY (metric_num, device_num, ts, ward_code)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.readings_1h {on_cluster}
(
    metric_num UInt16 CODEC(ZSTD(1)) COMMENT 'Number of the metric, see cityfleet.metrics',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the device, see cityfleet.devices',
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the device at that time',
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings, each counted once',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    sum Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings; 0 without one',
    min Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings; NaN without one',
    max Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings; NaN without one',
    last Float64 CODEC(ZSTD(1)) COMMENT 'Newest good reading; NaN without one',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its time; 1970-01-01 without one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (metric_num, device_num, ts, ward_code)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.readings_1d {on_cluster}
(
    metric_num UInt16 CODEC(ZSTD(1)) COMMENT 'Number of the metric, see cityfleet.metrics',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the device, see cityfleet.devices',
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the day at +07:00: 17:00 UTC of the day before',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the device at that time',
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings, each counted once',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    sum Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings; 0 without one',
    min Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings; NaN without one',
    max Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings; NaN without one',
    last Float64 CODEC(ZSTD(1)) COMMENT 'Newest good reading; NaN without one',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its time; 1970-01-01 without one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYear(ts)
ORDER BY (metric_num, device_num, ts, ward_code)
SETTINGS {durable};

-- What has changed since when, by bucket and block of 256 device numbers. A window is due when this says other than rollup_done.
CREATE TABLE IF NOT EXISTS cityfleet.rollup_changes {on_cluster}
(
    source LowCardinality(String) COMMENT 'readings, or the step for which other steps made the window due',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)),
    block UInt32 CODEC(ZSTD(1)) COMMENT 'Device numbers from block * 256; 0 for steps over all devices',
    rows SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Inserted so far, copies included',
    changed_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'When the last ones were',
    INDEX changed changed_at TYPE minmax GRANULARITY 1
)
ENGINE = {aggregating}
ORDER BY (source, bucket, block)
TTL toDateTime(changed_at) + INTERVAL 60 DAY
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.rollup_done {on_cluster}
(
    step LowCardinality(String),
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)),
    block UInt32 CODEC(ZSTD(1)),
    rows UInt64 CODEC(ZSTD(1)) COMMENT 'What rollup_changes said before the step began',
    computed_at DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'When it began'
)
ENGINE = {replacing}(computed_at)
ORDER BY (step, bucket, block)
TTL toDateTime(computed_at) + INTERVAL 120 DAY
SETTINGS {durable};

-- Who runs the steps, where several could.
CREATE TABLE IF NOT EXISTS cityfleet.rollup_lease {on_cluster}
(
    name LowCardinality(String),
    holder String,
    until DateTime64(3, 'UTC')
)
ENGINE = {replacing}(until)
ORDER BY name
SETTINGS {durable};

-- A count by few keys costs little; the sums themselves at insert would cost a multiple of it.
CREATE MATERIALIZED VIEW IF NOT EXISTS cityfleet.rollup_due {on_cluster} TO cityfleet.rollup_changes AS
SELECT
    'readings' AS source,
    toDateTime(intDiv(toUnixTimestamp(ts), 600) * 600, 'UTC') AS bucket,
    toUInt32(intDiv(device_num, 256)) AS block,
    count() AS rows,
    now64(3, 'UTC') AS changed_at
FROM cityfleet.readings
GROUP BY bucket, block;

-- Readings of before. A repeated run counts them twice, which only makes their windows due once more.
INSERT INTO cityfleet.rollup_changes
SELECT
    'readings' AS source,
    toDateTime(intDiv(toUnixTimestamp(ts), 600) * 600, 'UTC') AS bucket,
    toUInt32(intDiv(device_num, 256)) AS block,
    count() AS rows,
    now64(3, 'UTC') AS changed_at
FROM cityfleet.readings
GROUP BY bucket, block;
