-- VN_AQI of each hour (Decision 1459/QD-TCMT of 2019), and the US AQI beside it. docs/air.md has the rules and choices.
-- target: cityfleet.vn_aqi_1h
-- source: cityfleet.readings_1h
-- bucket: 1 hour
-- reach: 12 hours
-- reach back: 1 hour
-- metrics: pm2_5_ug_m3, pm10_ug_m3, so2_ug_m3, no2_ug_m3, co_ug_m3, o3_ug_m3, tsp_ug_m3
WITH
    -- The US index cuts a concentration off before it looks it up: to so many decimals, safe from 35.5 being 35.49999.
    (c, decimals) -> floor(greatest(c, 0) * exp10(decimals) + 1e-6) / exp10(decimals) AS cut,
    -- A boundary belongs to the lower segment. Above the last one: 500 where the scale goes to 500, else there is no index.
    (c, day, segments) -> arrayFirst(s -> greatest(c, 0) <= s.2 AND day BETWEEN s.5 AND s.6, segments) AS segment,
    (s, c) -> s.3 + (s.4 - s.3) * (greatest(c, 0) - s.1) / (s.2 - s.1) AS along,
    (c, day, segments) -> multiIf(
        isNaN(c), nan,
        segment(c, day, segments).2 > 0, along(segment(c, day, segments), c),
        arrayExists(s -> s.4 = 500 AND day BETWEEN s.5 AND s.6, segments), 500.,
        nan) AS index_of,
    i -> if(isNaN(i), NULL, toUInt16(floor(i + 0.5 + 1e-9))) AS rounded,
    -- Of (age in hours, mean): the weight is not below a half, and the sum is normalised, also with hours missing.
    hours -> multiIf(
        arrayMax(h -> h.2, hours) <= 0, 1,
        greatest(0.5, arrayMin(h -> h.2, hours) / arrayMax(h -> h.2, hours))) AS weight,
    hours -> if(
        arrayCount(h -> h.1 < 3, hours) < 2,
        nan,
        arraySum(h -> h.2 * pow(weight(hours), h.1), hours) / arraySum(h -> pow(weight(hours), h.1), hours)) AS nowcast,
    hours -> if(length(hours) < 6, nan, arraySum(h -> h.2, hours) / length(hours)) AS mean_8h,
    (SELECT mapFromArrays(groupArray(metric), groupArray(metric_num)) FROM cityfleet.metrics FINAL) AS num,
    -- By scheme, parameter and averaging: (c_low, c_high, i_low, i_high, valid_from, valid_to).
    (
        SELECT mapFromArrays(groupArray(name), groupArray(segments))
        FROM
        (
            SELECT
                concat(scheme, ' ', parameter, ' ', averaging) AS name,
                arraySort(groupArray((c_low, c_high, toFloat64(i_low), toFloat64(i_high), valid_from, valid_to))) AS segments
            FROM cityfleet.aqi_breakpoints FINAL
            GROUP BY name
        )
    ) AS scale,
    hourly AS
    (
        SELECT
            device_num,
            -- A station labelled hour_stamp=end names an hour by its end: its reading of 01:00 is of the hour before.
            r.ts - if(device_num IN (SELECT device_num FROM cityfleet.devices FINAL WHERE labels['hour_stamp'] = 'end'), 3600, 0)
                AS hour,
            argMax(r.ward_code, (r.last_ts, r.ward_code)) AS ward,
            -- A device that moved has the hour twice, once for each ward. NaN: no good reading.
            sumIf(r.sum, metric_num = num['pm2_5_ug_m3']) / sumIf(r.good_n, metric_num = num['pm2_5_ug_m3']) AS pm2_5,
            sumIf(r.sum, metric_num = num['pm10_ug_m3']) / sumIf(r.good_n, metric_num = num['pm10_ug_m3']) AS pm10,
            sumIf(r.sum, metric_num = num['so2_ug_m3']) / sumIf(r.good_n, metric_num = num['so2_ug_m3']) AS so2,
            sumIf(r.sum, metric_num = num['no2_ug_m3']) / sumIf(r.good_n, metric_num = num['no2_ug_m3']) AS no2,
            sumIf(r.sum, metric_num = num['co_ug_m3']) / sumIf(r.good_n, metric_num = num['co_ug_m3']) AS co,
            sumIf(r.sum, metric_num = num['o3_ug_m3']) / sumIf(r.good_n, metric_num = num['o3_ug_m3']) AS o3,
            sumIf(r.sum, metric_num = num['tsp_ug_m3']) / sumIf(r.good_n, metric_num = num['tsp_ug_m3']) AS tsp,
            sum(r.n) AS all_n,
            sum(r.good_n) AS all_good_n,
            sum(r.suspect_n) AS all_suspect_n,
            sum(r.fail_n) AS all_fail_n,
            max(r.last_ts) AS newest
        FROM cityfleet.readings_1h AS r FINAL
        WHERE metric_num IN {metrics:Array(UInt16)}
            AND r.ts >= {from:DateTime('UTC')} - INTERVAL 11 HOUR AND r.ts < {to:DateTime('UTC')} + INTERVAL 1 HOUR
        GROUP BY device_num, hour
    ),
    -- Each hour serves the twelve from itself on: no array over a station's history, and holes need no filling.
    windows AS
    (
        SELECT
            device_num,
            h.hour + age * 3600 AS ts,
            argMin(h.ward, age) AS ward_code,
            arraySort(groupArrayIf((age, h.pm2_5), isFinite(h.pm2_5))) AS pm2_5_hours,
            arraySort(groupArrayIf((age, h.pm10), isFinite(h.pm10))) AS pm10_hours,
            arraySort(groupArrayIf((age, h.co), isFinite(h.co) AND age < 8)) AS co_hours,
            arraySort(groupArrayIf((age, h.o3), isFinite(h.o3) AND age < 8)) AS o3_hours,
            sumIf(h.pm2_5, age = 0) + if(countIf(age = 0) = 0, nan, 0) AS pm2_5,
            sumIf(h.pm10, age = 0) + if(countIf(age = 0) = 0, nan, 0) AS pm10,
            sumIf(h.so2, age = 0) + if(countIf(age = 0) = 0, nan, 0) AS so2,
            sumIf(h.no2, age = 0) + if(countIf(age = 0) = 0, nan, 0) AS no2,
            sumIf(h.co, age = 0) + if(countIf(age = 0) = 0, nan, 0) AS co,
            sumIf(h.o3, age = 0) + if(countIf(age = 0) = 0, nan, 0) AS o3,
            sumIf(h.tsp, age = 0) + if(countIf(age = 0) = 0, nan, 0) AS tsp,
            sumIf(h.all_n, age = 0) AS n,
            sumIf(h.all_good_n, age = 0) AS good_n,
            sumIf(h.all_suspect_n, age = 0) AS suspect_n,
            sumIf(h.all_fail_n, age = 0) AS fail_n,
            maxIf(h.newest, age = 0) AS last_ts
        FROM hourly AS h
        ARRAY JOIN range(12) AS age
        WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
        GROUP BY device_num, ts
        -- A NowCast may do without its own hour, if it has the two before.
        HAVING countIf(age = 0) = 1 OR countIf(age < 3) = 2
    ),
    -- What a type promises in an hour.
    promised AS
    (
        SELECT device_type, toUInt32(round(sum(if(i = 0, 0, 3600 / i)))) AS expected_n
        FROM
        (
            SELECT device_type, metric, if(interval_s > 0, interval_s, expected_interval_s) AS i
            FROM (SELECT * FROM cityfleet.device_types FINAL)
            ARRAY JOIN metric_nums AS metric, metric_intervals_s AS interval_s
        )
        WHERE metric IN {metrics:Array(UInt16)}
        GROUP BY device_type
    ),
    stations AS
    (
        SELECT device_num, d.device_id AS station_id, p.expected_n AS expected_n
        FROM (SELECT device_num, device_id, device_type FROM cityfleet.devices FINAL) AS d
        INNER JOIN promised AS p ON p.device_type = d.device_type
    ),
    indices AS
    (
        SELECT
            w.*,
            toDate(w.ts, 'Asia/Ho_Chi_Minh') AS day,
            arrayMap(hours -> nowcast(hours), [pm2_5_hours, pm10_hours]) AS nowcasts,
            nowcasts[1] AS pm2_5_now,
            nowcasts[2] AS pm10_now,
            mean_8h(co_hours) AS co_mean_8h,
            mean_8h(o3_hours) AS o3_mean_8h,
            ['pm2_5', 'pm10', 'so2', 'no2', 'co', 'o3'] AS names,
            -- One lambda over all: each name that it is written out for costs the analysis of the query more than the work.
            arrayMap(
                (c, segments) -> index_of(c, day, segments),
                [pm2_5_now, pm10_now, w.so2, w.no2, w.co, w.o3],
                [
                    scale['vn_aqi pm2_5 24h'], scale['vn_aqi pm10 24h'], scale['vn_aqi so2 1h'], scale['vn_aqi no2 1h'],
                    scale['vn_aqi co 1h'], scale['vn_aqi o3 1h']
                ]
            ) AS vn,
            -- Gases in ppb and ppm: 24.45 litres a mole at 25 degrees and 760 mmHg, by the molar mass.
            arrayMap(
                (c, decimals, segments) -> index_of(cut(c, decimals), day, segments),
                [
                    pm2_5_now, pm10_now, w.so2 * 24.45 / 64.066, w.no2 * 24.45 / 46.006, co_mean_8h * 24.45 / 28.010 / 1000,
                    o3_mean_8h * 24.45 / 47.998 / 1000
                ],
                [1, 0, 0, 0, 1, 3],
                [
                    scale['us_aqi pm2_5 24h'], scale['us_aqi pm10 24h'], scale['us_aqi so2 1h'], scale['us_aqi no2 1h'],
                    scale['us_aqi co 8h'], scale['us_aqi o3 8h']
                ]
            ) AS us,
            -- Which one dominates is decided before rounding.
            arrayMax(i -> if(isNaN(i), -1, i), vn) AS vn_max,
            arrayMax(i -> if(isNaN(i), -1, i), us) AS us_max,
            isFinite(vn[1]) OR isFinite(vn[2]) AS has_vn
        FROM windows AS w
    )
SELECT
    i.device_num AS device_num,
    i.ts AS ts,
    i.ward_code AS ward_code,
    s.station_id AS station_id,
    if(has_vn, rounded(vn_max), NULL) AS vn_aqi,
    if(has_vn, names[indexOf(vn, vn_max)], '') AS dominant,
    rounded(vn[1]) AS aqi_pm2_5,
    rounded(vn[2]) AS aqi_pm10,
    rounded(vn[3]) AS aqi_so2,
    rounded(vn[4]) AS aqi_no2,
    rounded(vn[5]) AS aqi_co,
    rounded(vn[6]) AS aqi_o3,
    if(us_max < 0, NULL, rounded(us_max)) AS us_aqi,
    if(us_max < 0, '', names[indexOf(us, us_max)]) AS us_dominant,
    if(isNaN(pm2_5_now), NULL, pm2_5_now) AS pm2_5_nowcast,
    if(isNaN(pm10_now), NULL, pm10_now) AS pm10_nowcast,
    toUInt8(greatest(length(pm2_5_hours), length(pm10_hours))) AS n_hours,
    if(isNaN(i.pm2_5), NULL, i.pm2_5) AS pm2_5,
    if(isNaN(i.pm10), NULL, i.pm10) AS pm10,
    if(isNaN(i.so2), NULL, i.so2) AS so2,
    if(isNaN(i.no2), NULL, i.no2) AS no2,
    if(isNaN(i.co), NULL, i.co) AS co,
    if(isNaN(i.o3), NULL, i.o3) AS o3,
    if(isNaN(i.tsp), NULL, i.tsp) AS tsp,
    if(isNaN(co_mean_8h), NULL, co_mean_8h) AS co_8h,
    if(isNaN(o3_mean_8h), NULL, o3_mean_8h) AS o3_8h,
    i.n AS n,
    i.good_n AS good_n,
    i.suspect_n AS suspect_n,
    i.fail_n AS fail_n,
    s.expected_n AS expected_n,
    i.last_ts AS last_ts
FROM indices AS i
LEFT JOIN stations AS s ON s.device_num = i.device_num
