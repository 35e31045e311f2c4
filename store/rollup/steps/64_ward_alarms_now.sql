-- Which ward is warned by which gauge, of every ward and river: question 2. Orders are not in it: ioc.ward_alarms_now lays them
-- upon it, so that they show at once. Made when a period has changed or a list of wards, and every ten minutes, for lists have
-- dates and gauges names.
-- target: cityfleet.ward_alarms_now
-- time: as_of
-- source: cityfleet.alarm_periods
-- bucket: 1 hour
-- live: yes
-- replaces: all
WITH (SELECT max(version) FROM cityfleet.ward_alarms_now) AS made_ms
SELECT
    {to:DateTime('UTC')} > now('UTC') - INTERVAL 1 HOUR AND
    (
        made_ms < toUnixTimestamp64Milli(now64(3)) - 590000 OR (SELECT max(version) FROM cityfleet.alarm_periods) > made_ms
        OR (SELECT max(version) FROM cityfleet.river_wards) > made_ms
    );
WITH
    listed AS
    (
        SELECT river, station_id, ward_code, source
        FROM cityfleet.river_wards FINAL
        WHERE valid_from <= toDate(now(), 'Asia/Ho_Chi_Minh') AND valid_to >= toDate(now(), 'Asia/Ho_Chi_Minh')
    )
SELECT
    p.ward_code AS ward_code, p.river AS river, w.name AS ward_name, l.ward_code != '' AS is_listed, l.list_source AS list_source,
    m.measured_level AS measured_level, m.gauge AS gauge_id, m.since AS since_ts, if(measured_level > 0, m.since, NULL) AS measured_since_ts,
    if(measured_level > 0, m.level_m, NULL) AS measured_m, if(measured_level > 0, m.limit_m, NULL) AS threshold_m,
    if(measured_level > 0, m.at, NULL) AS as_of, m.good AS n,
    if(measured_level > 0 AND m.interval_s > 0,
        least(1, m.good / (1 + dateDiff('second', m.since, m.at) / m.interval_s)), NULL) AS coverage,
    CAST((m.good, 0, 0), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality
FROM
(
    SELECT c.ward_code AS ward_code, v.river AS river
    FROM
    (
        SELECT toString(ward_code) AS ward_code FROM cityfleet.wards FINAL
        UNION DISTINCT
        SELECT toString(ward_code) FROM cityfleet.river_wards FINAL
    ) AS c
    CROSS JOIN
    (
        SELECT toString(river) AS river FROM cityfleet.stations FINAL WHERE river != ''
        UNION DISTINCT
        SELECT toString(river) FROM cityfleet.river_wards FINAL
    ) AS v
    WHERE {from:DateTime('UTC')} < {to:DateTime('UTC')}
) AS p
LEFT JOIN (SELECT river, ward_code, max(source) AS list_source FROM listed GROUP BY river, ward_code) AS l
    ON l.ward_code = p.ward_code AND l.river = p.river
LEFT JOIN
(
    SELECT
        r.ward_code AS ward, r.river AS of_river, max(o.level) AS measured_level, argMax(g.gauge_id, (o.level, o.last_m - o.threshold_m)) AS gauge,
        argMax(o.since_ts, (o.level, o.last_m - o.threshold_m)) AS since, argMax(o.last_m, (o.level, o.last_m - o.threshold_m)) AS level_m,
        argMax(o.last_ts, (o.level, o.last_m - o.threshold_m)) AS at, argMax(o.threshold_m, (o.level, o.last_m - o.threshold_m)) AS limit_m,
        toUInt64(argMax(o.good_n, (o.level, o.last_m - o.threshold_m))) AS good,
        argMax(g.expected_interval_s, (o.level, o.last_m - o.threshold_m)) AS interval_s
    FROM
    (
        SELECT
            q.device_num AS device_num, max(q.level) AS level, argMax(q.since_ts, q.level) AS since_ts,
            argMax(q.last_m, q.level) AS last_m, argMax(q.last_ts, q.level) AS last_ts,
            argMax(q.threshold_m, q.level) AS threshold_m, argMax(q.good_n, q.level) AS good_n
        FROM cityfleet.alarm_periods AS q FINAL
        WHERE q.until_ts IS NULL
        GROUP BY q.device_num
    ) AS o
    INNER JOIN (SELECT * FROM cityfleet.alarm_gauges FINAL) AS g ON g.device_num = o.device_num
    INNER JOIN listed AS r ON r.river = g.river
    WHERE r.station_id IN ('', g.station_id) AND r.ward_code != ''
    GROUP BY ward, of_river
) AS m ON m.ward = p.ward_code AND m.of_river = p.river
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = p.ward_code
WHERE p.ward_code != '' AND p.river != ''
