-- Question 13: what water on the streets does to the traffic around it. After flood_3_streets.sql, whose view it reads.

CREATE OR REPLACE VIEW ioc.flood_effect_on_traffic {on_cluster}
(
    event_id String COMMENT 'As in ioc.street_flood_events',
    segment_id String COMMENT 'Label `segment` of its detectors, else their site, else the detector',
    distance_m Float64 COMMENT 'From the gauge to the nearest detector of the segment, at most 500 m',
    speed_drop_pct Nullable(Float64) COMMENT 'Fall of the mean speed below the typical one in the 2 hours from the onset, percent; below 0: faster',
    flow_drop_pct Nullable(Float64) COMMENT 'The same of the flow, percent',
    minutes_affected UInt64 COMMENT 'Minutes of these 2 hours with speed or flow 3 robust sigmas below typical',
    ward_code String COMMENT 'Ward of the segment, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Readings received / expected of its detectors, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    site_id String COMMENT 'Site of the gauge, else the gauge',
    onset_ts DateTime64(3, 'UTC') COMMENT 'Onset of the water, UTC',
    peak_depth_mm Float64 COMMENT 'Greatest depth, mm',
    minutes_seen UInt64 COMMENT 'Minutes of the 2 hours with readings of the segment'
)
SQL SECURITY INVOKER
AS WITH
    (SELECT (groupArray(toString(ward_code)), groupArray(toString(name))) FROM cityfleet.wards FINAL) AS wards
SELECT
    concat(d.device_id, '/', formatDateTime(s.onset_ts, '%Y%m%dT%H%i%SZ', 'UTC')) AS event_id, s.segment_id AS segment_id,
    s.distance_m AS distance_m, s.speed_drop_pct AS speed_drop_pct, s.flow_drop_pct AS flow_drop_pct,
    10 * toUInt64(s.low_n) AS minutes_affected, CAST(s.ward_code, 'String') AS ward_code,
    transform(toString(s.ward_code), wards.1, wards.2, '') AS ward_name, s.last_ts AS as_of, toUInt64(s.good_n) AS n,
    if(s.expected_n > 0, least(1, s.n / (12 * s.expected_n)), NULL) AS coverage,
    tuple(s.good_n, s.suspect_n, s.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'within 500 m, 2 h from the onset, against 28 days v1' AS method, if(d.site_id != '', d.site_id, d.device_id) AS site_id,
    s.onset_ts AS onset_ts, e.max_depth_mm AS peak_depth_mm, 10 * toUInt64(s.seen_n) AS minutes_seen
FROM
(
    SELECT *
    FROM cityfleet.street_flood_traffic FINAL
    WHERE onset_ts >= {from:DateTime('UTC')} AND onset_ts < {to:DateTime('UTC')}
) AS s
-- Those of ioc.street_flood_events, which says more of each than is asked here.
INNER JOIN
(
    SELECT device_num, onset_ts, max_depth_mm
    FROM cityfleet.street_floods FINAL
    WHERE onset_ts >= {from:DateTime('UTC')} AND onset_ts < {to:DateTime('UTC')} AND max_depth_mm >= 20 AND wet_n >= 2
        AND (end_ts IS NOT NULL OR last_wet_ts < now64(3, 'UTC') - INTERVAL 2 HOUR)
) AS e ON e.device_num = s.device_num AND e.onset_ts = s.onset_ts
INNER JOIN
(
    SELECT device_num, device_id, site_id
    FROM cityfleet.devices FINAL
    WHERE latitude IS NOT NULL AND longitude IS NOT NULL AND device_num IN
    (
        SELECT device_num
        FROM cityfleet.street_flood_traffic
        WHERE onset_ts >= {from:DateTime('UTC')} AND onset_ts < {to:DateTime('UTC')}
    )
) AS d ON d.device_num = s.device_num
COMMENT 'Question 13: what each street-flood event of a period ({from:DateTime}, {to:DateTime}) did to traffic within 500 m, in the 2 hours from its onset, against the typical.
Rule: means of the twelve ten minutes that begin within 2 hours of the onset against the medians of the same weekday and hour of the four weeks before. Segments without a typical value have NULL. A ward sees the events and the segments that are both its own.
Source: ioc.street_flood_events, and distances between gauge and detectors on the sphere.
Example: SELECT event_id, segment_id, distance_m, speed_drop_pct, minutes_affected FROM ioc.flood_effect_on_traffic(from = ''2026-09-01 00:00:00'', to = ''2026-10-01 00:00:00'') ORDER BY speed_drop_pct DESC';
