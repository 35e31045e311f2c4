-- What readings_1d will say of the day that it has not yet, up to the last hour that is closed.
-- Of several hours that changed the first to be looked at has it computed: it takes all of them.
-- target: cityfleet.readings_today
-- source: cityfleet.readings_1h
-- bucket: 1 hour
-- replaces: all
SELECT
    {from:DateTime('UTC')} >= toDateTime(intDiv(toUnixTimestamp(now('UTC') - INTERVAL 1 HOUR) + 25200, 86400) * 86400 - 25200, 'UTC') AND
    (SELECT max(version) FROM cityfleet.readings_1h WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}) >
    (SELECT max(version) FROM cityfleet.readings_today);
WITH
    -- Of the first hour of a day on, that day; until then the one before, of which the last hour may be in the making.
    toDateTime(intDiv(toUnixTimestamp(now('UTC') - INTERVAL 1 HOUR) + 25200, 86400) * 86400 - 25200, 'UTC') AS day
SELECT
    metric_num,
    device_num,
    day AS ts,
    ward_code,
    toUInt32(sum(s.n)) AS n,
    toUInt32(sum(s.good_n)) AS good_n,
    toUInt32(sum(s.suspect_n)) AS suspect_n,
    toUInt32(sum(s.fail_n)) AS fail_n,
    maxIf(s.last_ts, s.good_n > 0) AS last_ts,
    min(s.ts) AS first_hour,
    max(s.ts) AS last_hour
FROM cityfleet.readings_1h AS s FINAL
WHERE s.ts >= day AND s.ts < day + INTERVAL 1 DAY AND {from:DateTime('UTC')} < {to:DateTime('UTC')}
GROUP BY metric_num, device_num, ward_code
