-- What people did about alarms, and the scores that follow from it. Actions belong to their wards, scores are everybody's.

-- Only ever added to; the newest action of an alarm counts.
CREATE TABLE IF NOT EXISTS cityfleet.alarm_actions {on_cluster}
(
    ward_code LowCardinality(String) COMMENT 'Ward that the alarm is for',
    domain LowCardinality(String) COMMENT 'river, street_flood, air ..., as in ioc.open_alarms',
    object_id String COMMENT 'What the alarm is about, as there',
    since_ts DateTime64(3, 'UTC') COMMENT 'When the alarm had begun, as it was known then',
    action LowCardinality(String) COMMENT 'acknowledged, closed or false_alarm',
    acted_at DateTime64(3, 'UTC') COMMENT 'When it was done',
    who String COMMENT 'Who did it',
    owner String COMMENT 'Who takes care of it from then on',
    note String,
    written_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was written down'
)
ENGINE = {merge_tree}
PARTITION BY toYYYYMM(acted_at)
ORDER BY (ward_code, domain, object_id, acted_at)
SETTINGS {durable};

-- What the devices of a ward sent in a day of +07:00, of what they promise.
CREATE TABLE IF NOT EXISTS cityfleet.ward_days {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the day at +07:00: 17:00 UTC of the day before',
    ward_code LowCardinality(String) COMMENT 'Ward that the devices stand in now',
    expected_n UInt64 COMMENT 'Readings that they promise a day',
    received_n UInt64 COMMENT 'Those that came, at most as many as promised of each device and metric',
    good_n UInt64 COMMENT 'Of quality 1, all that came',
    suspect_n UInt64 COMMENT 'Of quality 3',
    fail_n UInt64 COMMENT 'Of quality 4',
    last_ts DateTime64(3, 'UTC') COMMENT 'Of the newest good one; 1970-01-01 without one',
    version UInt64 COMMENT 'The highest counts',
    is_deleted UInt8 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (ts, ward_code)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.ward_scores {on_cluster}
(
    month Date COMMENT 'First day of the month, +07:00',
    ward_code LowCardinality(String),
    alarms_n UInt64 COMMENT 'Alarms that began in the month: rivers and flooded streets',
    acknowledged_n UInt64 COMMENT 'Those that somebody did something about',
    closed_n UInt64 COMMENT 'Those that are closed, false ones among them',
    false_n UInt64 COMMENT 'Those that were called false',
    tta_p50_min Nullable(Float64) COMMENT 'Median minutes from the beginning to the first action',
    ttc_p50_min Nullable(Float64) COMMENT 'Median minutes from the beginning to the closing',
    false_share Nullable(Float64) COMMENT 'False ones of the closed ones, 0 to 1',
    availability Nullable(Float64) COMMENT 'Readings received of those promised, 0 to 1, of whole days',
    good_n UInt64 COMMENT 'Readings of quality 1',
    suspect_n UInt64 COMMENT 'Of quality 3',
    fail_n UInt64 COMMENT 'Of quality 4',
    last_ts DateTime64(3, 'UTC') COMMENT 'Newest reading used',
    rank Nullable(UInt16) COMMENT '1 is the best of the month; NULL: nothing to judge by',
    wards_n UInt16 COMMENT 'Wards that have a rank',
    version UInt64 COMMENT 'The highest counts',
    is_deleted UInt8 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (month, ward_code)
SETTINGS {durable};
