-- Questions 11 and 12: the network by hours, and falls of speed or flow that look like incidents.

CREATE OR REPLACE VIEW ioc.network_los_by_hour {on_cluster}
(
    ward_code String COMMENT 'Ward of the segments, official code of five digits',
    hour DateTime('UTC') COMMENT 'Start of the hour, UTC',
    segments_n UInt64 COMMENT 'Segments with a level of service in the hour',
    share_ab Nullable(Float64) COMMENT 'Share of their ten minutes at level A or B, each segment alike, 0 to 1',
    coverage Nullable(Float64) COMMENT 'Readings received / expected of the detectors of the segments that sent, 0 to 1; NULL: no expectation',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings used',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    segments_seen UInt64 COMMENT 'Segments that sent in the hour, those without a level of service too',
    segments_ef UInt64 COMMENT 'Segments at E or worse for half an hour or more',
    vehicles Float64 COMMENT 'Counted in the hour',
    mean_speed_km_h Nullable(Float64) COMMENT 'Mean of the segments, km/h'
)
SQL SECURITY INVOKER
AS SELECT
    s.ward_code AS ward_code, s.hour AS hour, s.segments_n AS segments_n, s.share_ab AS share_ab,
    if(s.expected_n > 0, least(1, s.n / s.expected_n), NULL) AS coverage, w.name AS ward_name, s.as_of AS as_of,
    s.good_n AS n, tuple(s.good_n, s.suspect_n, s.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'share of ten minutes at LOS A-B v1' AS method, s.segments_seen AS segments_seen, s.segments_ef AS segments_ef,
    s.vehicles AS vehicles, s.mean_speed_km_h AS mean_speed_km_h
FROM
(
    SELECT
        t.ward_code AS ward_code, t.ts AS hour, countIf(t.judged_n > 0) AS segments_n,
        avgOrNullIf(t.ab_n / t.judged_n, t.judged_n > 0) AS share_ab, count() AS segments_seen, countIf(t.ef_n >= 3) AS segments_ef,
        sumIf(t.vehicles, isFinite(t.vehicles)) AS vehicles, avgOrNullIf(t.speed_km_h, isFinite(t.speed_km_h)) AS mean_speed_km_h,
        max(t.last_ts) AS as_of, sum(t.n) AS n, sum(t.good_n) AS good_n, sum(t.suspect_n) AS suspect_n, sum(t.fail_n) AS fail_n,
        sum(t.expected_n) AS expected_n
    FROM cityfleet.traffic_1h AS t FINAL
    WHERE t.ts >= {from:DateTime('UTC')} AND t.ts < {to:DateTime('UTC')}
    GROUP BY t.ward_code, t.ts
) AS s
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = s.ward_code
COMMENT 'Question 11: share of the road network at level of service A or B by ward and hour of a period ({from:DateTime}, {to:DateTime}), the city''s indicator of free roads.
Rule: of every segment the share of its ten minutes at A or B, then the mean over the segments of the ward. Segments whose level cannot be told are left out: segments_n of segments_seen.
Source: level of service by the scheme of the segment in thresholds.
Example: SELECT ward_name, hour, segments_n, share_ab, coverage FROM ioc.network_los_by_hour(from = ''2026-09-30 17:00:00'', to = ''2026-10-01 17:00:00'') ORDER BY hour, share_ab';

CREATE OR REPLACE VIEW ioc.traffic_incidents {on_cluster}
(
    segment_id String COMMENT 'Label `segment` of its detectors, else their site, else the detector',
    ward_code String COMMENT 'Ward of the segment, official code of five digits',
    start_ts DateTime('UTC') COMMENT 'Start of the first ten minutes below, UTC; of a period that begins within it: of the period',
    metric LowCardinality(String) COMMENT 'speed_km_h or flow_veh_h',
    value Float64 COMMENT 'At the worst ten minutes',
    typical Float64 COMMENT 'Median of that hour of the week over four weeks before',
    robust_z Float64 COMMENT '(value - typical) / sigma at the worst, -3 or less',
    minutes UInt64 COMMENT 'Minutes below, without a break',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Readings received / expected of its detectors, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    end_ts DateTime('UTC') COMMENT 'End of the last ten minutes below, UTC'
)
SQL SECURITY INVOKER
AS SELECT
    s.segment_id AS segment_id, s.ward_code AS ward_code, s.start_ts AS start_ts, s.metric AS metric, s.value AS value,
    s.typical AS typical, s.robust_z AS robust_z, s.minutes AS minutes, w.name AS ward_name, s.as_of AS as_of, s.good_n AS n,
    if(s.expected_n > 0, least(1, s.n / s.expected_n), NULL) AS coverage, tuple(s.good_n, s.suspect_n, s.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'below typical by 3 robust sigmas (1.4826 MAD) for 10 min v1' AS method, s.end_ts AS end_ts
FROM
(
    SELECT
        b.segment_id AS segment_id, b.metric AS metric, argMax(b.ward_code, b.ts) AS ward_code, min(b.ts) AS start_ts,
        max(b.ts) + INTERVAL 10 MINUTE AS end_ts, 10 * count() AS minutes, min(b.z) AS robust_z,
        argMin(b.value, b.z) AS value, argMin(b.typical, b.z) AS typical, max(b.last_ts) AS as_of, sum(b.n) AS n,
        sum(b.good_n) AS good_n, sum(b.suspect_n) AS suspect_n, sum(b.fail_n) AS fail_n, sum(b.expected_n) AS expected_n
    FROM
    (
        -- Ten minutes in a row have the same difference to their number in the row.
        SELECT
            *, toUnixTimestamp(ts) - 600 * row_number() OVER (PARTITION BY segment_id, metric ORDER BY ts) AS island
        FROM
        (
            SELECT
                t.ts AS ts, t.segment_id AS segment_id, t.ward_code AS ward_code, t.last_ts AS last_ts, t.n AS n,
                t.good_n AS good_n, t.suspect_n AS suspect_n, t.fail_n AS fail_n, t.expected_n AS expected_n,
                arrayJoin([
                    ('speed_km_h', t.speed_km_h, t.typical_speed_km_h, t.speed_z),
                    ('flow_veh_h', t.flow_veh_h, t.typical_flow_veh_h, t.flow_z)]) AS fall,
                fall.1 AS metric, fall.2 AS value, fall.3 AS typical, fall.4 AS z
            FROM cityfleet.traffic_state_10min AS t FINAL
            -- Rows that ever fell, of any version, are looked for first: few, so that FINAL has little to merge.
            PREWHERE t.ts >= {from:DateTime('UTC')} AND t.ts < {to:DateTime('UTC')} AND (t.ts, t.segment_id) IN
            (
                SELECT ts, segment_id
                FROM cityfleet.traffic_state_10min
                WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')} AND (speed_z <= -3 OR flow_z <= -3)
            )
            WHERE t.speed_z <= -3 OR t.flow_z <= -3
        )
        WHERE z <= -3
    ) AS b
    GROUP BY b.segment_id, b.metric, b.island
) AS s
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = s.ward_code
COMMENT 'Question 12: abnormal falls of speed or flow in a period ({from:DateTime}, {to:DateTime}): incidents, closures, detectors that fail.
Rule: ten minutes or more below the median of the same weekday and hour of the four weeks before by 3 robust sigmas, 1.4826 x the median absolute deviation. Sigma is at least 1 km/h and 2 % of the speed, for flows the root of the count. Times at +07:00 decide the weekday.
Source: the readings themselves. A detector that sends nothing is no fall: see ioc.silent_devices.
Example: SELECT segment_id, ward_name, start_ts, metric, value, typical, robust_z, minutes FROM ioc.traffic_incidents(from = now(''UTC'') - INTERVAL 1 DAY, to = now(''UTC'')) ORDER BY robust_z';
