-- Rain of the two hours before water came on a street, at the nearest rain gauge: of the whole city, and of those of the
-- ward alone, for its account. Where gauges stand is as of the run. Cells of 0.05 degrees are some 5 km: a gauge within that
-- is in the cell of the street or in those around it.
-- target: cityfleet.street_flood_rain
-- time: onset_ts
-- source: cityfleet.street_floods, cityfleet.rain_10min
-- bucket: 10 minutes
-- reach: 110 minutes
WITH
    events AS
    (
        SELECT device_num, onset_ts, toString(ward_code) AS ward_code
        FROM cityfleet.street_floods FINAL
        WHERE onset_ts >= {from:DateTime('UTC')} AND onset_ts < {to:DateTime('UTC')} AND max_depth_mm >= 20 AND wet_n >= 2
    ),
    nearest AS
    (
        SELECT
            v.device_num AS device_num, v.event_ward AS event_ward,
            min(greatCircleDistance(v.lon, v.lat, g.lon, g.lat) AS away_m) AS city_m,
            argMin(g.device_num, away_m) AS city_gauge, argMin(g.device_id, away_m) AS city_gauge_id,
            minIf(away_m, g.ward_code = v.event_ward) AS ward_m, argMinIf(g.device_num, away_m, g.ward_code = v.event_ward) AS ward_gauge,
            argMinIf(g.device_id, away_m, g.ward_code = v.event_ward) AS ward_gauge_id
        FROM
        (
            SELECT
                s.device_num AS device_num, s.lat AS lat, s.lon AS lon, e.event_ward AS event_ward, arrayJoin(range(9)) AS cell,
                toInt64(floor(s.lat / 0.05)) + intDiv(cell, 3) - 1 AS row, toInt64(floor(s.lon / 0.05)) + cell % 3 - 1 AS col
            FROM
            (
                SELECT device_num, assumeNotNull(latitude) AS lat, assumeNotNull(longitude) AS lon
                FROM cityfleet.devices FINAL
                WHERE latitude IS NOT NULL AND longitude IS NOT NULL AND device_num IN (SELECT device_num FROM events)
            ) AS s
            INNER JOIN (SELECT DISTINCT device_num, ward_code AS event_ward FROM events) AS e ON e.device_num = s.device_num
        ) AS v
        INNER JOIN
        (
            SELECT
                device_num, device_id, ward_code, assumeNotNull(latitude) AS lat, assumeNotNull(longitude) AS lon,
                toInt64(floor(lat / 0.05)) AS row, toInt64(floor(lon / 0.05)) AS col
            FROM cityfleet.devices FINAL
            WHERE state != 'deleted' AND latitude IS NOT NULL AND longitude IS NOT NULL AND device_type IN
            (
                SELECT device_type
                FROM cityfleet.device_types FINAL
                WHERE hasAny(metric_nums, (SELECT groupArray(metric_num) FROM cityfleet.metrics FINAL WHERE metric = 'rain_mm'))
            )
        ) AS g ON g.row = v.row AND g.col = v.col
        WHERE away_m <= 5000
        GROUP BY device_num, event_ward
    ),
    -- Found once: (onset, street gauge, ward or empty, rain gauge, its name, distance).
    (
        SELECT groupArray((onset_ts, device_num, one.1, one.2, one.3, one.4))
        FROM
        (
            SELECT e.onset_ts AS onset_ts, e.device_num AS device_num, one
            FROM events AS e
            INNER JOIN nearest AS n ON n.device_num = e.device_num AND n.event_ward = e.ward_code
            ARRAY JOIN arraySlice(
                [('', n.city_gauge, n.city_gauge_id, n.city_m), (e.ward_code, n.ward_gauge, n.ward_gauge_id, n.ward_m)],
                1, if(e.ward_code = '', 1, 2)) AS one
            WHERE one.2 != 0
        )
    ) AS found
SELECT
    onset_ts, device_num, ward_code, round(sumOrNullIf(mm, good_n > 0), 3) AS rain_2h_mm, any(gauge) AS gauge_num, any(name) AS gauge_id,
    any(away_m) AS distance_m
FROM
(
    SELECT one.1 AS onset_ts, one.2 AS device_num, one.3 AS ward_code, one.4 AS gauge, one.5 AS name, one.6 AS away_m, 0. AS mm, 0 AS good_n
    FROM (SELECT arrayJoin(found) AS one)
    UNION ALL
    SELECT n.onset_ts, n.device_num, n.for_ward, n.gauge, n.name, n.away_m, r.rain_mm, r.good_n
    FROM
    (
        SELECT ts, device_num, ward_code, rain_mm, good_n
        FROM cityfleet.rain_10min FINAL
        WHERE ts >= {from:DateTime('UTC')} - INTERVAL 2 HOUR AND ts < {to:DateTime('UTC')}
    ) AS r
    INNER JOIN
    (
        SELECT
            one.1 AS onset_ts, one.2 AS device_num, one.3 AS for_ward, one.4 AS gauge, one.5 AS name, one.6 AS away_m,
            toStartOfTenMinutes(toDateTime(onset_ts, 'UTC')) - toIntervalMinute(10 * arrayJoin(range(12))) AS ten_min
        FROM (SELECT arrayJoin(found) AS one)
    ) AS n ON n.gauge = r.device_num AND n.ten_min = r.ts
    WHERE n.for_ward = '' OR n.for_ward = r.ward_code
)
GROUP BY onset_ts, device_num, ward_code
