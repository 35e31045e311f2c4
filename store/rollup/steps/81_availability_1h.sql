-- What came of metrics that have an interval. A burst of one series may not hide the silence of another: of each series
-- counts what an hour should hold, and one more, because clocks jitter.
-- target: cityfleet.availability_1h
-- source: cityfleet.readings_1h
-- bucket: 1 hour
SELECT
    r.ts AS ts, r.ward_code AS ward_code, t.device_type AS device_type, toUInt32(uniqExact(r.device_num)) AS devices_n,
    sum(least(r.n, t.most)) AS received_n, sum(least(r.good_n, t.most)) AS valid_n, sum(r.suspect_n) AS suspect_n,
    sum(r.fail_n) AS fail_n, max(r.last_ts) AS last_ts
FROM
(
    SELECT metric_num, device_num, ts, ward_code, n, good_n, suspect_n, fail_n, last_ts
    FROM cityfleet.readings_1h FINAL
    WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
) AS r
INNER JOIN (SELECT device_num, device_type FROM cityfleet.devices FINAL) AS d ON d.device_num = r.device_num
INNER JOIN
(
    SELECT device_type, metric_num, toUInt32(intDiv(3600 + interval_s - 1, interval_s) + 1) AS most
    FROM
    (
        SELECT device_type, metric_num, if(own_s > 0, own_s, expected_interval_s) AS interval_s
        FROM (SELECT device_type, expected_interval_s, metric_nums, metric_intervals_s FROM cityfleet.device_types FINAL)
        ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS own_s
    )
    WHERE interval_s > 0
) AS t ON t.device_type = d.device_type AND t.metric_num = r.metric_num
GROUP BY ts, ward_code, device_type
