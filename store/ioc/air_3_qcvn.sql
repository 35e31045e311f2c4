-- Limits of the air: question 16.

CREATE OR REPLACE VIEW ioc.qcvn_exceedances {on_cluster}
(
    station_id String COMMENT 'Name of the station, the device_id of ioc.devices',
    parameter String COMMENT 'pm2_5, pm10, tsp, so2, no2, o3 or co',
    averaging String COMMENT '1h, 8h, 24h or year',
    exceed_n UInt64 COMMENT 'Hours, trailing 8 hours, days or years above the limit',
    worst_value Float64 COMMENT 'Highest mean, ug/m3',
    `limit` Float64 COMMENT 'Limit that was valid then, ug/m3',
    limit_valid_from Date COMMENT 'First day of its validity',
    ward_code String COMMENT 'Official code of five digits',
    ward_name String COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Newest event time used, UTC',
    n UInt64 COMMENT 'Good readings of the parameter in the period',
    coverage Nullable(Float64) COMMENT 'Means that could be computed, by those that the period and the limit''s validity allow',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the parameter in the period by quality: good, suspect, fail; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    periods_n UInt64 COMMENT 'Means that were compared with the limit',
    worst_ts DateTime('UTC') COMMENT 'Start of the worst hour (the last of the 8), day or year, UTC',
    source String COMMENT 'Where the limit is written'
)
SQL SECURITY INVOKER
AS WITH
    limits AS
    (
        -- Means go by number, in the order in which they are listed below: texts would be copied for each of them.
        SELECT
            parameter, averaging, assumeNotNull(high) AS high, valid_from, valid_to, source,
            toUInt8(indexOf(
                ['so2 1h', 'co 1h', 'no2 1h', 'o3 1h', 'tsp 1h', 'co 8h', 'o3 8h', 'so2 24h', 'no2 24h', 'tsp 24h', 'pm10 24h',
                 'pm2_5 24h', 'so2 year', 'no2 year', 'tsp year', 'pm10 year', 'pm2_5 year'],
                concat(parameter, ' ', averaging))) AS mean_n
        FROM cityfleet.thresholds FINAL
        WHERE scheme = 'qcvn_05_2023' AND high IS NOT NULL
    ),
    days AS
    (
        SELECT *
        FROM cityfleet.vn_aqi_1d FINAL
        WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
    ),
    means AS
    (
        SELECT
            device_num, station_id, ward_code, ts, toDate(ts, 'Asia/Ho_Chi_Minh') AS day, last_ts, toUInt8(m_n) AS mean_n,
            assumeNotNull(m) AS value
        FROM
        (
            SELECT *
            FROM cityfleet.vn_aqi_1h FINAL
            WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
        )
        ARRAY JOIN [so2, co, no2, o3, tsp, co_8h, o3_8h] AS m, range(1, 8) AS m_n
        WHERE m IS NOT NULL
        UNION ALL
        SELECT device_num, station_id, ward_code, ts, day, last_ts, toUInt8(m_n), assumeNotNull(m)
        FROM days
        ARRAY JOIN [so2_24h, no2_24h, tsp_24h, pm10_24h, pm2_5_24h] AS m, range(8, 13) AS m_n
        WHERE m IS NOT NULL
        UNION ALL
        -- Whole years only, with three quarters of their days.
        SELECT
            device_num, any(station_id), argMax(ward_code, ts),
            toDateTime(toDateTime(toStartOfYear(day), 'Asia/Ho_Chi_Minh'), 'UTC') AS year,
            toDate(addYears(toStartOfYear(day), 1) - 1) AS last_day, max(last_ts), toUInt8(m_n) AS mean_n,
            avg(assumeNotNull(m)) AS value
        FROM days
        ARRAY JOIN [so2_24h, no2_24h, tsp_24h, pm10_24h, pm2_5_24h] AS m, range(13, 18) AS m_n
        WHERE m IS NOT NULL
            AND toDateTime(toStartOfYear(day), 'Asia/Ho_Chi_Minh') >= {from:DateTime('UTC')}
            AND toDateTime(addYears(toStartOfYear(day), 1), 'Asia/Ho_Chi_Minh') <= {to:DateTime('UTC')}
        GROUP BY device_num, year, last_day, mean_n
        HAVING count() >= 274
    ),
    received AS
    (
        SELECT
            s.device_num AS device_num, replaceOne(p.metric, '_ug_m3', '') AS parameter, sum(s.good_n) AS good,
            sum(s.suspect_n) AS suspect, sum(s.fail_n) AS fail
        FROM
        (
            -- Columns of the key only, so that it is also right before FINAL.
            SELECT device_num, metric_num, sum(r.good_n) AS good_n, sum(r.suspect_n) AS suspect_n, sum(r.fail_n) AS fail_n
            FROM cityfleet.readings_1h AS r FINAL
            PREWHERE r.ts >= {from:DateTime('UTC')} AND r.ts < {to:DateTime('UTC')}
                AND r.metric_num IN
                (
                    SELECT metric_num
                    FROM cityfleet.metrics FINAL
                    WHERE metric IN ('pm2_5_ug_m3', 'pm10_ug_m3', 'tsp_ug_m3', 'so2_ug_m3', 'no2_ug_m3', 'o3_ug_m3', 'co_ug_m3')
                )
                AND r.device_num IN
                (
                    SELECT device_num
                    FROM cityfleet.vn_aqi_1h
                    WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
                    UNION DISTINCT
                    SELECT device_num
                    FROM cityfleet.vn_aqi_1d
                    WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
                )
            GROUP BY device_num, metric_num
        ) AS s
        INNER JOIN (SELECT metric_num, metric FROM cityfleet.metrics FINAL) AS p ON p.metric_num = s.metric_num
        GROUP BY device_num, parameter
    ),
    compared AS
    (
        SELECT
            m.device_num AS device_num, any(m.station_id) AS station_id, m.mean_n AS mean_n, countIf(m.value > l.high) AS exceed_n,
            max(m.value) AS worst_value, l.high AS high, l.valid_from AS valid_from, l.valid_to AS valid_to,
            argMax(m.ward_code, m.ts) AS ward_code, max(m.last_ts) AS as_of, count() AS periods_n, argMax(m.ts, m.value) AS worst_ts
        FROM means AS m
        INNER JOIN (SELECT mean_n, high, valid_from, valid_to FROM limits) AS l ON l.mean_n = m.mean_n
        WHERE m.day BETWEEN l.valid_from AND l.valid_to
        GROUP BY m.device_num, m.mean_n, l.high, l.valid_from, l.valid_to
    ),
    found AS
    (
        SELECT
            c.*, l.parameter AS parameter, l.averaging AS averaging, l.source AS source,
            dateDiff(
                'second', greatest({from:DateTime('UTC')}, toDateTime(c.valid_from, 'Asia/Ho_Chi_Minh')),
                if(c.valid_to > '2100-01-01', {to:DateTime('UTC')},
                   least({to:DateTime('UTC')}, toDateTime(c.valid_to + 1, 'Asia/Ho_Chi_Minh')))) AS valid_s
        FROM compared AS c
        ANY LEFT JOIN limits AS l
            ON l.mean_n = c.mean_n AND l.high = c.high AND l.valid_from = c.valid_from AND l.valid_to = c.valid_to
    )
SELECT
    f.station_id AS station_id, f.parameter AS parameter, f.averaging AS averaging, f.exceed_n AS exceed_n,
    f.worst_value AS worst_value, f.high AS `limit`, f.valid_from AS limit_valid_from, f.ward_code AS ward_code,
    w.name AS ward_name, f.as_of AS as_of, r.good AS n,
    least(1., f.periods_n / greatest(1, round(f.valid_s
        / transform(f.averaging, ['24h', 'year'], [86400, 31556952], 3600)))) AS coverage,
    CAST((r.good, r.suspect, r.fail), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality, 'QCVN 05:2023/BTNMT v1' AS method, f.periods_n AS periods_n,
    f.worst_ts AS worst_ts, f.source AS source
FROM found AS f
LEFT JOIN received AS r ON r.device_num = f.device_num AND r.parameter = f.parameter
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = f.ward_code
COMMENT 'Question 16: how often each station was above the limits of QCVN 05:2023 in a period, each limit as it was valid on the day.
Hours, days and years that begin in [from, to), UTC. 1h: means of the hour. 8h: the mean of an hour and the 7 before, from 6 hours on. 24h: days at +07:00 with at least 18 hours. year: calendar years that lie wholly in the period, with at least 274 days. A row for each limit that was compared with something, also with exceed_n = 0; a limit that changed in the period has two. Values are compared as they are: an instrument must tell ug/m3 at 25 degrees and 760 mmHg.
Source: QCVN 05:2023/BTNMT (Circular 01/2023/TT-BTNMT), in force from 12 September 2023; PM2.5 of 24 hours: 50 until 31 December 2025, 45 from 1 January 2026.
Example: what was exceeded in 2026 so far.
SELECT station_id, parameter, averaging, exceed_n, periods_n, worst_value, worst_ts, source FROM ioc.qcvn_exceedances(from = ''2025-12-31 17:00:00'', to = now(''UTC'')) WHERE exceed_n > 0 ORDER BY exceed_n DESC';
