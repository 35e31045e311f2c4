-- Rivers, water on streets and bad air that are open now, each minute: question 24. To put the three answers together takes
-- several times as long as to read what came of it.
-- target: cityfleet.ward_troubles
-- source: cityfleet.alarm_periods, cityfleet.street_floods, cityfleet.vn_aqi_1h
-- bucket: 1 hour
-- live: yes
-- deletes: itself
SELECT
    if({from:DateTime('UTC')} <= now('UTC') AND {to:DateTime('UTC')} > now('UTC'),
        (SELECT count() FROM cityfleet.alarm_orders) + (SELECT count() FROM cityfleet.alarm_periods WHERE until_ts IS NULL)
        + (SELECT count() FROM cityfleet.street_floods WHERE end_ts IS NULL)
        + (SELECT count() FROM cityfleet.vn_aqi_1h WHERE ts > now('UTC') - INTERVAL 7 DAY AND vn_aqi > 100)
        + (SELECT count() FROM cityfleet.ward_troubles WHERE domain IN ('river', 'street_flood', 'air')), 0);
SELECT
    ward_code, domain, object_id, argMin(told, (is_gone, -toInt16(told.1))) AS row, row.1 AS severity, row.2 AS title, row.3 AS value,
    row.4 AS threshold, row.5 AS unit, row.6 AS source, row.7 AS since_ts, row.8 AS last_ts, row.9 AS good_n,
    row.10 AS suspect_n, row.11 AS fail_n, row.12 AS coverage, row.13 AS method, min(is_gone) AS is_deleted
FROM
(
    SELECT
        ward_code, domain, object_id,
        tuple(severity, title, value, threshold, unit, source, since_ts, as_of, n, quality.2, quality.3, coverage, method)
            ::Tuple(UInt8, String, Nullable(Float64), Nullable(Float64), String, String, DateTime64(3, 'UTC'),
            Nullable(DateTime64(3, 'UTC')), UInt64, UInt64, UInt64, Nullable(Float64), String) AS told,
        toUInt8(0) AS is_gone
    FROM
    (
        SELECT
            ward_code, 'river' AS domain, if(declared, order_ref, gauge_id) AS object_id, bd_level AS severity,
            concat('Báo động ', ['I', 'II', 'III'][bd_level], ', ', river) AS title, measured_m AS value,
            threshold_m AS threshold, 'm' AS unit, source, since_ts, as_of, n, quality, coverage, method
        FROM ioc.ward_alarms_now
        UNION ALL
        SELECT
            ward_code, 'street_flood' AS domain, device_id AS object_id,
            toUInt8(multiIf(depth_mm >= 300, 3, depth_mm >= 100, 2, 1)) AS severity, concat('Ngập đường, ', site_id) AS title,
            toNullable(depth_mm) AS value, toNullable(toFloat64(multiIf(depth_mm >= 300, 300, depth_mm >= 100, 100, 10))) AS threshold,
            'mm' AS unit, 'FloodNet NYC: 4 and 12 inches' AS source, onset_ts AS since_ts, toNullable(as_of) AS as_of, n, quality,
            coverage, method
        FROM ioc.street_floods_open
        UNION ALL
        SELECT
            a.ward_code AS ward_code, 'air' AS domain, a.station_id AS object_id,
            toUInt8(multiIf(a.vn_aqi > 200, 3, a.vn_aqi > 150, 2, 1)) AS severity,
            concat('VN_AQI: ', a.category, ', ', a.dominant) AS title, toNullable(toFloat64(assumeNotNull(a.vn_aqi))) AS value,
            toNullable(toFloat64(multiIf(a.vn_aqi > 200, 200, a.vn_aqi > 150, 150, 100))) AS threshold, '' AS unit,
            a.source AS source, toDateTime64(if(h.since > 0, h.since, a.ts), 3, 'UTC') AS since_ts, toNullable(a.as_of) AS as_of,
            a.n AS n, a.quality AS quality, a.coverage AS coverage, a.method AS method
        FROM (SELECT * FROM ioc.vn_aqi_now WHERE is_current AND vn_aqi > 100) AS a
        LEFT JOIN
        (
            SELECT
                station_id, maxIf(ts, vn_aqi <= 100) AS calm_ts,
                arrayMin(arrayFilter(t -> t > calm_ts, groupArrayIf(ts, vn_aqi > 100))) AS since
            FROM cityfleet.vn_aqi_1h FINAL
            WHERE ts > now() - INTERVAL 7 DAY AND ts <= now() - INTERVAL 1 HOUR
            GROUP BY station_id
            HAVING max(ts) > now() - INTERVAL 4 HOUR AND countIf(vn_aqi > 100) > 0
        ) AS h ON h.station_id = a.station_id
    )
    UNION ALL
    SELECT
        toString(ward_code) AS ward_code, toString(domain) AS domain, object_id,
        tuple(severity, title, value, threshold, unit, source, since_ts, last_ts, good_n, suspect_n, fail_n, coverage, method)
            ::Tuple(UInt8, String, Nullable(Float64), Nullable(Float64), String, String, DateTime64(3, 'UTC'),
            Nullable(DateTime64(3, 'UTC')), UInt64, UInt64, UInt64, Nullable(Float64), String) AS told,
        toUInt8(1) AS is_gone
    FROM cityfleet.ward_troubles FINAL
    WHERE domain IN ('river', 'street_flood', 'air')
)
WHERE {from:DateTime('UTC')} <= now('UTC') AND {to:DateTime('UTC')} > now('UTC')
GROUP BY ward_code, domain, object_id
