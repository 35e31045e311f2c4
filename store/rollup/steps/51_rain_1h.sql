-- Rain by the hour, for sums over half a day and more.
-- target: cityfleet.rain_1h
-- source: cityfleet.rain_10min
-- bucket: 1 hour
-- live: yes
SELECT
    toStartOfHour(r.ts) AS ts, r.device_num AS device_num, r.ward_code AS ward_code, sum(r.n) AS n,
    sum(r.good_n) AS good_n, sum(r.suspect_n) AS suspect_n, sum(r.fail_n) AS fail_n, sum(r.rain_mm) AS rain_mm,
    max(r.last_ts) AS last_ts
FROM cityfleet.rain_10min AS r FINAL
WHERE r.ts >= {from:DateTime('UTC')} AND r.ts < {to:DateTime('UTC')}
GROUP BY ts, device_num, ward_code
