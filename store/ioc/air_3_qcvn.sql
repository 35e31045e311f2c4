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
    -- Whole days of +07:00 that ended an hour ago, and so are summed up; what is left of the period is counted by the hour.
    toDateTime(intDiv(toUnixTimestamp({from:DateTime('UTC')}) + 111599, 86400) * 86400 - 25200, 'UTC') AS from_day,
    toDateTime(intDiv(toUnixTimestamp(least({to:DateTime('UTC')}, now('UTC') - INTERVAL 1 HOUR)) + 25200, 86400) * 86400 - 25200, 'UTC') AS to_day,
    -- Means go by number, in the order in which they are listed below, and limits too: texts would be copied for each of them.
    (
        SELECT arraySort(groupArray((
            toUInt8(indexOf(
                ['so2 1h', 'co 1h', 'no2 1h', 'o3 1h', 'tsp 1h', 'co 8h', 'o3 8h', 'so2 24h', 'no2 24h', 'tsp 24h', 'pm10 24h',
                 'pm2_5 24h', 'so2 year', 'no2 year', 'tsp year', 'pm10 year', 'pm2_5 year'],
                concat(parameter, ' ', averaging))),
            assumeNotNull(high), valid_from, valid_to, toString(parameter), toString(averaging), toString(source))))
        FROM cityfleet.thresholds FINAL
        WHERE scheme = 'qcvn_05_2023' AND high IS NOT NULL
    ) AS limits,
    (
        SELECT (groupArray(metric_num), groupArray(replaceOne(metric, '_ug_m3', '')))
        FROM cityfleet.metrics FINAL
        WHERE metric IN ('pm2_5_ug_m3', 'pm10_ug_m3', 'tsp_ug_m3', 'so2_ug_m3', 'no2_ug_m3', 'o3_ug_m3', 'co_ug_m3')
    ) AS metrics,
    arrayFilter((number, name) -> name IN ('so2', 'co', 'no2', 'o3', 'tsp'), metrics.1, metrics.2) AS by_hour,
    (SELECT (groupArray(toString(ward_code)), groupArray(toString(name))) FROM cityfleet.wards FINAL) AS wards,
    limits[f.limit_n] AS own
SELECT
    f.station_id AS station_id, own.5 AS parameter, own.6 AS averaging, f.exceed_n AS exceed_n,
    f.worst_value AS worst_value, own.2 AS `limit`, own.3 AS limit_valid_from, f.ward AS ward_code,
    transform(toString(f.ward), wards.1, wards.2, '') AS ward_name, f.newest AS as_of, r.good AS n,
    least(1., f.periods_n / greatest(1, round(dateDiff(
        'second', greatest({from:DateTime('UTC')}, toDateTime(own.3, 'Asia/Ho_Chi_Minh')),
        if(own.4 > '2100-01-01', {to:DateTime('UTC')}, least({to:DateTime('UTC')}, toDateTime(own.4 + 1, 'Asia/Ho_Chi_Minh')))
    ) / transform(own.6, ['24h', 'year'], [86400, 31556952], 3600)))) AS coverage,
    CAST((r.good, r.suspect, r.fail), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality, 'QCVN 05:2023/BTNMT v1' AS method,
    f.periods_n AS periods_n, f.worst_ts AS worst_ts, own.7 AS source
FROM
(
    SELECT
        m.device_num AS device_num, l.limit_n AS limit_n, any(m.station_id) AS station_id, countIf(m.value > l.high) AS exceed_n,
        max(m.value) AS worst_value, argMax(m.ward_code, m.ts) AS ward, max(m.last_ts) AS newest, count() AS periods_n,
        argMax(m.ts, m.value) AS worst_ts
    FROM
    (
        SELECT
            device_num, station_id, ward_code, ts, toDate(ts, 'Asia/Ho_Chi_Minh') AS day, last_ts, toUInt8(m_n) AS mean_n,
            assumeNotNull(m) AS value
        FROM
        (
            SELECT *
            FROM cityfleet.vn_aqi_1h FINAL
            -- Most stations measure dust alone, of which there is no mean by the hour here. Columns of the key only, as below; a
            -- mean of 8 hours may rest on those before the period.
            PREWHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')} AND device_num IN
            (
                SELECT device_num
                FROM cityfleet.readings_1h
                PREWHERE ts >= {from:DateTime('UTC')} - INTERVAL 8 HOUR AND ts < {to:DateTime('UTC')}
                    AND metric_num IN (SELECT arrayJoin(by_hour))
            )
            WHERE coalesce(so2, co, no2, o3, tsp, co_8h, o3_8h) IS NOT NULL
        )
        ARRAY JOIN [so2, co, no2, o3, tsp, co_8h, o3_8h] AS m, range(1, 8) AS m_n
        WHERE m IS NOT NULL
        UNION ALL
        SELECT device_num, station_id, ward_code, ts, day, last_ts, toUInt8(m_n), assumeNotNull(m)
        FROM (SELECT * FROM cityfleet.vn_aqi_1d FINAL WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')})
        ARRAY JOIN [so2_24h, no2_24h, tsp_24h, pm10_24h, pm2_5_24h] AS m, range(8, 13) AS m_n
        WHERE m IS NOT NULL
        UNION ALL
        -- Whole years only, with three quarters of their days.
        SELECT
            device_num, any(station_id), argMax(ward_code, ts),
            toDateTime(toDateTime(toStartOfYear(day), 'Asia/Ho_Chi_Minh'), 'UTC') AS year,
            toDate(addYears(toStartOfYear(day), 1) - 1) AS last_day, max(last_ts), toUInt8(m_n) AS mean_n,
            avg(assumeNotNull(m)) AS value
        FROM
        (
            SELECT *
            FROM cityfleet.vn_aqi_1d FINAL
            WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
                AND toDateTime(toStartOfYear(day), 'Asia/Ho_Chi_Minh') >= {from:DateTime('UTC')}
                AND toDateTime(addYears(toStartOfYear(day), 1), 'Asia/Ho_Chi_Minh') <= {to:DateTime('UTC')}
        )
        ARRAY JOIN [so2_24h, no2_24h, tsp_24h, pm10_24h, pm2_5_24h] AS m, range(13, 18) AS m_n
        WHERE m IS NOT NULL
        GROUP BY device_num, year, last_day, mean_n
        HAVING count() >= 274
    ) AS m
    INNER JOIN
    (
        SELECT one.1.1 AS mean_n, one.1.2 AS high, one.1.3 AS valid_from, one.1.4 AS valid_to, toUInt8(one.2) AS limit_n
        FROM (SELECT arrayJoin(arrayZip(limits, arrayEnumerate(limits))) AS one)
    ) AS l ON l.mean_n = m.mean_n
    WHERE m.day BETWEEN l.valid_from AND l.valid_to
    GROUP BY device_num, limit_n
) AS f
LEFT JOIN
(
    SELECT
        device_num, transform(metric_num, metrics.1, metrics.2, '') AS parameter, sum(good_n) AS good, sum(suspect_n) AS suspect,
        sum(fail_n) AS fail
    FROM
    (
        -- Columns of the key only, so that it is also right before FINAL.
        SELECT device_num, metric_num, good_n, suspect_n, fail_n
        FROM cityfleet.readings_1h FINAL
        PREWHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')} AND (ts < from_day OR ts >= to_day)
            AND metric_num IN (SELECT arrayJoin(metrics.1))
        UNION ALL
        SELECT device_num, metric_num, good_n, suspect_n, fail_n
        FROM cityfleet.readings_1d FINAL
        PREWHERE ts >= from_day AND ts < to_day
            AND metric_num IN (SELECT arrayJoin(metrics.1))
    )
    GROUP BY device_num, parameter
) AS r ON r.device_num = f.device_num AND r.parameter = own.5
COMMENT 'Question 16: how often each station was above the limits of QCVN 05:2023 in a period, each limit as it was valid on the day.
Hours, days and years that begin in [from, to), UTC. 1h: means of the hour. 8h: the mean of an hour and the 7 before, from 6 hours on. 24h: days at +07:00 with at least 18 hours. year: calendar years that lie wholly in the period, with at least 274 days. A row for each limit that was compared with something, also with exceed_n = 0; a limit that changed in the period has two. Values are compared as they are: an instrument must tell ug/m3 at 25 degrees and 760 mmHg.
Source: QCVN 05:2023/BTNMT (Circular 01/2023/TT-BTNMT), in force from 12 September 2023; PM2.5 of 24 hours: 50 until 31 December 2025, 45 from 1 January 2026.
Example: what was exceeded in 2026 so far.
SELECT station_id, parameter, averaging, exceed_n, periods_n, worst_value, worst_ts, source FROM ioc.qcvn_exceedances(from = ''2025-12-31 17:00:00'', to = now(''UTC'')) WHERE exceed_n > 0 ORDER BY exceed_n DESC';
