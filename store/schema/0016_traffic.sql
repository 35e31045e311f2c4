-- Traffic by road segment, filled by the steps 70 to 74 of the rollups. See docs/traffic.md.

-- What a vehicle of each class counts for. The metric is the counter's, so an operator adds classes by rows of his own.
CREATE TABLE IF NOT EXISTS cityfleet.pcu_factors {on_cluster}
(
    metric String COMMENT 'Metric that counts them',
    vehicle_class String COMMENT 'all: counted without a class',
    factor Float64 COMMENT 'Passenger cars that one of them stands for',
    source String COMMENT 'Where it is written',
    confidence LowCardinality(String) COMMENT 'stated, customary or own',
    origin LowCardinality(String) DEFAULT 'operator' COMMENT 'cityfleet: came with it; operator: applied here, and wins',
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3)) COMMENT 'The highest counts',
    is_deleted UInt8 DEFAULT 0 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (metric)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.traffic_10min {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the ten minutes',
    segment_id String CODEC(ZSTD(1)) COMMENT 'Label `segment` of the detectors, else their site, else the detector',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the segment, else of its first detector',
    detectors UInt16 CODEC(ZSTD(1)) COMMENT 'That sent anything',
    vehicles Float64 CODEC(ZSTD(1)) COMMENT 'Counted; NaN: nothing counts here',
    flow_veh_h Float64 CODEC(ZSTD(1)) COMMENT 'Vehicles by the time they were counted in; NaN: nothing counts here',
    flow_pcu_h Float64 CODEC(ZSTD(1)) COMMENT 'The same in passenger cars; NaN: nothing counts here',
    speed_km_h Float64 CODEC(ZSTD(1)) COMMENT 'Mean over the detectors by their counts; NaN: none',
    occupancy Float64 CODEC(ZSTD(1)) COMMENT 'Mean over the detectors, 0 to 1; NaN: none',
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings, each counted once',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    expected_n Float64 CODEC(ZSTD(1)) COMMENT 'Readings that all active detectors of the segment should send',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Of the newest good one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'The highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toMonday(ts)
ORDER BY (ts, segment_id)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.traffic_free_flow {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the day at +07:00 that ends the 28',
    segment_id String CODEC(ZSTD(1)),
    ward_code LowCardinality(String) CODEC(ZSTD(1)),
    free_flow_km_h Float64 CODEC(ZSTD(1)) COMMENT '85th percentile of the ten-minute speeds of 00:00 to 05:00 local time',
    values_n UInt32 CODEC(ZSTD(1)) COMMENT 'Ten minutes it rests on',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'The highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, segment_id)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.traffic_typical {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'The last of the four hours, each a week apart',
    segment_id String CODEC(ZSTD(1)),
    ward_code LowCardinality(String) CODEC(ZSTD(1)),
    speed_km_h Float64 CODEC(ZSTD(1)) COMMENT 'Median of the ten-minute speeds; NaN: fewer than 6',
    speed_sigma Float64 CODEC(ZSTD(1)) COMMENT '1.4826 times their median absolute deviation',
    speed_n UInt32 CODEC(ZSTD(1)) COMMENT 'Ten minutes with a speed',
    flow_veh_h Float64 CODEC(ZSTD(1)) COMMENT 'Median of the ten-minute flows; NaN: fewer than 6',
    flow_sigma Float64 CODEC(ZSTD(1)) COMMENT '1.4826 times their median absolute deviation',
    flow_n UInt32 CODEC(ZSTD(1)) COMMENT 'Ten minutes with a flow',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'The highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, segment_id)
SETTINGS {durable};

-- Each ten minutes with what they were judged by: free flow, typical values, level of service.
CREATE TABLE IF NOT EXISTS cityfleet.traffic_state_10min {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the ten minutes',
    segment_id String CODEC(ZSTD(1)),
    ward_code LowCardinality(String) CODEC(ZSTD(1)),
    vehicles Float64 CODEC(ZSTD(1)) COMMENT 'NaN: nothing counts here',
    flow_veh_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: nothing counts here',
    flow_pcu_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: nothing counts here',
    speed_km_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: none',
    occupancy Float64 CODEC(ZSTD(1)) COMMENT '0 to 1; NaN: none',
    free_flow_km_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: not known',
    free_flow_by LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'declared, nights or empty',
    length_m Float64 CODEC(ZSTD(1)) COMMENT '0: not known',
    los_scheme LowCardinality(String) CODEC(ZSTD(1)),
    los LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Empty: cannot be told',
    los_level UInt8 CODEC(ZSTD(1)) COMMENT '1 A, 2 B ...; 0: cannot be told',
    typical_speed_km_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: not known',
    typical_flow_veh_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: not known',
    speed_z Float64 CODEC(ZSTD(1)) COMMENT 'Robust sigmas from the typical; NaN: not known',
    flow_z Float64 CODEC(ZSTD(1)) COMMENT 'Robust sigmas from the typical; NaN: not known',
    n UInt32 CODEC(ZSTD(1)),
    good_n UInt32 CODEC(ZSTD(1)),
    suspect_n UInt32 CODEC(ZSTD(1)),
    fail_n UInt32 CODEC(ZSTD(1)),
    expected_n Float64 CODEC(ZSTD(1)),
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)) COMMENT 'The highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toMonday(ts)
ORDER BY (ts, segment_id)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.traffic_1h {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour',
    segment_id String CODEC(ZSTD(1)),
    ward_code LowCardinality(String) CODEC(ZSTD(1)),
    vehicles Float64 CODEC(ZSTD(1)) COMMENT 'NaN: nothing counts here',
    flow_veh_h Float64 CODEC(ZSTD(1)) COMMENT 'Mean of the ten minutes that have one; NaN: none',
    flow_pcu_h Float64 CODEC(ZSTD(1)) COMMENT 'Mean of the ten minutes that have one; NaN: none',
    speed_km_h Float64 CODEC(ZSTD(1)) COMMENT 'Mean by counts, without counts by ten minutes; NaN: none',
    judged_n UInt8 CODEC(ZSTD(1)) COMMENT 'Ten minutes with a level of service',
    ab_n UInt8 CODEC(ZSTD(1)) COMMENT 'Of these at A or B',
    ef_n UInt8 CODEC(ZSTD(1)) COMMENT 'Of these at E or worse',
    n UInt32 CODEC(ZSTD(1)),
    good_n UInt32 CODEC(ZSTD(1)),
    suspect_n UInt32 CODEC(ZSTD(1)),
    fail_n UInt32 CODEC(ZSTD(1)),
    expected_n Float64 CODEC(ZSTD(1)),
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)) COMMENT 'The highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, segment_id)
SETTINGS {durable};
