-- The worst station of each ward now, from what the step before has found: question 14 by ward. Made when that was made.
-- target: cityfleet.ward_vn_aqi_now
-- source: cityfleet.vn_aqi_now
-- bucket: 1 hour
-- live: yes
-- replaces: all
WITH
    (SELECT max(version) FROM cityfleet.vn_aqi_now) AS found_ms,
    (SELECT max(version) FROM cityfleet.ward_vn_aqi_now) AS made_ms
SELECT {to:DateTime('UTC')} > now('UTC') - INTERVAL 1 HOUR AND (found_ms > made_ms OR (found_ms = 0 AND made_ms > 0));
SELECT
    toString(a.ward_code) AS ward_code, argMax(a.ts, (a.vn_aqi, a.station_id)) AS ts,
    assumeNotNull(max(a.vn_aqi)) AS vn_aqi, argMax(a.station_id, (a.vn_aqi, a.station_id)) AS station_id,
    toString(argMax(a.dominant, (a.vn_aqi, a.station_id))) AS dominant, toString(argMax(a.category, (a.vn_aqi, a.station_id))) AS category,
    toString(argMax(a.colour, (a.vn_aqi, a.station_id))) AS colour, toString(argMax(a.advice_vi, (a.vn_aqi, a.station_id))) AS advice_vi,
    argMax(a.n_hours, (a.vn_aqi, a.station_id)) AS n_hours, toString(any(a.ward_name)) AS ward_name, max(a.as_of) AS as_of,
    sum(a.n) AS n, avg(a.coverage) AS coverage,
    CAST((sum(a.quality.good), sum(a.quality.suspect), sum(a.quality.fail)), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality,
    toString(argMax(a.hex, (a.vn_aqi, a.station_id))) AS hex, count() AS stations_n, toString(any(a.source)) AS source
FROM
(
    SELECT *
    FROM cityfleet.vn_aqi_now
    WHERE {from:DateTime('UTC')} < {to:DateTime('UTC')} AND ts >= now() - INTERVAL 3 HOUR AND vn_aqi IS NOT NULL
) AS a
GROUP BY ward_code
