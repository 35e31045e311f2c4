-- target: cityfleet.readings_10min
-- source: cityfleet.readings, cityfleet.quality_flags
-- bucket: 10 minutes
-- by devices: yes
-- live metrics: rain_mm, water_level_m, street_flood_depth_mm
-- A reading belongs to the ten minutes that begin at or before it. Copies of a reading are one. Few
-- devices have flags of the store's own tests, and only their readings are looked up among these.
WITH
    flags AS
    (
        SELECT device_num, metric_num, ts, quality FROM cityfleet.quality_flags FINAL
        WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
            AND device_num >= {device_from:UInt32} AND device_num < {device_to:UInt32}
    ),
    asked AS
    (
        SELECT device_num FROM cityfleet.devices FINAL WHERE device_type IN
            (SELECT device_type FROM cityfleet.device_types FINAL WHERE hasAny(metric_nums, {metrics:Array(UInt16)}))
    )
SELECT
    metric_num,
    device_num,
    toDateTime(intDiv(toUnixTimestamp(r.ts), 600) * 600, 'UTC') AS ts,
    any(r.ward_code) AS ward_code,
    toUInt32(count()) AS n,
    toUInt32(countIf(quality = 1)) AS good_n,
    toUInt32(countIf(quality = 3)) AS suspect_n,
    toUInt32(countIf(quality = 4)) AS fail_n,
    sumIf(value, quality = 1) AS sum,
    if(good_n = 0, nan, minIf(value, quality = 1)) AS min,
    if(good_n = 0, nan, maxIf(value, quality = 1)) AS max,
    if(good_n = 0, nan, argMaxIf(value, r.ts, quality = 1)) AS last,
    maxIf(r.ts, quality = 1) AS last_ts
FROM
(
    SELECT metric_num, device_num, ts, ward_code, value, quality
    FROM cityfleet.readings FINAL
    WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
        AND device_num >= {device_from:UInt32} AND device_num < {device_to:UInt32}
        AND device_num NOT IN (SELECT device_num FROM flags)
        AND (empty({metrics:Array(UInt16)}) OR (metric_num IN {metrics:Array(UInt16)} AND device_num IN (SELECT device_num FROM asked)))
    UNION ALL
    SELECT a.metric_num, a.device_num, a.ts, a.ward_code, a.value, if(q.quality = 0, a.quality, q.quality) AS quality
    FROM cityfleet.readings AS a FINAL
    LEFT JOIN flags AS q ON q.device_num = a.device_num AND q.metric_num = a.metric_num AND q.ts = a.ts
    WHERE a.ts >= {from:DateTime('UTC')} AND a.ts < {to:DateTime('UTC')}
        AND a.device_num IN (SELECT device_num FROM flags)
        AND (empty({metrics:Array(UInt16)}) OR a.metric_num IN {metrics:Array(UInt16)})
) AS r
-- Keys of fixed length take a quarter less time; a code has five digits.
GROUP BY metric_num, device_num, ts, CAST(toUInt32OrZero(r.ward_code), 'UInt32')
