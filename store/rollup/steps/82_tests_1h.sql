-- Which test found what. Only series with a reading that is not good in the hour are looked up among the readings.
-- target: cityfleet.tests_1h
-- source: cityfleet.readings_1h
-- bucket: 1 hour
WITH
    doubtful AS
    (
        SELECT DISTINCT device_num, metric_num
        FROM cityfleet.readings_1h FINAL
        WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')} AND suspect_n + fail_n > 0
    )
SELECT
    toStartOfHour(toDateTime(f.at, 'UTC')) AS ts, f.device_num AS device_num, f.metric_num AS metric_num,
    f.ward_code AS ward_code, reason.2 AS test, toUInt32(countIf(reason.3 = 3)) AS suspect_n,
    toUInt32(countIf(reason.3 = 4)) AS fail_n, min(f.at) AS first_ts, max(f.at) AS last_ts
FROM
(
    SELECT
        r.device_num AS device_num, r.metric_num AS metric_num, r.at AS at, r.ward_code AS ward_code,
        if(q.quality = 0, r.reasons, q.reasons) AS reasons
    FROM
    (
        SELECT device_num, metric_num, ts AS at, ward_code, quality_reasons AS reasons
        FROM cityfleet.readings FINAL
        WHERE (device_num, metric_num) IN (SELECT device_num, metric_num FROM doubtful)
            AND ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
    ) AS r
    LEFT JOIN
    (
        SELECT device_num, metric_num, ts AS at, quality, quality_reasons AS reasons
        FROM cityfleet.quality_flags FINAL
        WHERE device_num IN (SELECT device_num FROM doubtful)
            AND ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
    ) AS q ON q.device_num = r.device_num AND q.metric_num = r.metric_num AND q.at = r.at
) AS f
ARRAY JOIN (SELECT groupArray((bit, test, quality)) FROM ioc.quality_reasons) AS reason
WHERE f.reasons != 0 AND bitAnd(f.reasons, reason.1) != 0
GROUP BY ts, device_num, metric_num, ward_code, test
