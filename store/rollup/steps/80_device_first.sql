-- The first hour of each device; only devices that are new, or have older readings than was known.
-- target: cityfleet.device_first
-- time: first_ts
-- source: cityfleet.readings_1h
-- bucket: 1 hour
-- deletes: itself
SELECT r.device_num AS device_num, r.ward_code AS ward_code, r.first_ts AS first_ts, 0 AS is_deleted
FROM
(
    SELECT device_num, argMin(ward_code, ts) AS ward_code, min(ts) AS first_ts
    FROM cityfleet.readings_1h FINAL
    WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
    GROUP BY device_num
) AS r
LEFT JOIN (SELECT device_num, first_ts FROM cityfleet.device_first FINAL) AS f ON f.device_num = r.device_num
WHERE f.first_ts = 0 OR r.first_ts < f.first_ts
