-- Devices that are silent or want a visit, as of now, each minute: questions 19 and 23. Once as seen from the whole city, and once
-- as seen from the ward where each stands, whose account knows groups as far as the ward's devices only.
-- Windows of long ago have nothing to say.
-- target: cityfleet.fleet_now
-- source: cityfleet.device_first
-- bucket: 1 hour
-- live: yes
-- replaces: all
SELECT {to:DateTime('UTC')} > now('UTC') - INTERVAL 1 HOUR AND (SELECT count() FROM cityfleet.devices) > 0;
WITH
    now64(3, 'UTC') AS at,
    assumeNotNull((SELECT any(metric_num) FROM cityfleet.metrics FINAL WHERE metric = 'battery_pct')) AS battery_num,
    assumeNotNull((SELECT any(metric_num) FROM cityfleet.metrics FINAL WHERE metric = 'rssi_dbm')) AS rssi_num,
    placed AS
    (
        SELECT
            d.device_num AS device_num, d.device_id AS device_id, d.device_type AS device_type, d.ward_code AS ward_code,
            d.gateway_id AS gateway_id, d.site_id AS site_id, d.vendor AS vendor, d.labelled AS labelled, d.latitude AS latitude,
            d.longitude AS longitude, d.interval_s AS interval_s, d.create_time AS create_time,
            if(d.gateway_id != '', d.gateway_id, if(k.device_type != '', d.device_id, '')) AS group_gateway,
            if(g.site_id != '', g.site_id, if(b.site_id != '', d.site_id, '')) AS bts_site_id, y.expected_n AS expected_n
        FROM
        (
            SELECT
                device_num, device_id, device_type, ward_code, gateway_id, site_id, labels['vendor'] AS vendor,
                labels['firmware'] AS labelled, latitude, longitude, expected_interval_s AS interval_s, create_time
            FROM cityfleet.devices FINAL
            WHERE state = 'active' AND {from:DateTime('UTC')} < {to:DateTime('UTC')}
        ) AS d
        LEFT JOIN (SELECT site_id FROM cityfleet.sites FINAL WHERE kind = 'bts') AS b ON b.site_id = d.site_id
        LEFT JOIN (SELECT device_type FROM cityfleet.device_types FINAL WHERE is_gateway) AS k ON k.device_type = d.device_type
        LEFT JOIN
        (
            SELECT device_type, arrayCount(own_s -> own_s > 0 OR expected_interval_s > 0, metric_intervals_s) AS expected_n
            FROM cityfleet.device_types FINAL
        ) AS y ON y.device_type = d.device_type
        LEFT JOIN
        (
            SELECT device_id, site_id
            FROM cityfleet.devices FINAL
            WHERE device_type IN (SELECT device_type FROM cityfleet.device_types FINAL WHERE is_gateway)
                AND site_id IN (SELECT site_id FROM cityfleet.sites FINAL WHERE kind = 'bts')
        ) AS g ON g.device_id = d.gateway_id
    ),
    reported AS
    (
        SELECT device_num AS said_num, firmware_version AS said FROM cityfleet.device_reported FINAL WHERE firmware_version != ''
    ),
    -- Of devices that are expected to report: their groups, by a hash, which is cheaper than a name; its kind; seen from the whole city.
    grouped AS
    (
        SELECT
            device_num, interval_s, create_time,
            arrayFilter(one -> one.4, [
                (cityHash64('', 'gateway', group_gateway), 1, true, group_gateway != ''),
                (cityHash64('', 'bts_site', bts_site_id), 2, true, bts_site_id != ''),
                (cityHash64('', 'ward', ward_code), 3, true, ward_code != ''),
                (cityHash64('', 'vendor', vendor), 4, true, vendor != ''),
                (cityHash64('', 'type', device_type), 5, true, device_type != ''),
                (cityHash64('', 'city', 'city'), 6, true, true),
                (cityHash64(ward_code, 'gateway', group_gateway), 1, false, ward_code != '' AND group_gateway != ''),
                (cityHash64(ward_code, 'bts_site', bts_site_id), 2, false, ward_code != '' AND bts_site_id != ''),
                (cityHash64(ward_code, 'ward', ward_code), 3, false, ward_code != ''),
                (cityHash64(ward_code, 'vendor', vendor), 4, false, ward_code != '' AND vendor != ''),
                (cityHash64(ward_code, 'type', device_type), 5, false, ward_code != '' AND device_type != ''),
                (cityHash64(ward_code, 'city', 'city'), 6, false, ward_code != '')
            ]) AS groups
        FROM placed
        WHERE interval_s > 0
    ),
    -- Why each that is silent may be: numbers only, so that it stays small when the whole city is.
    causes AS
    (
        SELECT
            device_num AS fallen_num, seen_by_city, max(is_common) AS is_any,
            -- The largest group that fell silent as a whole, of two alike the nearer; else the nearest.
            argMin((kind, silent_n - 1, all_n - 1), (NOT is_common, if(is_common, -toInt64(all_n), 0), kind)) AS chosen
        FROM
        (
            SELECT
                arrayJoin(f.nums) AS device_num, f.kind AS kind, f.seen_by_city AS seen_by_city, f.silent_n AS silent_n, t.all_n AS all_n,
                all_n - 1 >= 2 AND silent_n - 1 >= 0.8 * (all_n - 1) AS is_common
            FROM
            (
                SELECT one.1 AS member, one.2 AS kind, one.3 AS seen_by_city, count() AS silent_n, groupArray(device_num) AS nums
                FROM
                (
                    SELECT p.device_num AS device_num, p.groups AS groups
                    FROM grouped AS p
                    LEFT JOIN
                    (
                        SELECT device_num AS heard_num, max(least(l.ts, l.received_at)) AS newest_ts
                        FROM cityfleet.latest AS l FINAL
                        GROUP BY heard_num
                    ) AS h ON h.heard_num = p.device_num
                    WHERE dateDiff('second', if(h.newest_ts = 0, p.create_time, h.newest_ts), at) > 3 * toInt64(p.interval_s)
                )
                ARRAY JOIN groups AS one
                GROUP BY member, kind, seen_by_city
            ) AS f
            INNER JOIN
            (
                SELECT one.1 AS member, count() AS all_n FROM grouped ARRAY JOIN groups AS one GROUP BY member
            ) AS t ON t.member = f.member
        )
        GROUP BY fallen_num, seen_by_city
    ),
    newest AS
    (
        SELECT arrayJoin(arrayDistinct(['', ward])) AS seen_by, max(newest_of_ward) AS newest_of_all
        FROM
        (
            SELECT toString(l.ward_code) AS ward, max(least(l.ts, l.received_at)) AS newest_of_ward
            FROM cityfleet.latest AS l
            GROUP BY ward
        )
        GROUP BY seen_by
    ),
    -- Only of batteries that are low: they are few.
    slopes AS
    (
        SELECT device_num AS slope_num, simpleLinearRegression(toUnixTimestamp(r.ts) / 86400, r.last) AS line, count() AS days
        FROM cityfleet.readings_1d AS r FINAL
        WHERE r.metric_num = battery_num AND r.good_n > 0 AND r.ts >= at - INTERVAL 15 DAY
            AND r.device_num IN (SELECT device_num FROM cityfleet.latest WHERE metric_num = battery_num AND value <= 60)
        GROUP BY slope_num
        HAVING days >= 3 AND line.1 < -0.01
    ),
    usual AS
    (
        SELECT seen_by AS usual_by, device_type AS usual_type, argMax(firmware, (n, firmware)) AS usual_firmware
        FROM
        (
            SELECT arrayJoin(arrayDistinct(['', ward_code])) AS seen_by, device_type, firmware, sum(of_ward_n) AS n
            FROM
            (
                SELECT
                    d.ward_code AS ward_code, d.device_type AS device_type, if(v.said != '', v.said, d.labelled) AS firmware,
                    count() AS of_ward_n
                FROM
                (
                    SELECT device_num, ward_code, device_type, labels['firmware'] AS labelled
                    FROM cityfleet.devices FINAL
                    WHERE state = 'active'
                ) AS d
                LEFT JOIN reported AS v ON v.said_num = d.device_num
                WHERE firmware != ''
                GROUP BY ward_code, device_type, firmware
            )
            GROUP BY seen_by, device_type, firmware
        )
        GROUP BY usual_by, usual_type
    ),
    judged AS
    (
        SELECT
            p.*, if(v.said != '', v.said, p.labelled) AS firmware, h.newest_ts AS newest_ts, h.good_n AS good_n,
            h.suspect_n AS suspect_n, h.fail_n AS fail_n, if(p.expected_n > 0, least(1, h.heard_n / p.expected_n), NULL) AS coverage,
            h.battery_pct AS battery_pct, h.rssi_dbm AS rssi_dbm, if(h.newest_ts = 0, p.create_time, h.newest_ts) AS since_ts,
            p.interval_s > 0 AND dateDiff('second', since_ts, at) > 3 * toInt64(p.interval_s) AS is_silent,
            h.newest_ts != 0 AND dateDiff('second', h.arrived_at, at) <= 3 * toInt64(p.interval_s) AS is_late,
            if(s.days = 0, NULL, greatest(0, ifNull(h.battery_pct, 0) / -s.line.1)) AS days_left,
            -- All but the firmware, which is the least of them.
            arrayReverseSort(one -> one.1, arrayFilter(one -> one.1 > 0, [
                (if(is_silent, 40, 0), if(h.newest_ts = 0, 'never heard', 'silent')),
                (multiIf(ifNull(h.battery_pct <= 10, false), 35, ifNull(h.battery_pct <= 20, false), 20, 0), 'battery low'),
                (multiIf(ifNull(days_left <= 7, false), 30, ifNull(days_left <= 30, false), 15, 0), 'battery falls'),
                (if(h.fail_n > 0, 15, 0), 'newest readings fail'),
                (if(ifNull(h.rssi_dbm <= -115, false), 10, 0), 'signal weak')
            ])) AS reasons
        FROM placed AS p
        LEFT JOIN reported AS v ON v.said_num = p.device_num
        LEFT JOIN
        (
            SELECT
                device_num AS heard_num, max(least(l.ts, l.received_at)) AS newest_ts, max(l.received_at) AS arrived_at,
                countIf(least(l.ts, l.received_at) >= at - INTERVAL 1 DAY) AS heard_n,
                countIf(l.quality = 1) AS good_n, countIf(l.quality = 3) AS suspect_n, countIf(l.quality = 4) AS fail_n,
                anyIf(toNullable(l.value), l.metric_num = battery_num AND l.quality IN (1, 2)) AS battery_pct,
                anyIf(toNullable(l.value), l.metric_num = rssi_num AND l.quality IN (1, 2)) AS rssi_dbm
            FROM cityfleet.latest AS l FINAL
            GROUP BY heard_num
        ) AS h ON h.heard_num = p.device_num
        LEFT JOIN slopes AS s ON s.slope_num = p.device_num
    )
SELECT
    f.seen_by != '' AS for_ward, f.seen_by AS ward_code, f.device_num AS device_num, f.device_id AS device_id, f.device_type AS kind,
    f.in_ward AS in_ward_code, w.name AS in_ward_name, f.gateway_id AS gateway_id, f.bts_site_id AS bts_site_id,
    f.site_id AS site_id, f.vendor AS vendor, f.firmware AS firmware, f.usual_firmware AS usual_firmware,
    f.latitude AS latitude, f.longitude AS longitude, f.interval_s AS expected_interval_s, f.since_ts AS since_ts,
    if(f.newest_ts = 0, NULL, f.newest_ts) AS last_ts, toUInt64(f.good_n) AS n, f.coverage AS coverage,
    CAST((f.good_n, f.suspect_n, f.fail_n), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality, f.is_silent AS is_silent,
    multiIf(
        NOT f.is_silent, '', f.is_late, 'late', NOT c.is_any, 'device',
        ['gateway', 'bts_site', 'ward', 'vendor', 'type', 'city'][c.chosen.1]) AS probable_cause,
    [f.group_gateway, f.bts_site_id, f.in_ward, f.vendor, f.device_type, ''][c.chosen.1] AS cause_id,
    toUInt64(c.chosen.2) AS siblings_silent_n, toUInt64(c.chosen.3) AS siblings_n,
    f.battery_pct / 100 AS battery_ratio, f.days_left AS battery_days_left, f.rssi_dbm AS rssi_dbm,
    toUInt8(least(100, arraySum(one -> one.1, f.why))) AS score, arrayStringConcat(arrayMap(one -> one.2, f.why), '; ') AS reason,
    n.newest_of_all AS as_of
FROM
(
    SELECT
        j.*, j.ward_code AS in_ward, u.usual_firmware AS usual_firmware,
        if(j.firmware != '' AND j.firmware != u.usual_firmware, arrayPushBack(j.reasons, (5, 'firmware unlike its kind')), j.reasons) AS why
    FROM (SELECT *, arrayJoin(arrayDistinct(['', ward_code])) AS seen_by FROM judged) AS j
    LEFT JOIN usual AS u ON u.usual_by = j.seen_by AND u.usual_type = j.device_type
    WHERE notEmpty(why)
) AS f
LEFT JOIN causes AS c ON c.fallen_num = f.device_num AND c.seen_by_city = (f.seen_by = '')
LEFT JOIN newest AS n ON n.seen_by = f.seen_by
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = f.in_ward
-- Of the run itself, for the city and each ward: whoever finds nothing knows as of when (`version`).
UNION ALL
SELECT
    r.seen_by != '', r.seen_by, 0, '', '', '', '', '', '', '', '', '', '', NULL, NULL, 0, toDateTime64(0, 3, 'UTC'), NULL, 0, NULL, (0, 0, 0),
    false, '', '', 0, 0, NULL, NULL, NULL, 0, '', n.newest_of_all
FROM (SELECT '' AS seen_by UNION DISTINCT SELECT ward_code FROM cityfleet.wards FINAL) AS r
LEFT JOIN newest AS n ON n.seen_by = r.seen_by
