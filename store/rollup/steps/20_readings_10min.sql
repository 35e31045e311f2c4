-- target: cityfleet.readings_10min
-- source: cityfleet.readings
-- bucket: 10 minutes
-- by devices: yes
-- live metrics: rain_mm, water_level_m, street_flood_depth_mm
-- A reading belongs to the ten minutes that begin at or before it. Copies of a reading are one.
SELECT
    metric_num,
    device_num,
    toDateTime(intDiv(toUnixTimestamp(r.ts), 600) * 600, 'UTC') AS ts,
    ward_code,
    toUInt32(count()) AS n,
    toUInt32(countIf(quality = 1)) AS good_n,
    toUInt32(countIf(quality = 3)) AS suspect_n,
    toUInt32(countIf(quality = 4)) AS fail_n,
    sumIf(value, quality = 1) AS sum,
    if(good_n = 0, nan, minIf(value, quality = 1)) AS min,
    if(good_n = 0, nan, maxIf(value, quality = 1)) AS max,
    if(good_n = 0, nan, argMaxIf(value, r.ts, quality = 1)) AS last,
    maxIf(r.ts, quality = 1) AS last_ts
FROM cityfleet.readings AS r FINAL
WHERE r.ts >= {from:DateTime('UTC')} AND r.ts < {to:DateTime('UTC')}
    AND device_num >= {device_from:UInt32} AND device_num < {device_to:UInt32}
    AND (empty({metrics:Array(UInt16)}) OR (metric_num IN {metrics:Array(UInt16)} AND device_num IN
    (
        SELECT device_num FROM cityfleet.devices FINAL WHERE device_type IN
            (SELECT device_type FROM cityfleet.device_types FINAL WHERE hasAny(metric_nums, {metrics:Array(UInt16)}))
    )))
GROUP BY metric_num, device_num, ts, ward_code
