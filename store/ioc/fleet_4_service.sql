-- Question 23: whom to visit next: read from what a step finds each minute (fleet_now).

CREATE OR REPLACE VIEW ioc.devices_to_service {on_cluster}
(
    device_id String COMMENT 'Name of the device',
    ward_code String COMMENT 'Ward it stands in now, official code of five digits',
    firmware String COMMENT 'As the device reported, else its label `firmware`, or empty',
    battery_ratio Nullable(Float64) COMMENT 'Newest battery_pct / 100, 0 to 1; NULL: none',
    battery_days_left Nullable(Float64) COMMENT 'Days until it is empty at the slope of the last 14 days; NULL: above 60 %, not falling, or fewer than three days known',
    rssi_dbm Nullable(Float64) COMMENT 'Newest rssi_dbm; NULL: none',
    score UInt8 COMMENT 'The higher, the sooner; the sum of what reason lists, at most 100',
    reason String COMMENT 'What speaks for it, the gravest first',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading of any device, UTC',
    n UInt64 COMMENT 'Good newest readings of the device, one a metric',
    coverage Nullable(Float64) COMMENT 'Metrics of its type that were heard within the last 24 hours / those with an interval, 0 to 1; NULL: none has one',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Its newest readings by quality as ingest gave it',
    method LowCardinality(String) COMMENT 'Rule and its version',
    kind String COMMENT 'Type of the device',
    last_ts Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of its newest reading, UTC; NULL: none ever came',
    silent_s Int64 COMMENT 'Seconds since then; without a reading: since it was registered',
    usual_firmware String COMMENT 'The most frequent firmware of its type, or empty',
    gateway_id String COMMENT 'Gateway that speaks for it, or empty',
    site_id String COMMENT 'Site it is mounted at, or empty',
    latitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    longitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    device_num UInt32 COMMENT 'Number of the device'
)
SQL SECURITY INVOKER
AS SELECT
    device_id, in_ward_code AS ward_code, firmware, battery_ratio, battery_days_left, rssi_dbm, score, reason, in_ward_name AS ward_name,
    as_of, n, coverage, quality, 'score of silence, battery, quality, signal, firmware v1' AS method, kind, last_ts,
    dateDiff('second', since_ts, now64(3, 'UTC')) AS silent_s, usual_firmware, gateway_id, site_id, latitude, longitude, device_num
FROM cityfleet.fleet_now AS f
WHERE score > 0
-- As in ioc.silent_devices.
ORDER BY for_ward
LIMIT 1 WITH TIES
COMMENT 'Question 23: devices to service next, ranked by silence, battery, quality, signal and firmware.
Rule: silent for three intervals 40; battery at 10 % 35, at 20 % 20; empty within 7 days 30, within 30 days 15; a newest reading that fails 15; signal of -115 dBm or less 10; firmware other than most of its type 5. At most 100; only devices above 0. The weights are those of cityfleet. Looked at each minute: see as_of. Who sees one ward only has its devices only.
Source: newest readings of battery_pct and rssi_dbm, days of battery_pct, what devices reported and labels of the registry.
Example: SELECT device_id, ward_name, score, reason, battery_days_left FROM ioc.devices_to_service ORDER BY score DESC, device_id LIMIT 20';
