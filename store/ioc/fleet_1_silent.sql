-- Question 19: devices that have fallen silent, and with whom: read from what a step finds each minute (fleet_now).

CREATE OR REPLACE VIEW ioc.silent_devices {on_cluster}
(
    device_id String COMMENT 'Name of the device',
    kind String COMMENT 'Its type',
    ward_code String COMMENT 'Ward it stands in now, official code of five digits',
    gateway_id String COMMENT 'Gateway that speaks for it, or empty',
    bts_site_id String COMMENT 'Site of kind bts of its gateway, else its own; or empty',
    last_ts Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of its newest reading, UTC; NULL: none ever came',
    silent_s Int64 COMMENT 'Seconds since then; without a reading: since it was registered',
    expected_interval_s UInt32 COMMENT 'How often it should report, seconds',
    siblings_silent_n UInt64 COMMENT 'Silent ones among the siblings',
    siblings_n UInt64 COMMENT 'Other devices of the group that cause_id names',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading of any device, UTC',
    n UInt64 COMMENT 'Good newest readings of the device, one a metric',
    coverage Nullable(Float64) COMMENT 'Metrics of its type that were heard within the last 24 hours / those with an interval, 0 to 1; NULL: none has one',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Its newest readings by quality as ingest gave it; all of them count as heard',
    method LowCardinality(String) COMMENT 'Rule and its version',
    probable_cause LowCardinality(String) COMMENT 'late: readings arrive, but old ones (a backlog, or a wrong clock). city, ward, bts_site, gateway, vendor, type: what silent ones have in common. device: nothing',
    cause_id String COMMENT 'The gateway, site, ward code, vendor or type meant; of device and late the nearest group, of city empty',
    vendor String COMMENT 'Label `vendor`, or empty',
    site_id String COMMENT 'Site it is mounted at, or empty',
    latitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    longitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    device_num UInt32 COMMENT 'Number of the device'
)
SQL SECURITY INVOKER
AS SELECT
    device_id, kind, in_ward_code AS ward_code, gateway_id, bts_site_id, last_ts,
    dateDiff('second', since_ts, now64(3, 'UTC')) AS silent_s, expected_interval_s, siblings_silent_n, siblings_n,
    in_ward_name AS ward_name, as_of, n, coverage, quality, '3 x interval, common from 80 % v1' AS method, probable_cause, cause_id,
    vendor, site_id, latitude, longitude, device_num
FROM cityfleet.fleet_now AS f
WHERE is_silent
-- Who sees the city reads what is as seen from it, the account of a ward what is as seen from there.
ORDER BY for_ward
LIMIT 1 WITH TIES
COMMENT 'Question 19: devices silent for longer than three times their interval, and the probable common cause.
Rule: silent by the event time of the newest reading (no later than its arrival); only active devices with an interval. The cause is the largest group (gateway, BTS site, ward, vendor, type, city) with at least two others of whom 80 % are silent. Who sees one ward only has its devices and groups only. Looked at each minute: see as_of.
Source: newest readings of ingest and the registry.
Example: SELECT probable_cause, cause_id, count() AS devices, max(silent_s) FROM ioc.silent_devices GROUP BY 1, 2 ORDER BY devices DESC';
