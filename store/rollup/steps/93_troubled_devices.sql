-- The devices of each ward that somebody must look at now, each minute: question 24. Groups are those within the ward, so
-- that a ward learns nothing of others and what people did about a row is found by its name whoever looks.
-- target: cityfleet.ward_troubles
-- source: cityfleet.readings_10min
-- bucket: 1 hour
-- live: yes
-- deletes: itself
SELECT if({from:DateTime('UTC')} <= now('UTC') AND {to:DateTime('UTC')} > now('UTC'), (SELECT count() FROM cityfleet.devices), 0);
WITH
    placed AS
    (
        SELECT
            d.device_num AS device_num, d.device_type AS device_type, d.ward_code AS ward_code, d.expected_interval_s AS interval_s,
            if(d.gateway_id != '', d.gateway_id, if(k.device_type != '', d.device_id, '')) AS gateway
        FROM
        (
            SELECT device_num, device_id, device_type, toString(ward_code) AS ward_code, gateway_id, expected_interval_s
            FROM cityfleet.devices FINAL
            WHERE state = 'active' AND ward_code != ''
        ) AS d
        LEFT JOIN (SELECT device_type FROM cityfleet.device_types FINAL WHERE is_gateway) AS k ON k.device_type = d.device_type
    ),
    -- How many of each group should report.
    totals AS
    (
        SELECT
            arrayJoin([
                cityHash64(ward_code, 'ward'), cityHash64(ward_code, 'gateway', gateway), cityHash64(ward_code, 'type', device_type)
            ]) AS member,
            count() AS all_n
        FROM placed
        WHERE interval_s > 0
        GROUP BY member
    ),
    judged AS
    (
        SELECT
            s.device_id AS device_id, s.kind AS kind, toString(s.ward_code) AS ward_code, p.gateway AS gateway,
            s.score AS score, s.reason AS reason, s.last_ts AS last_ts, s.silent_s AS silent_s, p.interval_s AS interval_s,
            s.coverage AS coverage, s.n AS good_n, s.quality.2 AS suspect_n, s.quality.3 AS fail_n,
            startsWith(s.reason, 'silent') OR startsWith(s.reason, 'never heard') AS is_silent,
            cityHash64(ward_code, 'ward') AS of_ward, cityHash64(ward_code, 'gateway', gateway) AS of_gateway,
            cityHash64(ward_code, 'type', kind) AS of_type,
            sum(is_silent) OVER (PARTITION BY of_ward) AS ward_n, sum(is_silent) OVER (PARTITION BY of_gateway) AS gateway_n,
            sum(is_silent) OVER (PARTITION BY of_type) AS type_n
        FROM (SELECT * FROM ioc.devices_to_service WHERE score >= 30 AND ward_code != '') AS s
        INNER JOIN placed AS p ON p.device_num = s.device_num
    )
SELECT
    ward_code, 'devices' AS domain, object_id, argMin(told, is_gone) AS row, row.1 AS severity, row.2 AS title, row.3 AS value,
    row.4 AS threshold, row.5 AS unit, '' AS source,
    if(max(is_gone) = 1, anyIf(began, is_gone = 1), any(began)) AS since_ts,
    row.6 AS last_ts, row.7 AS good_n, row.8 AS suspect_n, row.9 AS fail_n, row.10 AS coverage,
    'silent 3 x interval, groups from 80 % v1' AS method, min(is_gone) AS is_deleted
FROM
(
    SELECT
        ward_code, object_id,
        -- The middle one of a group: some of it may have been dead for long.
        if(any(is_silent), quantileExactLow(0.5)(now64(3, 'UTC') - toIntervalSecond(greatest(0, silent_s - 3 * toInt64(interval_s)))), now64(3, 'UTC')) AS began,
        tuple(
            toUInt8(multiIf(any(grouped) = 'ward', 3, any(grouped) != '', 2, 1)),
            multiIf(
                any(grouped) = 'ward', concat('Mất liên lạc cả phường: ', toString(count()), ' thiết bị'),
                any(grouped) = 'gateway', concat('Mất liên lạc: ', toString(count()), ' thiết bị qua ', object_id),
                any(grouped) = 'type', concat('Mất liên lạc: ', toString(count()), ' thiết bị loại ', any(kind)),
                concat(object_id, ': ', arrayStringConcat(arrayMap(
                    x -> transform(x,
                        ['silent', 'never heard', 'battery low', 'battery falls', 'newest readings fail', 'signal weak', 'firmware unlike its kind'],
                        ['mất liên lạc', 'chưa từng gửi', 'pin yếu', 'pin sắp hết', 'số đo lỗi', 'sóng yếu', 'firmware khác loại'], x),
                    splitByString('; ', any(reason))), ', '))),
            multiIf(any(grouped) != '', toFloat64(count()), any(is_silent), toFloat64(any(silent_s)), toFloat64(any(score))),
            multiIf(any(grouped) != '', NULL, any(is_silent), 3 * toFloat64(any(interval_s)), 30),
            multiIf(any(grouped) != '', 'devices', any(is_silent), 's', 'points'),
            max(last_ts), sum(good_n), sum(suspect_n), sum(fail_n), avg(coverage)
        )::Tuple(UInt8, String, Nullable(Float64), Nullable(Float64), String, Nullable(DateTime64(3, 'UTC')), UInt64, UInt64,
            UInt64, Nullable(Float64)) AS told,
        toUInt8(0) AS is_gone
    FROM
    (
        SELECT
            j.*,
            multiIf(
                NOT j.is_silent, '',
                j.ward_n >= 10 AND j.ward_n >= 0.8 * w.all_n, 'ward',
                j.gateway != '' AND j.gateway_n >= 3 AND j.gateway_n >= 0.8 * g.all_n, 'gateway',
                j.type_n >= 3 AND j.type_n >= 0.8 * t.all_n, 'type',
                '') AS grouped,
            multiIf(
                grouped = 'ward', concat('ward/', j.ward_code), grouped = 'gateway', j.gateway, grouped = 'type', concat('type/', j.kind),
                j.device_id) AS object_id
        FROM judged AS j
        LEFT JOIN totals AS w ON w.member = j.of_ward
        LEFT JOIN totals AS g ON g.member = j.of_gateway
        LEFT JOIN totals AS t ON t.member = j.of_type
    )
    GROUP BY ward_code, object_id
    UNION ALL
    SELECT
        toString(ward_code) AS ward_code, object_id, since_ts AS began,
        tuple(severity, title, value, threshold, unit, last_ts, good_n, suspect_n, fail_n, coverage)
            ::Tuple(UInt8, String, Nullable(Float64), Nullable(Float64), String, Nullable(DateTime64(3, 'UTC')), UInt64, UInt64,
            UInt64, Nullable(Float64)) AS told,
        toUInt8(1) AS is_gone
    FROM cityfleet.ward_troubles FINAL
    WHERE domain = 'devices'
)
WHERE {from:DateTime('UTC')} <= now('UTC') AND {to:DateTime('UTC')} > now('UTC')
GROUP BY ward_code, object_id
