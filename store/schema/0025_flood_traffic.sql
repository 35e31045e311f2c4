-- What water on a street did to the traffic near it: of each event and segment within 500 m, the two hours from the onset.
CREATE TABLE IF NOT EXISTS cityfleet.street_flood_traffic {on_cluster}
(
    onset_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'As in street_floods',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Gauge on the street',
    segment_id String CODEC(ZSTD(1)),
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the segment at its newest ten minutes of these',
    distance_m Float64 CODEC(ZSTD(1)) COMMENT 'From the gauge to the nearest detector of the segment',
    speed_drop_pct Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Fall of the mean speed below the typical one; NULL: not known',
    flow_drop_pct Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'The same of the flow',
    low_n UInt8 CODEC(ZSTD(1)) COMMENT 'Ten minutes with speed or flow 3 robust sigmas below typical',
    seen_n UInt8 CODEC(ZSTD(1)) COMMENT 'Ten minutes with readings, at most 12',
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings, each counted once',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    expected_n Float64 CODEC(ZSTD(1)) COMMENT 'Readings that all active detectors of the segment should send in ten minutes, at most',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Of the newest good one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'The highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toMonday(onset_ts)
ORDER BY (onset_ts, device_num, segment_id)
SETTINGS {durable};
