-- Each gauge with its newest level, alarm level and slope, and when it gets to the next, as of now, each minute: questions 1
-- and 3. Windows of long ago have nothing to say.
-- target: cityfleet.river_now
-- source: cityfleet.alarm_levels_10min
-- bucket: 10 minutes
-- metrics: water_level_m
-- live: yes
-- replaces: all
SELECT {to:DateTime('UTC')} > now('UTC') - INTERVAL 1 HOUR;
WITH
    now64(3, 'UTC') AS at,
    arrayFilter(x -> x.2 <= l.level_m, t.thresholds) AS passed,
    arrayFirst(x -> ifNull(x.2 > l.level_m, 0), t.thresholds) AS above
SELECT
    g.device_num AS device_num, g.gauge_id AS gauge_id, g.name AS name, g.river AS river, g.station_id AS station_id,
    g.ward_code AS ward_code, w.name AS ward_name, g.latitude AS latitude, g.longitude AS longitude, l.level_m AS level_m,
    l.level_ts AS ts, toUInt8(arrayMax(x -> x.1, arrayPushBack(passed, (0, 0.)))) AS bd_level,
    if(bd_level > 0, arrayFirst(x -> x.1 = bd_level, t.thresholds).2, NULL) AS threshold_m, level_m - threshold_m AS above_threshold_m,
    if(above.1 > 0, toNullable(above.1), NULL) AS next_level, if(above.1 > 0, toNullable(above.2), NULL) AS next_threshold_m,
    next_threshold_m - level_m AS gap_to_next_m, t.source AS threshold_source, l.slope AS rate_m_per_h,
    rate_m_per_h - l.half AS rate_low_m_per_h, rate_m_per_h + l.half AS rate_high_m_per_h,
    -- Of a line that rises; not later than in ten days, and the latest not than in a hundred.
    if(rate_m_per_h > 0 AND gap_to_next_m / rate_m_per_h <= 240,
        addMilliseconds(ts, toInt64(3600000 * gap_to_next_m / rate_m_per_h)), NULL) AS eta_ts,
    if(eta_ts IS NULL, NULL, addMilliseconds(ts, toInt64(3600000 * gap_to_next_m / rate_high_m_per_h))) AS eta_low,
    if(eta_ts IS NOT NULL AND rate_low_m_per_h > 0 AND gap_to_next_m / rate_low_m_per_h <= 2400,
        addMilliseconds(ts, toInt64(3600000 * gap_to_next_m / rate_low_m_per_h)), NULL) AS eta_high,
    if(l.newest_flag = 0, 9, l.newest_flag) AS qc_flag, toUInt64(l.points_n) AS points_n, toUInt64(l.good_n) AS n,
    if(g.expected_interval_s > 0, least(1, l.all_n * g.expected_interval_s / 10800), NULL) AS coverage,
    CAST((l.good_n, l.suspect_n, l.fail_n), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality,
    if(notEmpty(t.thresholds), 'bao_dong/QD05-2020 v1', 'no alarm levels known') AS method
FROM (SELECT * FROM cityfleet.alarm_gauges FINAL WHERE {from:DateTime('UTC')} < {to:DateTime('UTC')} AND notEmpty({metrics:Array(UInt16)})) AS g
LEFT JOIN
(
    SELECT
        *,
        points_n * sxx - sx * sx AS spread,
        if(points_n >= 3 AND spread > 1e-9, (points_n * sxy - sx * sy) / spread, NULL) AS slope,
        -- Student's t, 97.5 %, for 1 to 18 degrees of freedom: three hours have no more than 19 ten minutes.
        [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12,
         2.11, 2.101][least(points_n - 2, 18)]
            * sqrt(greatest(0, (syy - sy * sy / points_n) - slope * (sxy - sx * sy / points_n)) / (points_n - 2)
                / (spread / points_n)) AS half
    FROM
    (
        SELECT
            device_num, argMaxIf(last, last_ts, good_n_10 > 0)::Nullable(Float64) AS found_m, maxIf(last_ts, good_n_10 > 0) AS found_ts,
            if(found_ts = 0, NULL, found_m) AS level_m, if(found_ts = 0, NULL, found_ts) AS level_ts,
            argMax(multiIf(fail_n_10 > 0, 4, suspect_n_10 > 0, 3, good_n_10 > 0, 1, n_10 > 0, 2, 9), ten_min) AS newest_flag,
            sumIf(n_10, recent) AS all_n, sumIf(good_n_10, recent) AS good_n, sumIf(suspect_n_10, recent) AS suspect_n,
            sumIf(fail_n_10, recent) AS fail_n, countIf(is_point) AS points_n, sumIf(x, is_point) AS sx, sumIf(y, is_point) AS sy,
            sumIf(x * x, is_point) AS sxx, sumIf(x * y, is_point) AS sxy, sumIf(y * y, is_point) AS syy
        FROM
        (
            SELECT
                r.device_num AS device_num, r.ts AS ten_min, r.n AS n_10, r.good_n AS good_n_10, r.suspect_n AS suspect_n_10,
                r.fail_n AS fail_n_10, r.last AS last, r.last_ts AS last_ts,
                r.ts > at - INTERVAL 190 MINUTE AS recent,
                r.good_n > 0 AND r.last_ts > at - INTERVAL 3 HOUR AS is_point,
                dateDiff('millisecond', at, r.last_ts) / 3600000 AS x, r.last AS y
            FROM cityfleet.alarm_levels_10min AS r FINAL
            WHERE r.ts >= at - INTERVAL 1 DAY AND r.ts <= at
        )
        GROUP BY device_num
    )
) AS l ON l.device_num = g.device_num
LEFT JOIN
(
    SELECT object, arraySort(x -> x.2, groupArray((level, assumeNotNull(low)))) AS thresholds, any(source) AS source
    FROM cityfleet.thresholds FINAL
    WHERE scheme = 'bao_dong' AND low IS NOT NULL AND valid_from <= toDate(at, 'Asia/Ho_Chi_Minh')
        AND valid_to >= toDate(at, 'Asia/Ho_Chi_Minh')
    GROUP BY object
) AS t ON t.object = g.station_id AND g.station_id != ''
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = g.ward_code
