-- Readings received and promised of each ward and day. A device counts from the first whole day on. A day of which the whole city
-- has no reading is left out, since nothing makes it due and it would be there only where days around it are computed together.
-- target: cityfleet.ward_days
-- source: cityfleet.readings_1d
-- bucket: 1 day
SELECT
    d.day AS ts, d.ward_code AS ward_code, toUInt64(sum(d.promised)) AS expected_n,
    toUInt64(sum(least(d.promised, toFloat64(r.n)))) AS received_n, sum(r.good_n) AS good_n, sum(r.suspect_n) AS suspect_n,
    sum(r.fail_n) AS fail_n, max(r.last_ts) AS last_ts
FROM
(
    SELECT v.device_num AS device_num, v.ward_code AS ward_code, t.metric_num AS metric_num, t.promised AS promised, day
    FROM
    (
        SELECT device_num, device_type, ward_code, create_time
        FROM cityfleet.devices FINAL
        WHERE state = 'active' AND ward_code != ''
    ) AS v
    INNER JOIN
    (
        SELECT device_type, metric_num, 86400 / if(own_s > 0, own_s, type_s) AS promised
        FROM
        (
            SELECT device_type, expected_interval_s AS type_s, metric_num, own_s
            FROM (SELECT * FROM cityfleet.device_types FINAL)
            ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS own_s
        )
        WHERE own_s > 0 OR type_s > 0
    ) AS t ON t.device_type = v.device_type
    ARRAY JOIN arrayMap(
        i -> toDateTime(toUnixTimestamp({from:DateTime('UTC')}) + i * 86400, 'UTC'),
        range(intDiv(toUnixTimestamp({to:DateTime('UTC')}) - toUnixTimestamp({from:DateTime('UTC')}), 86400))) AS day
    WHERE v.create_time <= day AND day IN
        (SELECT DISTINCT ts FROM cityfleet.readings_1d FINAL WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')} AND n > 0)
) AS d
LEFT JOIN
(
    SELECT
        metric_num, device_num, ts, sum(n) AS n, sum(good_n) AS good_n, sum(suspect_n) AS suspect_n, sum(fail_n) AS fail_n,
        max(last_ts) AS last_ts
    FROM cityfleet.readings_1d FINAL
    WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
    GROUP BY metric_num, device_num, ts
) AS r ON r.metric_num = d.metric_num AND r.device_num = d.device_num AND r.ts = d.day
GROUP BY d.day, d.ward_code
