-- Each segment with its newest closed ten minutes of the last half hour, and what it lost in the last six: questions 9 and 10.
-- Windows of long ago have nothing to say.
-- target: cityfleet.traffic_now
-- source: cityfleet.traffic_state_10min
-- bucket: 10 minutes
-- replaces: all
SELECT {to:DateTime('UTC')} > now('UTC') - INTERVAL 90 MINUTE;
WITH
    now('UTC') AS at,
    -- The six newest ten minutes that are there end then.
    (
        SELECT assumeNotNull(max(ts)) + INTERVAL 10 MINUTE
        FROM cityfleet.traffic_state_10min
        WHERE ts >= at - INTERVAL 40 MINUTE AND ts < toStartOfTenMinutes(at)
    ) AS newest_end,
    assumeNotNull(newest_end) AS hour_end,
    s.in_hour AND isFinite(s.vehicles) AND isFinite(s.speed_km_h) AND isFinite(s.free_flow_km_h) AS counts
SELECT
    f.segment_id AS segment_id, f.ward AS ward_code, w.name AS ward_name, f.newest_ts AS ts,
    if(isFinite(f.new_speed_km_h), f.new_speed_km_h, NULL) AS speed_km_h,
    if(isFinite(f.new_free_flow_km_h), f.new_free_flow_km_h, NULL) AS ffs_km_h, f.new_free_flow_by AS ffs_by, speed_km_h / ffs_km_h AS ratio,
    greatest(0, least(1, 1 - ratio)) AS congestion_index, f.new_los AS los, f.new_los_level AS los_level, f.new_los_scheme AS los_scheme,
    l.source AS los_source, if(isFinite(f.new_flow_veh_h), f.new_flow_veh_h, NULL) AS flow_veh_h,
    if(isFinite(f.new_flow_pcu_h), f.new_flow_pcu_h, NULL) AS flow_pcu_h, if(isFinite(f.new_occupancy), f.new_occupancy, NULL) AS occupancy,
    if(isFinite(f.new_typical_speed_km_h), f.new_typical_speed_km_h, NULL) / ffs_km_h AS typical_ratio, ratio - typical_ratio AS delta,
    if(isFinite(f.new_speed_z), f.new_speed_z, NULL) AS speed_z, f.new_last_ts AS as_of, f.new_good_n AS n,
    if(f.new_expected_n > 0, least(1, f.new_n / f.new_expected_n), NULL) AS coverage,
    CAST((f.new_good_n, f.new_suspect_n, f.new_fail_n), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality,
    hour_end AS hour_to, if(isFinite(f.delay), f.delay * hour_length_m / 1000, 0) AS hour_delay_veh_h,
    f.hour_flow_veh_h AS hour_flow_veh_h, f.hour_speed_km_h AS hour_speed_km_h, f.hour_free_flow_km_h AS hour_ffs_km_h,
    f.hour_speed_km_h / f.hour_free_flow_km_h AS hour_ratio, f.length_m > 0 AS is_length_known,
    if(is_length_known, f.length_m, 1000) AS hour_length_m, toUInt64(10 * f.hour_ef_n) AS hour_minutes_at_ef,
    f.hour_last_ts AS hour_as_of, toUInt64(f.hour_good_n) AS hour_good_n,
    if(f.hour_expected_n > 0, least(1, f.hour_n / f.hour_expected_n), NULL) AS hour_coverage,
    CAST((f.hour_good_n, f.hour_suspect_n, f.hour_fail_n), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS hour_quality
FROM
(
    SELECT
        s.segment_id AS segment_id, argMax(toString(s.ward_code), s.ts) AS ward, maxIf(s.ts, s.is_new) AS newest_ts,
        -- One by one: a tuple of them would cost ten times as much.
        argMaxIf(s.flow_veh_h, s.ts, s.is_new) AS new_flow_veh_h, argMaxIf(s.flow_pcu_h, s.ts, s.is_new) AS new_flow_pcu_h,
        argMaxIf(s.speed_km_h, s.ts, s.is_new) AS new_speed_km_h, argMaxIf(s.occupancy, s.ts, s.is_new) AS new_occupancy,
        argMaxIf(s.free_flow_km_h, s.ts, s.is_new) AS new_free_flow_km_h,
        argMaxIf(s.free_flow_by, s.ts, s.is_new) AS new_free_flow_by,
        argMaxIf(s.los_scheme, s.ts, s.is_new) AS new_los_scheme, argMaxIf(s.los, s.ts, s.is_new) AS new_los,
        argMaxIf(s.los_level, s.ts, s.is_new) AS new_los_level,
        argMaxIf(s.typical_speed_km_h, s.ts, s.is_new) AS new_typical_speed_km_h,
        argMaxIf(s.speed_z, s.ts, s.is_new) AS new_speed_z, argMaxIf(s.n, s.ts, s.is_new) AS new_n,
        argMaxIf(s.good_n, s.ts, s.is_new) AS new_good_n, argMaxIf(s.suspect_n, s.ts, s.is_new) AS new_suspect_n,
        argMaxIf(s.fail_n, s.ts, s.is_new) AS new_fail_n, argMaxIf(s.expected_n, s.ts, s.is_new) AS new_expected_n,
        argMaxIf(s.last_ts, s.ts, s.is_new) AS new_last_ts,
        -- Hours lost on a kilometre. A queue that stands still is taken as 1 km/h.
        sumIf(s.vehicles * greatest(0, 1 / greatest(s.speed_km_h, 1) - 1 / s.free_flow_km_h), counts) AS delay,
        sumIf(s.vehicles, counts) AS vehicles,
        if(vehicles > 0, sumIf(s.speed_km_h * s.vehicles, counts) / vehicles, avgIf(s.speed_km_h, counts)) AS hour_speed_km_h,
        avgIf(s.flow_veh_h, counts) AS hour_flow_veh_h, argMaxIf(s.free_flow_km_h, s.ts, counts) AS hour_free_flow_km_h,
        argMaxIf(s.length_m, s.ts, counts) AS length_m, countIf(counts AND s.los_level >= 5) AS hour_ef_n,
        sumIf(s.n, counts) AS hour_n, sumIf(s.good_n, counts) AS hour_good_n, sumIf(s.suspect_n, counts) AS hour_suspect_n,
        sumIf(s.fail_n, counts) AS hour_fail_n, maxIf(s.expected_n, counts) * 6 AS hour_expected_n,
        maxIf(s.last_ts, counts) AS hour_last_ts
    FROM
    (
        SELECT
            *, ts >= at - INTERVAL 30 MINUTE AND ts <= at AND good_n > 0 AS is_new, ts >= hour_end - INTERVAL 1 HOUR AND ts < hour_end AS in_hour
        FROM cityfleet.traffic_state_10min FINAL
        WHERE ts >= at - INTERVAL 100 MINUTE AND ts <= at AND {from:DateTime('UTC')} < {to:DateTime('UTC')}
    ) AS s
    GROUP BY s.segment_id
) AS f
LEFT JOIN (SELECT scheme, any(source) AS source FROM cityfleet.thresholds FINAL WHERE startsWith(scheme, 'los_') GROUP BY scheme) AS l
    ON l.scheme = f.new_los_scheme
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = f.ward
