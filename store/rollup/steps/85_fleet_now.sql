-- Devices that are silent or want a visit, as of now, each minute: questions 19 and 23. Once as seen from the whole city, and once
-- as seen from the ward where each stands, whose account knows groups as far as the ward's devices only.
-- All rows that are true have the version of the newest run; windows of long ago have nothing to say.
-- target: cityfleet.fleet_now
-- source: cityfleet.device_first
-- bucket: 1 hour
-- live: yes
-- deletes: itself
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
    -- How many there are in each group, by a hash of it, which is cheaper than names.
    totals AS
    (
        SELECT
            arrayJoin(arraySlice([
                cityHash64('', 'gateway', group_gateway), cityHash64('', 'bts_site', bts_site_id), cityHash64('', 'ward', ward_code),
                cityHash64('', 'vendor', vendor), cityHash64('', 'type', device_type), cityHash64('', 'city', 'city'),
                cityHash64(ward_code, 'gateway', group_gateway), cityHash64(ward_code, 'bts_site', bts_site_id),
                cityHash64(ward_code, 'ward', ward_code), cityHash64(ward_code, 'vendor', vendor),
                cityHash64(ward_code, 'type', device_type), cityHash64(ward_code, 'city', 'city')
            ], 1, if(ward_code = '', 6, 12))) AS member,
            count() AS all_n
        FROM placed
        WHERE interval_s > 0
        GROUP BY member
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
    ),
    -- By who sees it: which is looked at at all, and how many of each group are silent.
    counted AS
    (
        SELECT
            j.*, u.usual_firmware AS usual_firmware,
            if(j.firmware != '' AND j.firmware != u.usual_firmware, arrayPushBack(j.reasons, (5, 'firmware unlike its kind')), j.reasons) AS why,
            if(j.is_silent, arrayFilter(one -> one.2 != '', [
                ('gateway', j.group_gateway, sum(j.is_silent) OVER (PARTITION BY j.seen_by, j.group_gateway), 1),
                ('bts_site', j.bts_site_id, sum(j.is_silent) OVER (PARTITION BY j.seen_by, j.bts_site_id), 2),
                ('ward', j.ward_code, sum(j.is_silent) OVER (PARTITION BY j.seen_by, j.ward_code), 3),
                ('vendor', j.vendor, sum(j.is_silent) OVER (PARTITION BY j.seen_by, j.vendor), 4),
                ('type', j.device_type, sum(j.is_silent) OVER (PARTITION BY j.seen_by, j.device_type), 5),
                ('city', 'city', sum(j.is_silent) OVER (PARTITION BY j.seen_by), 6)
            ]), [('', '', 0, 0)]) AS groups
        FROM (SELECT *, arrayJoin(arrayDistinct(['', ward_code])) AS seen_by FROM judged) AS j
        LEFT JOIN usual AS u ON u.usual_by = j.seen_by AND u.usual_type = j.device_type
        WHERE notEmpty(why)
    )
SELECT
    f.seen_by AS ward_code, f.device_num AS device_num, f.device_id AS device_id, f.device_type AS device_type,
    f.in_ward AS in_ward_code, w.name AS in_ward_name, f.gateway_id AS gateway_id, f.bts_site_id AS bts_site_id,
    f.site_id AS site_id, f.vendor AS vendor, f.firmware AS firmware, f.usual_firmware AS usual_firmware,
    f.latitude AS latitude, f.longitude AS longitude, f.interval_s AS interval_s, f.since_ts AS since_ts, f.newest_ts AS newest_ts,
    f.good_n AS good_n, f.suspect_n AS suspect_n, f.fail_n AS fail_n, f.is_silent AS is_silent,
    multiIf(NOT f.is_silent, '', f.is_late, 'late', empty(f.common), 'device', f.chosen.1) AS cause,
    if(f.chosen.1 = 'city', '', f.chosen.2) AS cause_id, toUInt32(f.chosen.3) AS siblings_silent_n,
    toUInt32(f.chosen.4) AS siblings_n, f.battery_pct AS battery_pct, f.days_left AS battery_days_left, f.rssi_dbm AS rssi_dbm,
    toUInt8(least(100, arraySum(one -> one.1, f.why))) AS score, arrayStringConcat(arrayMap(one -> one.2, f.why), '; ') AS reason,
    n.newest_of_all AS newest_of_all, f.coverage AS coverage, toUInt8(0) AS is_deleted
FROM
(
    SELECT
        c.seen_by AS seen_by, c.device_num AS device_num, any(c.device_id) AS device_id, any(c.device_type) AS device_type,
        any(c.ward_code) AS in_ward, any(c.gateway_id) AS gateway_id, any(c.bts_site_id) AS bts_site_id, any(c.site_id) AS site_id,
        any(c.vendor) AS vendor, any(c.firmware) AS firmware, any(c.usual_firmware) AS usual_firmware,
        any(c.latitude) AS latitude, any(c.longitude) AS longitude, any(c.interval_s) AS interval_s, any(c.since_ts) AS since_ts,
        any(c.newest_ts) AS newest_ts, any(c.good_n) AS good_n, any(c.suspect_n) AS suspect_n, any(c.fail_n) AS fail_n,
        any(c.is_silent) AS is_silent, any(c.is_late) AS is_late, any(c.coverage) AS coverage, any(c.battery_pct) AS battery_pct, any(c.days_left) AS days_left,
        any(c.rssi_dbm) AS rssi_dbm, any(c.why) AS why,
        arraySort(one -> one.5, groupArrayIf((c.one.1, c.one.2, c.one.3 - 1, t.all_n - 1, c.one.4), c.is_silent)) AS found,
        -- The largest group that fell silent as a whole; of two alike the nearer.
        arraySort(one -> (-toInt64(one.4), one.5), arrayFilter(one -> one.4 >= 2 AND one.3 >= 0.8 * one.4, found)) AS common,
        if(empty(common), found[1], common[1]) AS chosen
    FROM (SELECT * EXCEPT groups, arrayJoin(groups) AS one FROM counted) AS c
    LEFT JOIN totals AS t ON t.member = cityHash64(c.seen_by, c.one.1, c.one.2)
    GROUP BY seen_by, device_num
) AS f
LEFT JOIN newest AS n ON n.seen_by = f.seen_by
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = f.in_ward
-- Of the run itself, for the city and each ward, so that nobody takes a run that found nothing for none.
UNION ALL
SELECT
    r.seen_by, 0, '', '', '', '', '', '', '', '', '', '', NULL, NULL, 0, toDateTime64(0, 3, 'UTC'), toDateTime64(0, 3, 'UTC'), 0, 0, 0,
    false, '', '', 0, 0, NULL, NULL, NULL, 0, '', n.newest_of_all, NULL, 0
FROM (SELECT '' AS seen_by UNION DISTINCT SELECT ward_code FROM cityfleet.wards FINAL) AS r
LEFT JOIN newest AS n ON n.seen_by = r.seen_by
