-- Ten minutes whose free flow was put right since they were judged, as when a night's readings came a day late: free flow and
-- level of service anew. What was typical of them is as it was. A day's free flow judges the eight days after it. docs/traffic.md.
-- target: cityfleet.traffic_state_10min
-- source: cityfleet.traffic_free_flow
-- bucket: 1 hour
-- reach: 8 days
-- sparse: yes
SELECT
    j.ts AS ts, j.segment_id AS segment_id, j.ward_code AS ward_code, j.vehicles AS vehicles, j.flow_veh_h AS flow_veh_h,
    j.flow_pcu_h AS flow_pcu_h, j.speed_km_h AS speed_km_h, j.occupancy AS occupancy, j.nights_km_h AS free_flow_km_h,
    if(isNaN(j.nights_km_h), '', 'nights') AS free_flow_by, j.length_m AS length_m, j.los_scheme AS los_scheme,
    arrayFirst(
        l -> isFinite(ratio) AND toDate(j.ts, 'Asia/Ho_Chi_Minh') BETWEEN l.4 AND l.5 AND (ratio > l.3 OR l.3 = 0), c.levels) AS found,
    j.speed_km_h / j.nights_km_h AS ratio,
    -- Speeds and densities are judged by themselves.
    if(c.scheme = '', j.los, found.2) AS los, if(c.scheme = '', j.los_level, found.1) AS los_level,
    j.typical_speed_km_h AS typical_speed_km_h, j.typical_flow_veh_h AS typical_flow_veh_h, j.speed_z AS speed_z,
    j.flow_z AS flow_z, j.n AS n, j.good_n AS good_n, j.suspect_n AS suspect_n, j.fail_n AS fail_n,
    j.expected_n AS expected_n, j.last_ts AS last_ts
FROM
(
    SELECT s.*, if(f.free_flow_km_h > 0 AND f.ts > s.ts - INTERVAL 9 DAY, f.free_flow_km_h, nan) AS nights_km_h
    FROM
    (
        SELECT *, ts - INTERVAL 1 DAY AS day_before
        FROM cityfleet.traffic_state_10min FINAL
        WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')} AND free_flow_by != 'declared'
    ) AS s
    ASOF LEFT JOIN
    (
        SELECT ts, segment_id, free_flow_km_h FROM cityfleet.traffic_free_flow FINAL
        WHERE ts >= {from:DateTime('UTC')} - INTERVAL 9 DAY AND ts < {to:DateTime('UTC')}
    ) AS f ON f.segment_id = s.segment_id AND f.ts <= s.day_before
) AS j
LEFT JOIN
(
    SELECT scheme, arraySort(groupArray((level, level_name, ifNull(low, 0), valid_from, valid_to))) AS levels
    FROM cityfleet.thresholds FINAL
    WHERE startsWith(scheme, 'los_') AND parameter = 'speed_ratio'
    GROUP BY scheme
) AS c ON c.scheme = j.los_scheme
WHERE if(isNaN(j.nights_km_h), j.free_flow_by != '', j.nights_km_h != j.free_flow_km_h)
