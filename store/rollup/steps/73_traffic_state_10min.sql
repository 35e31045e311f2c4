-- Each ten minutes of a segment judged by what was known when they came: free flow, typical values, level of service. docs/traffic.md.
-- target: cityfleet.traffic_state_10min
-- source: cityfleet.traffic_10min
-- bucket: 10 minutes
WITH
    -- (level, name, low, high, valid_from, valid_to) of a scheme, the best level first. A border is the worse level's
    -- of ratios, the better one's of speeds and densities, as the manuals print them.
    (parameter, x, day, levels) -> arrayFirst(
        l -> isFinite(x) AND day BETWEEN l.5 AND l.6
            AND multiIf(parameter = 'density', x <= l.4, parameter = 'speed_ratio', x > l.3 OR l.3 = 0, x >= l.3),
        levels) AS level_of,
    -- Medians of few values can all be alike: no sigma is below these.
    greatest(t.speed_sigma, 1., 0.02 * t.speed_km_h) AS speed_sigma,
    -- Counts of ten minutes scatter by their root.
    greatest(t.flow_sigma, sqrt(6 * t.flow_veh_h), 6.) AS flow_sigma
SELECT
    s.ts AS ts, s.segment_id AS segment_id, s.ward_code AS ward_code, s.vehicles AS vehicles, s.flow_veh_h AS flow_veh_h,
    s.flow_pcu_h AS flow_pcu_h, s.speed_km_h AS speed_km_h, s.occupancy AS occupancy,
    f.free_flow_km_h > 0 AND f.ts > s.ts - INTERVAL 9 DAY AS has_nights,
    multiIf(s.declared_km_h > 0, s.declared_km_h, has_nights, f.free_flow_km_h, nan) AS free_flow_km_h,
    multiIf(s.declared_km_h > 0, 'declared', has_nights, 'nights', '') AS free_flow_by,
    s.length_m AS length_m, s.los_scheme AS los_scheme,
    level_of(
        c.parameter,
        multiIf(
            c.parameter = 'speed_ratio', s.speed_km_h / free_flow_km_h,
            c.parameter = 'speed_km_h', s.speed_km_h,
            c.parameter = 'density' AND s.lanes > 0, s.flow_pcu_h / (s.speed_km_h / 1.609344) / s.lanes,
            nan),
        toDate(s.ts, 'Asia/Ho_Chi_Minh'), c.levels) AS found,
    found.2 AS los, found.1 AS los_level,
    if(t.segment_id = '', nan, t.speed_km_h) AS typical_speed_km_h, if(t.segment_id = '', nan, t.flow_veh_h) AS typical_flow_veh_h,
    if(t.segment_id = '', nan, (s.speed_km_h - t.speed_km_h) / speed_sigma) AS speed_z,
    if(t.segment_id = '', nan, (s.flow_veh_h - t.flow_veh_h) / flow_sigma) AS flow_z,
    s.n AS n, s.good_n AS good_n, s.suspect_n AS suspect_n, s.fail_n AS fail_n, s.expected_n AS expected_n, s.last_ts AS last_ts
FROM
(
    SELECT
        a.*, toStartOfHour(a.ts) - INTERVAL 7 DAY AS week_before, a.ts - INTERVAL 1 DAY AS day_before,
        intDiv(toUnixTimestamp(a.ts), 3600) % 168 AS slot,
        r.length_m AS length_m, r.lanes AS lanes, ifNull(r.free_flow_km_h, 0) AS declared_km_h,
        if(r.los_scheme != '', r.los_scheme, 'los_hcm2010_urban') AS los_scheme
    FROM (SELECT * FROM cityfleet.traffic_10min FINAL WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}) AS a
    LEFT JOIN
    (
        SELECT segment_id, length_m, lanes, free_flow_km_h, los_scheme FROM cityfleet.road_segments FINAL
    ) AS r ON r.segment_id = a.segment_id
) AS s
-- Of the newest day that was over, at most eight days ago.
ASOF LEFT JOIN
(
    SELECT ts, segment_id, free_flow_km_h FROM cityfleet.traffic_free_flow FINAL
    WHERE ts >= {from:DateTime('UTC')} - INTERVAL 9 DAY AND ts < {to:DateTime('UTC')}
) AS f ON f.segment_id = s.segment_id AND f.ts <= s.day_before
-- Of the same hour of the week, one to three weeks ago.
ASOF LEFT JOIN
(
    SELECT ts, segment_id, intDiv(toUnixTimestamp(ts), 3600) % 168 AS slot, speed_km_h, speed_sigma, flow_veh_h, flow_sigma
    FROM cityfleet.traffic_typical FINAL
    WHERE ts >= {from:DateTime('UTC')} - INTERVAL 22 DAY AND ts < {to:DateTime('UTC')} - INTERVAL 6 DAY
) AS t ON t.segment_id = s.segment_id AND t.slot = s.slot AND t.ts <= s.week_before
LEFT JOIN
(
    SELECT
        scheme, any(parameter) AS parameter,
        arraySort(groupArray((level, level_name, ifNull(low, 0), ifNull(high, inf), valid_from, valid_to))) AS levels
    FROM cityfleet.thresholds FINAL
    WHERE startsWith(scheme, 'los_')
    GROUP BY scheme
) AS c ON c.scheme = s.los_scheme
