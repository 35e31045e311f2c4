-- At 200,000 readings a second, in four or five inserts, merges are most of what the store computes: for each reading that came
-- 3.7 rows of `readings` were merged and 1.6 of `latest`. The more parts are merged at once, the fewer times it happens; five
-- parts more wait meanwhile. See docs/decisions/readings-layout.md.
ALTER TABLE cityfleet.readings {on_cluster} MODIFY SETTING merge_selector_base = 15;
ALTER TABLE cityfleet.latest {on_cluster} MODIFY SETTING merge_selector_base = 15;
ALTER TABLE cityfleet.rollup_changes {on_cluster} MODIFY SETTING merge_selector_base = 15;
ALTER TABLE cityfleet.rollup_done {on_cluster} MODIFY SETTING merge_selector_base = 15;

-- Traffic of now is made when ten minutes are closed; of those that were closed before its table was, too.
INSERT INTO cityfleet.rollup_changes (source, bucket, block, rows, changed_at)
SELECT 'traffic_now', max(ts), 0, 1, now64(3, 'UTC')
FROM cityfleet.traffic_state_10min
WHERE ts > now('UTC') - INTERVAL 90 MINUTE
HAVING count() > 0;

-- Sums by the day are read by the year: of one part, without copies to look for, in half the time. New ones come once a day.
ALTER TABLE cityfleet.readings_1d {on_cluster}
    MODIFY SETTING min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1;

-- The day that readings_1d does not have yet. A question about days would read a month of hours for it.
DROP TABLE IF EXISTS cityfleet.readings_today {on_cluster} SYNC;
CREATE TABLE cityfleet.readings_today {on_cluster}
(
    metric_num UInt16 CODEC(ZSTD(1)) COMMENT 'Number of the metric, see cityfleet.metrics',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the device, see cityfleet.devices',
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the day at +07:00: 17:00 UTC of the day before',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the device at that time',
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings so far, each counted once',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the newest good reading; 1970-01-01 without one',
    first_hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'First hour with a reading',
    last_hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Last hour with a reading',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970'
)
ENGINE = {merge_tree}
ORDER BY (metric_num, device_num, ward_code)
SETTINGS {durable};
DROP TABLE IF EXISTS cityfleet.readings_today_next {on_cluster} SYNC;
CREATE TABLE cityfleet.readings_today_next {on_cluster} AS cityfleet.readings_today;

-- After an upgrade too it is there at once.
INSERT INTO cityfleet.rollup_changes (source, bucket, block, rows, changed_at)
SELECT 'readings_today', max(ts), 0, 1, now64(3, 'UTC')
FROM cityfleet.readings_1h
WHERE ts > now('UTC') - INTERVAL 1 DAY
HAVING count() > 0;
