-- The sums of ioc.ward_rain_at as of now, by gauge and ward, each minute. Late rain comes with the next minute: windows of
-- before have nothing to say.
-- target: cityfleet.rain_now
-- time: t10
-- source: cityfleet.rain_10min
-- bucket: 10 minutes
-- metrics: rain_mm
-- live: yes
-- replaces: all
SELECT {from:DateTime('UTC')} <= now('UTC') AND {to:DateTime('UTC')} > now('UTC');
WITH
    now('UTC') AS at,
    toStartOfTenMinutes(at) AS t10,
    toStartOfHour(at) AS h0,
    toStartOfHour(t10 - INTERVAL 12 HOUR + INTERVAL 50 MINUTE) AS h12,
    toStartOfHour(t10 - INTERVAL 24 HOUR + INTERVAL 50 MINUTE) AS h24,
    toStartOfHour(t10 - INTERVAL 48 HOUR + INTERVAL 50 MINUTE) AS h48,
    toStartOfDay(at) AS d07,
    toStartOfDay(at - INTERVAL 12 HOUR) + INTERVAL 12 HOUR AS d19,
    {from:DateTime('UTC')} < {to:DateTime('UTC')} AS is_now
SELECT
    if(d.device_num != 0, d.device_num, s.device_num) AS device_num,
    if(d.device_num != 0, d.ward_code, toString(s.ward_code)) AS ward_code,
    d.device_id AS device_id, toUInt32(d.interval_s) AS interval_s, t10,
    s.r1 AS r1, s.r2 AS r2, s.r3 AS r3, s.r12 AS r12, s.r24 AS r24, s.r48 AS r48,
    s.n1 AS n1, s.n2 AS n2, s.n3 AS n3, s.n12 AS n12, s.n24 AS n24, s.n48 AS n48,
    s.all24 AS all24, s.suspect24 AS suspect24, s.fail24 AS fail24, s.s07 AS s07, s.s19 AS s19, s.newest AS newest
FROM
(
    SELECT v.device_num AS device_num, v.device_id AS device_id, v.ward_code AS ward_code, t.interval_s AS interval_s
    FROM (SELECT device_num, device_id, device_type, ward_code FROM cityfleet.devices FINAL WHERE is_now AND state = 'active') AS v
    INNER JOIN
    (
        SELECT device_type, max(if(own_s > 0, own_s, type_s)) AS interval_s
        FROM
        (
            SELECT device_type, expected_interval_s AS type_s, metric_num, own_s
            FROM (SELECT * FROM cityfleet.device_types FINAL)
            ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS own_s
        )
        WHERE metric_num IN ({metrics:Array(UInt16)})
        GROUP BY device_type
    ) AS t ON t.device_type = v.device_type
) AS d
FULL JOIN
(
    SELECT
        device_num, ward_code, maxIf(last_ts, good_n > 0) AS newest,
        sumIf(mm, fine AND ts >= t10 - INTERVAL 1 HOUR) AS r1, sumIf(good_n, fine AND ts >= t10 - INTERVAL 1 HOUR) AS n1,
        sumIf(mm, fine AND ts >= t10 - INTERVAL 2 HOUR) AS r2, sumIf(good_n, fine AND ts >= t10 - INTERVAL 2 HOUR) AS n2,
        sumIf(mm, fine AND ts >= t10 - INTERVAL 3 HOUR) AS r3, sumIf(good_n, fine AND ts >= t10 - INTERVAL 3 HOUR) AS n3,
        sumIf(mm, in12) AS r12, sumIf(good_n, in12) AS n12, sumIf(mm, in24) AS r24, sumIf(good_n, in24) AS n24,
        sumIf(mm, in48) AS r48, sumIf(good_n, in48) AS n48, sumIf(n, in24) AS all24, sumIf(suspect_n, in24) AS suspect24,
        sumIf(fail_n, in24) AS fail24, sumIf(mm, ts >= d07 AND fine = (ts >= h0)) AS s07,
        sumIf(mm, ts >= d19 AND fine = (ts >= h0)) AS s19
    FROM
    (
        SELECT
            ts, device_num, ward_code, n, good_n, suspect_n, fail_n, rain_mm AS mm, last_ts, true AS fine,
            ts >= h0 OR (ts >= t10 - INTERVAL 12 HOUR AND ts < h12) AS in12,
            ts >= h0 OR (ts >= t10 - INTERVAL 24 HOUR AND ts < h24) AS in24,
            ts >= h0 OR (ts >= t10 - INTERVAL 48 HOUR AND ts < h48) AS in48
        FROM cityfleet.rain_10min FINAL
        WHERE is_now AND ts < at AND
        (
            ts >= h0 - INTERVAL 3 HOUR OR (ts >= t10 - INTERVAL 12 HOUR AND ts < h12)
            OR (ts >= t10 - INTERVAL 24 HOUR AND ts < h24) OR (ts >= t10 - INTERVAL 48 HOUR AND ts < h48)
        )
        UNION ALL
        SELECT
            ts, device_num, ward_code, n, good_n, suspect_n, fail_n, rain_mm AS mm, last_ts, false AS fine,
            ts >= h12 AS in12, ts >= h24 AS in24, ts >= h48 AS in48
        FROM cityfleet.rain_1h FINAL
        WHERE is_now AND ts >= h48 AND ts < h0
    )
    GROUP BY device_num, ward_code
) AS s ON s.device_num = d.device_num AND s.ward_code = d.ward_code
