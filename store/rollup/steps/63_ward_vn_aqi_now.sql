-- The worst station of each ward now, from what the step before has found: question 14 by ward. Made when that was made.
-- All rows that are true have the version of the newest run; of the run itself there is one for the city and each ward.
-- target: cityfleet.ward_vn_aqi_now
-- source: cityfleet.vn_aqi_now
-- bucket: 1 hour
-- live: yes
-- deletes: itself
SELECT
    {to:DateTime('UTC')} > now('UTC') - INTERVAL 1 HOUR
    AND (SELECT max(version) FROM cityfleet.vn_aqi_now) > (SELECT max(version) FROM cityfleet.ward_vn_aqi_now);
SELECT
    toString(a.ward_code) AS ward_code, false AS is_run, argMax(a.ts, (a.vn_aqi, a.station_id)) AS ts,
    assumeNotNull(max(a.vn_aqi)) AS vn_aqi, argMax(a.station_id, (a.vn_aqi, a.station_id)) AS station_id,
    toString(argMax(a.dominant, (a.vn_aqi, a.station_id))) AS dominant, toString(argMax(a.category, (a.vn_aqi, a.station_id))) AS category,
    toString(argMax(a.colour, (a.vn_aqi, a.station_id))) AS colour, toString(argMax(a.advice_vi, (a.vn_aqi, a.station_id))) AS advice_vi,
    argMax(a.n_hours, (a.vn_aqi, a.station_id)) AS n_hours, toString(any(a.ward_name)) AS ward_name, max(a.as_of) AS as_of,
    sum(a.n) AS n, avg(a.coverage) AS coverage,
    CAST((sum(a.quality.good), sum(a.quality.suspect), sum(a.quality.fail)), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality,
    toString(argMax(a.hex, (a.vn_aqi, a.station_id))) AS hex, count() AS stations_n, toString(any(a.source)) AS source,
    toUInt8(0) AS is_deleted
FROM
(
    SELECT *
    FROM cityfleet.vn_aqi_now
    WHERE {from:DateTime('UTC')} < {to:DateTime('UTC')} AND version = (SELECT max(version) FROM cityfleet.vn_aqi_now)
        AND device_num != 0 AND ts >= now() - INTERVAL 3 HOUR AND vn_aqi IS NOT NULL
) AS a
GROUP BY ward_code
UNION ALL
SELECT
    r.seen_by, true, toStartOfHour(now('UTC')), 0, '', '', '', '', '', 0, '', toDateTime64(0, 3, 'UTC'), 0, NULL, (0, 0, 0), '', 0, '', 0
FROM (SELECT '' AS seen_by UNION DISTINCT SELECT ward_code FROM cityfleet.wards FINAL) AS r
