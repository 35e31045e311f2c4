-- The events that are open, with what people call their gauges: question 5. Made when an event has changed, and every ten
-- minutes, for names may change too. The account of a ward is told nothing of a gauge that stands elsewhere by now but its water.
-- target: cityfleet.street_floods_now
-- time: onset_ts
-- source: cityfleet.street_floods
-- bucket: 1 hour
-- live: yes
-- replaces: all
WITH
    (SELECT max(version) FROM cityfleet.street_floods) AS found_ms,
    (
        SELECT count()
        FROM cityfleet.street_floods
        WHERE end_ts IS NULL AND last_wet_ts >= now64(3, 'UTC') - INTERVAL 2 HOUR
    ) AS open_n,
    (SELECT max(version) FROM cityfleet.street_floods_now) AS made_ms
SELECT
    {to:DateTime('UTC')} > now('UTC') - INTERVAL 1 HOUR AND (open_n > 0 OR made_ms > 0)
    AND (found_ms > made_ms OR made_ms < toUnixTimestamp64Milli(now64(3)) - 590000);
WITH seen_by = '' OR d.stands_in = f.ward_code AS is_told
SELECT
    seen_by != '' AS for_ward, seen_by AS ward_code, f.device_num AS device_num, f.onset_ts AS onset_ts, toString(f.ward_code) AS in_ward_code, w.name AS ward_name,
    if(is_told, if(d.site_id != '', d.site_id, d.device_id), '') AS site_id, if(is_told, d.device_id, '') AS device_id,
    concat(device_id, '/', formatDateTime(onset_ts, '%Y%m%dT%H%i%SZ', 'UTC')) AS event_id,
    if(is_told, d.latitude, NULL) AS latitude, if(is_told, d.longitude, NULL) AS longitude,
    f.last_wet_ts AS last_wet_ts, f.peak_ts AS peak_ts, f.max_depth_mm AS max_depth_mm, f.last_depth_mm AS depth_mm,
    f.last_ts AS as_of, f.above_100mm_s / 60 AS minutes_above_100mm, f.above_300mm_s / 60 AS minutes_above_300mm,
    toUInt64(f.good_n) AS n,
    if(is_told AND t.interval_s > 0, least(1, (f.good_n + f.suspect_n + f.fail_n)
        / (1 + dateDiff('second', onset_ts, now64(3, 'UTC')) / t.interval_s)), NULL) AS coverage,
    CAST((f.good_n, f.suspect_n, f.fail_n), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality
FROM
(
    SELECT *
    FROM cityfleet.street_floods FINAL
    WHERE end_ts IS NULL AND last_wet_ts >= now64(3, 'UTC') - INTERVAL 2 HOUR AND max_depth_mm >= 20 AND wet_n >= 2
        AND {from:DateTime('UTC')} < {to:DateTime('UTC')}
) AS f
LEFT JOIN
(
    SELECT device_num, device_id, site_id, device_type, toString(ward_code) AS stands_in, latitude, longitude
    FROM cityfleet.devices FINAL
    WHERE device_num IN
    (
        SELECT device_num
        FROM cityfleet.street_floods FINAL
        WHERE end_ts IS NULL AND last_wet_ts >= now64(3, 'UTC') - INTERVAL 2 HOUR
    )
) AS d ON d.device_num = f.device_num
LEFT JOIN
(
    SELECT device_type, max(if(own_s > 0, own_s, type_s)) AS interval_s
    FROM
    (
        SELECT device_type, expected_interval_s AS type_s, metric_num, own_s
        FROM (SELECT * FROM cityfleet.device_types FINAL)
        ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS own_s
    )
    WHERE metric_num IN (SELECT metric_num FROM cityfleet.metrics FINAL WHERE metric = 'street_flood_depth_mm')
    GROUP BY device_type
) AS t ON t.device_type = d.device_type
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = f.ward_code
ARRAY JOIN arrayDistinct(['', toString(f.ward_code)]) AS seen_by
