-- Alarms and floods, filled by the steps of the rollups. Levels of gauges and all about alarms are public; rain and streets
-- belong to their wards. What the answers about "now" read is ordered by time, so that the last hours lie together.

-- The gauges themselves, for those who may not see the devices of other wards.
CREATE TABLE IF NOT EXISTS cityfleet.alarm_gauges {on_cluster}
(
    device_num UInt32,
    gauge_id String COMMENT 'Name of the device',
    name String COMMENT 'Of the station, else of the device',
    river String COMMENT 'Empty: not at a known station',
    station_id String COMMENT 'Label `station` of the device',
    ward_code String COMMENT 'Ward it stands in',
    latitude Nullable(Float64),
    longitude Nullable(Float64),
    expected_interval_s UInt32 COMMENT 'Between two levels; 0: no expectation',
    version UInt64 COMMENT 'The highest counts',
    is_deleted UInt8 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY device_num
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.alarm_levels_10min {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the ten minutes',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'See alarm_gauges',
    ward_code LowCardinality(String) CODEC(ZSTD(1)),
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings, each counted once',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    min Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings, m; NaN without one',
    max Float64 CODEC(ZSTD(1)) COMMENT 'Of good readings, m; NaN without one',
    last Float64 CODEC(ZSTD(1)) COMMENT 'Newest good reading, m; NaN without one',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its time',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'The highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, device_num, ward_code)
SETTINGS {durable};

-- When a gauge was at an alarm level: from its first reading at the threshold to the first one that is 0.10 m below it.
CREATE TABLE IF NOT EXISTS cityfleet.alarm_periods {on_cluster}
(
    device_num UInt32 COMMENT 'See alarm_gauges',
    level UInt8 COMMENT '1 to 3',
    since_ts DateTime64(3, 'UTC') COMMENT 'First reading at the threshold',
    until_ts Nullable(DateTime64(3, 'UTC')) COMMENT 'First reading below it by the margin; NULL: still on',
    station_id String,
    ward_code LowCardinality(String) COMMENT 'Ward the gauge stands in, not the wards that are warned',
    threshold_m Float64,
    peak_m Float64,
    peak_ts DateTime64(3, 'UTC'),
    last_m Float64 COMMENT 'Newest reading of the period',
    last_ts DateTime64(3, 'UTC'),
    good_n UInt32 COMMENT 'Readings of the period that count',
    version UInt64 COMMENT 'The highest counts',
    is_deleted UInt8 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (device_num, level, since_ts)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.rain_10min {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the ten minutes',
    device_num UInt32 CODEC(ZSTD(1)),
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the device at that time',
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings, each counted once',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    rain_mm Float64 CODEC(ZSTD(1)) COMMENT 'Sum of good readings',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Of the newest good one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'The highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toMonday(ts)
ORDER BY (ts, device_num, ward_code)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.rain_1h {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour',
    device_num UInt32 CODEC(ZSTD(1)),
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the device at that time',
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings, each counted once',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    rain_mm Float64 CODEC(ZSTD(1)) COMMENT 'Sum of good readings',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Of the newest good one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'The highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, device_num, ward_code)
SETTINGS {durable};

-- Water on a street, from the first reading of 10 mm to the first below it that no more water follows within 30 minutes.
CREATE TABLE IF NOT EXISTS cityfleet.street_floods {on_cluster}
(
    device_num UInt32,
    onset_ts DateTime64(3, 'UTC') COMMENT 'Last dry reading before the water, at most 30 minutes; else the first with water',
    first_wet_ts DateTime64(3, 'UTC') COMMENT 'First reading of 10 mm or more',
    last_wet_ts DateTime64(3, 'UTC') COMMENT 'Last reading of 10 mm or more',
    end_ts Nullable(DateTime64(3, 'UTC')) COMMENT 'First dry reading; NULL: none within 2 hours of the last with water',
    ward_code LowCardinality(String) COMMENT 'Ward of the gauge at the onset',
    peak_ts DateTime64(3, 'UTC') COMMENT 'First reading of the greatest depth',
    max_depth_mm Float64,
    last_depth_mm Float64 COMMENT 'Newest reading of the event',
    last_ts DateTime64(3, 'UTC'),
    above_100mm_s Float64 COMMENT 'A reading holds until the next one',
    above_300mm_s Float64,
    wet_n UInt32 COMMENT 'Readings of 10 mm or more',
    good_n UInt32 COMMENT 'Good readings from onset to end',
    suspect_n UInt32 COMMENT 'Left out: quality 3',
    fail_n UInt32 COMMENT 'Left out: quality 4',
    version UInt64 COMMENT 'The highest counts',
    is_deleted UInt8 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (device_num, onset_ts)
SETTINGS {durable};
