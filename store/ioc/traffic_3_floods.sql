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
    events AS
    (
        SELECT
            event_id, site_id, onset_ts, peak_depth_mm, assumeNotNull(latitude) AS lat, assumeNotNull(longitude) AS lon
        FROM ioc.street_flood_events(from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')})
        WHERE latitude IS NOT NULL AND longitude IS NOT NULL
    ),
    -- A cell of 0.005 degrees is 519 m wide at 21 degrees north: a detector within 500 m is in the gauge's or one of the eight around it.
    near AS
    (
        SELECT
            e.event_id AS event_id, d.segment_id AS segment_id, any(e.site_id) AS site_id, any(e.onset_ts) AS onset_ts,
            any(e.peak_depth_mm) AS peak_depth_mm, min(greatCircleDistance(e.lon, e.lat, d.lon, d.lat)) AS distance_m
        FROM
        (
            SELECT
                *, arrayJoin(range(9)) AS cell, toInt64(floor(lat / 0.005)) + intDiv(cell, 3) - 1 AS row,
                toInt64(floor(lon / 0.005)) + cell % 3 - 1 AS col
            FROM events
        ) AS e
        INNER JOIN
        (
            SELECT
                multiIf(labels['segment'] != '', labels['segment'], site_id != '', site_id, device_id) AS segment_id,
                assumeNotNull(latitude) AS lat, assumeNotNull(longitude) AS lon,
                toInt64(floor(lat / 0.005)) AS row, toInt64(floor(lon / 0.005)) AS col
            FROM cityfleet.devices FINAL
            WHERE state != 'deleted' AND latitude IS NOT NULL AND longitude IS NOT NULL AND device_type IN
            (
                SELECT device_type
                FROM cityfleet.device_types FINAL
                WHERE hasAny(metric_nums,
                    (SELECT groupArray(metric_num) FROM cityfleet.metrics FINAL WHERE metric IN ('speed_km_h', 'vehicle_count')))
            )
        ) AS d ON d.row = e.row AND d.col = e.col
        GROUP BY event_id, segment_id
        HAVING distance_m <= 500
    )
SELECT
    s.event_id AS event_id, s.segment_id AS segment_id, s.distance_m AS distance_m, s.speed_drop_pct AS speed_drop_pct,
    s.flow_drop_pct AS flow_drop_pct, s.minutes_affected AS minutes_affected, s.ward_code AS ward_code, w.name AS ward_name,
    s.as_of AS as_of, s.good_n AS n, if(s.expected_n > 0, least(1, s.n / s.expected_n), NULL) AS coverage, tuple(s.good_n, s.suspect_n, s.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'within 500 m, 2 h from the onset, against 28 days v1' AS method, s.site_id AS site_id, s.onset_ts AS onset_ts,
    s.peak_depth_mm AS peak_depth_mm, s.minutes_seen AS minutes_seen
FROM
(
    SELECT
        e.event_id AS event_id, e.segment_id AS segment_id, any(e.distance_m) AS distance_m, any(e.site_id) AS site_id,
        any(e.onset_ts) AS onset_ts, any(e.peak_depth_mm) AS peak_depth_mm, argMax(t.ward_code, t.ts) AS ward_code,
        100 * (1 - avgOrNullIf(t.speed_km_h, has_speed) / avgOrNullIf(t.typical_speed_km_h, has_speed)) AS speed_drop_pct,
        100 * (1 - avgOrNullIf(t.flow_veh_h, has_flow) / nullIf(avgOrNullIf(t.typical_flow_veh_h, has_flow), 0)) AS flow_drop_pct,
        10 * countIf(t.speed_z <= -3 OR t.flow_z <= -3) AS minutes_affected, 10 * count() AS minutes_seen,
        max(t.last_ts) AS as_of, sum(t.n) AS n, sum(t.good_n) AS good_n, sum(t.suspect_n) AS suspect_n, sum(t.fail_n) AS fail_n,
        max(t.expected_n) * 12 AS expected_n
    FROM near AS e
    INNER JOIN
    (
        SELECT
            *, isFinite(speed_km_h) AND isFinite(typical_speed_km_h) AS has_speed,
            isFinite(flow_veh_h) AND isFinite(typical_flow_veh_h) AS has_flow
        FROM cityfleet.traffic_state_10min FINAL
        WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')} + INTERVAL 2 HOUR
            AND segment_id IN (SELECT segment_id FROM near)
    ) AS t ON t.segment_id = e.segment_id
    -- Whole ten minutes from the one after the onset on.
    WHERE t.ts >= e.onset_ts AND t.ts < e.onset_ts + INTERVAL 2 HOUR
    GROUP BY event_id, segment_id
) AS s
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = s.ward_code
COMMENT 'Question 13: what each street-flood event of a period ({from:DateTime}, {to:DateTime}) did to traffic within 500 m, in the 2 hours from its onset, against the typical.
Rule: means of the twelve ten minutes that begin within 2 hours of the onset against the medians of the same weekday and hour of the four weeks before. Segments without a typical value have NULL. A ward sees the events and the segments that are both its own.
Source: ioc.street_flood_events, and distances between gauge and detectors on the sphere.
Example: SELECT event_id, segment_id, distance_m, speed_drop_pct, minutes_affected FROM ioc.flood_effect_on_traffic(from = ''2026-09-01 00:00:00'', to = ''2026-10-01 00:00:00'') ORDER BY speed_drop_pct DESC';
