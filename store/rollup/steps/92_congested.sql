-- The segments that are congested now, each minute: question 24. Of windows of before there is nothing to say.
-- target: cityfleet.ward_troubles
-- source: cityfleet.traffic_state_10min
-- bucket: 10 minutes
-- live: yes
-- deletes: itself
SELECT
    if({from:DateTime('UTC')} <= now('UTC') AND {to:DateTime('UTC')} > now('UTC'),
        (SELECT count() FROM cityfleet.traffic_state_10min WHERE ts >= now('UTC') - INTERVAL 30 MINUTE AND los_level >= 5)
        + (SELECT count() FROM cityfleet.ward_troubles WHERE domain = 'traffic'), 0);
SELECT
    ward_code, 'traffic' AS domain, object_id, argMin(told, is_gone) AS row, row.1 AS severity, row.2 AS title, row.3 AS value,
    row.4 AS threshold, 'km/h' AS unit, row.5 AS source,
    -- What goes on began when it was first seen.
    if(max(is_gone) = 1, anyIf(began, is_gone = 1), any(began)) AS since_ts,
    row.6 AS last_ts, row.7 AS good_n, row.8 AS suspect_n, row.9 AS fail_n, row.10 AS coverage,
    'LOS E or F of the newest ten minutes v1' AS method, min(is_gone) AS is_deleted
FROM
(
    SELECT
        toString(s.ward_code) AS ward_code, s.segment_id AS object_id, toDateTime64(s.ts, 3, 'UTC') AS began,
        tuple(
            toUInt8(multiIf(s.los_level = 5, 1, s.speed_z <= -3, 3, 2)), concat('Ùn tắc, mức ', s.los, ': ', s.segment_id),
            if(isFinite(s.speed_km_h), s.speed_km_h, NULL),
            -- The border that the speed has passed; a density has none in km/h.
            multiIf(
                l.parameter = 'speed_ratio' AND isFinite(s.free_flow_km_h), l.border * s.free_flow_km_h,
                l.parameter = 'speed_km_h', l.border, NULL),
            l.source, toNullable(s.last_ts), toUInt64(s.good_n), toUInt64(s.suspect_n), toUInt64(s.fail_n),
            if(s.expected_n > 0, least(1, s.n / s.expected_n), NULL)
        )::Tuple(UInt8, String, Nullable(Float64), Nullable(Float64), String, Nullable(DateTime64(3, 'UTC')), UInt64, UInt64,
            UInt64, Nullable(Float64)) AS told,
        toUInt8(0) AS is_gone
    FROM
    (
        SELECT *
        FROM
        (
            SELECT *
            FROM cityfleet.traffic_state_10min FINAL
            WHERE ts >= now('UTC') - INTERVAL 30 MINUTE AND ts <= now('UTC') AND good_n > 0
            ORDER BY ts DESC
            LIMIT 1 BY segment_id
        )
        WHERE los_level >= 5 AND ward_code != ''
    ) AS s
    LEFT JOIN
    (
        SELECT scheme, level, any(parameter) AS parameter, any(high) AS border, any(source) AS source
        FROM cityfleet.thresholds FINAL
        WHERE startsWith(scheme, 'los_') AND toDate(now('UTC'), 'Asia/Ho_Chi_Minh') BETWEEN valid_from AND valid_to
        GROUP BY scheme, level
    ) AS l ON l.scheme = s.los_scheme AND l.level = s.los_level
    UNION ALL
    SELECT
        toString(ward_code) AS ward_code, object_id, since_ts AS began,
        tuple(severity, title, value, threshold, source, last_ts, good_n, suspect_n, fail_n, coverage)
            ::Tuple(UInt8, String, Nullable(Float64), Nullable(Float64), String, Nullable(DateTime64(3, 'UTC')), UInt64, UInt64,
            UInt64, Nullable(Float64)) AS told,
        toUInt8(1) AS is_gone
    FROM cityfleet.ward_troubles FINAL
    WHERE domain = 'traffic'
)
WHERE {from:DateTime('UTC')} <= now('UTC') AND {to:DateTime('UTC')} > now('UTC')
GROUP BY ward_code, object_id
