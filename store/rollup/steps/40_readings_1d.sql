-- target: cityfleet.readings_1d
-- source: cityfleet.readings_1h
-- bucket: 1 day
-- by devices: yes
SELECT
    metric_num,
    device_num,
    toDateTime(intDiv(toUnixTimestamp(s.ts) + 25200, 86400) * 86400 - 25200, 'UTC') AS ts,
    ward_code,
    toUInt32(sum(s.n)) AS n,
    toUInt32(sum(s.good_n)) AS good_n,
    toUInt32(sum(s.suspect_n)) AS suspect_n,
    toUInt32(sum(s.fail_n)) AS fail_n,
    sum(s.sum) AS sum,
    if(good_n = 0, nan, minIf(s.min, s.good_n > 0)) AS min,
    if(good_n = 0, nan, maxIf(s.max, s.good_n > 0)) AS max,
    if(good_n = 0, nan, argMaxIf(s.last, s.last_ts, s.good_n > 0)) AS last,
    maxIf(s.last_ts, s.good_n > 0) AS last_ts,
    min(s.ts) AS first_hour,
    max(s.ts) AS last_hour
FROM cityfleet.readings_1h AS s FINAL
WHERE s.ts >= {from:DateTime('UTC')} AND s.ts < {to:DateTime('UTC')}
    AND device_num >= {device_from:UInt32} AND device_num < {device_to:UInt32}
GROUP BY metric_num, device_num, ts, ward_code
