-- Question 19: devices that have fallen silent, and with whom.

CREATE OR REPLACE VIEW ioc.silent_devices {on_cluster}
(
    device_id String COMMENT 'Name of the device',
    kind String COMMENT 'Its type',
    ward_code String COMMENT 'Ward it stands in now, official code of five digits',
    gateway_id String COMMENT 'Gateway that speaks for it, or empty',
    bts_site_id String COMMENT 'Site of kind bts of its gateway, else its own; or empty',
    last_ts Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of its newest reading, UTC; NULL: none ever came',
    silent_s Int64 COMMENT 'Seconds since then; without a reading: since it was registered',
    expected_interval_s UInt32 COMMENT 'How often it should report, seconds',
    siblings_silent_n UInt64 COMMENT 'Silent ones among the siblings',
    siblings_n UInt64 COMMENT 'Other devices of the group that cause_id names',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading of any device, UTC',
    n UInt64 COMMENT 'Good newest readings of the device, one a metric',
    coverage Nullable(Float64) COMMENT 'NULL: does not apply',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Its newest readings by quality as ingest gave it; all of them count as heard',
    method LowCardinality(String) COMMENT 'Rule and its version',
    probable_cause LowCardinality(String) COMMENT 'late: readings arrive, but old ones (a backlog, or a wrong clock). city, ward, bts_site, gateway, vendor, type: what silent ones have in common. device: nothing',
    cause_id String COMMENT 'The gateway, site, ward code, vendor or type meant; of device and late the nearest group, of city empty',
    vendor String COMMENT 'Label `vendor`, or empty',
    site_id String COMMENT 'Site it is mounted at, or empty',
    latitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    longitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    device_num UInt32 COMMENT 'Number of the device'
)
SQL SECURITY INVOKER
AS WITH
    placed AS
    (
        SELECT
            d.device_num AS device_num, d.device_id AS device_id, d.device_type AS device_type, d.ward_code AS ward_code,
            d.gateway_id AS gateway_id, d.site_id AS site_id, d.labels['vendor'] AS vendor, d.latitude AS latitude,
            d.longitude AS longitude, d.expected_interval_s AS interval_s, d.create_time AS create_time,
            if(d.gateway_id != '', d.gateway_id, if(k.device_type != '', d.device_id, '')) AS group_gateway,
            if(g.site_id != '', g.site_id, if(b.site_id != '', d.site_id, '')) AS bts_site_id
        FROM
        (
            SELECT
                device_num, device_id, device_type, ward_code, gateway_id, site_id, labels, latitude, longitude,
                expected_interval_s, create_time
            FROM cityfleet.devices FINAL
            WHERE state = 'active' AND expected_interval_s > 0
        ) AS d
        LEFT JOIN (SELECT site_id FROM cityfleet.sites FINAL WHERE kind = 'bts') AS b ON b.site_id = d.site_id
        LEFT JOIN (SELECT device_type FROM cityfleet.device_types FINAL WHERE is_gateway) AS k ON k.device_type = d.device_type
        LEFT JOIN
        (
            SELECT device_id, site_id
            FROM cityfleet.devices FINAL
            WHERE device_type IN (SELECT device_type FROM cityfleet.device_types FINAL WHERE is_gateway)
                AND site_id IN (SELECT site_id FROM cityfleet.sites FINAL WHERE kind = 'bts')
        ) AS g ON g.device_id = d.gateway_id
    ),
    -- How many there are in each group, by a hash of it, which is cheaper than names; who is silent is looked up once, and
    -- counted among the silent alone.
    totals AS
    (
        SELECT
            arrayJoin([
                cityHash64('gateway', group_gateway), cityHash64('bts_site', bts_site_id), cityHash64('ward', ward_code),
                cityHash64('vendor', vendor), cityHash64('type', device_type), cityHash64('city', 'city')
            ]) AS member,
            count() AS all_n
        FROM placed
        GROUP BY member
    ),
    silent AS
    (
        SELECT
            p.*, h.newest_ts AS newest_ts, h.good_n AS good_n, h.suspect_n AS suspect_n, h.fail_n AS fail_n,
            dateDiff('second', if(h.newest_ts = 0, p.create_time, h.newest_ts), now64(3, 'UTC')) AS silent_s,
            h.newest_ts != 0 AND dateDiff('second', h.arrived_at, now64(3, 'UTC')) <= 3 * toInt64(p.interval_s) AS is_late
        FROM placed AS p
        LEFT JOIN
        (
            SELECT
                device_num, max(least(l.ts, l.received_at)) AS newest_ts, max(l.received_at) AS arrived_at,
                countIf(l.quality = 1) AS good_n, countIf(l.quality = 3) AS suspect_n, countIf(l.quality = 4) AS fail_n
            FROM cityfleet.latest AS l FINAL
            GROUP BY device_num
        ) AS h ON h.device_num = p.device_num
        WHERE dateDiff('second', if(h.newest_ts = 0, p.create_time, h.newest_ts), now64(3, 'UTC')) > 3 * toInt64(p.interval_s)
    ),
    counted AS
    (
        SELECT
            *,
            [
                ('gateway', group_gateway, count() OVER (PARTITION BY group_gateway), 1),
                ('bts_site', bts_site_id, count() OVER (PARTITION BY bts_site_id), 2),
                ('ward', ward_code, count() OVER (PARTITION BY ward_code), 3),
                ('vendor', vendor, count() OVER (PARTITION BY vendor), 4),
                ('type', device_type, count() OVER (PARTITION BY device_type), 5),
                ('city', 'city', count() OVER (), 6)
            ] AS groups
        FROM silent
    ),
    judged AS
    (
        SELECT
            c.device_num AS device_num, any(c.device_id) AS device_id, any(c.device_type) AS device_type, any(c.ward_code) AS ward_code,
            any(c.gateway_id) AS gateway_id, any(c.bts_site_id) AS bts_site_id, any(c.site_id) AS site_id, any(c.vendor) AS vendor,
            any(tuple(c.latitude, c.longitude)) AS place, any(c.interval_s) AS interval_s, any(c.newest_ts) AS newest_ts,
            any(c.silent_s) AS silent_s, any(c.is_late) AS is_late, any(c.good_n) AS good_n, any(c.suspect_n) AS suspect_n,
            any(c.fail_n) AS fail_n,
            arraySort(one -> one.5, groupArray((c.one.1, c.one.2, c.one.3 - 1, t.all_n - 1, c.one.4))) AS found,
            -- The largest group that fell silent as a whole; of two alike the nearer.
            arraySort(one -> (-toInt64(one.4), one.5), arrayFilter(one -> one.4 >= 2 AND one.3 >= 0.8 * one.4, found)) AS common,
            if(empty(common), found[1], common[1]) AS chosen
        FROM (SELECT * EXCEPT groups, arrayJoin(groups) AS one FROM counted) AS c
        INNER JOIN totals AS t ON t.member = cityHash64(c.one.1, c.one.2)
        WHERE c.one.2 != ''
        GROUP BY device_num
    )
SELECT
    f.device_id AS device_id, f.device_type AS kind, f.ward_code AS ward_code, f.gateway_id AS gateway_id,
    f.bts_site_id AS bts_site_id, if(f.newest_ts = 0, NULL, f.newest_ts) AS last_ts, f.silent_s AS silent_s,
    f.interval_s AS expected_interval_s, toUInt64(f.chosen.3) AS siblings_silent_n, toUInt64(f.chosen.4) AS siblings_n,
    w.name AS ward_name, assumeNotNull((SELECT max(least(ts, received_at)) FROM cityfleet.latest)) AS as_of, f.good_n AS n,
    CAST(NULL, 'Nullable(Float64)') AS coverage,
    tuple(f.good_n, f.suspect_n, f.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    '3 x interval, common from 80 % v1' AS method,
    multiIf(f.is_late, 'late', empty(f.common), 'device', f.chosen.1) AS probable_cause,
    if(f.chosen.1 = 'city', '', f.chosen.2) AS cause_id, f.vendor AS vendor, f.site_id AS site_id, f.place.1 AS latitude,
    f.place.2 AS longitude, f.device_num AS device_num
FROM judged AS f
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = f.ward_code
COMMENT 'Question 19: devices silent for longer than three times their interval, and the probable common cause.
Rule: silent by the event time of the newest reading (no later than its arrival); only active devices with an interval. The cause is the largest group (gateway, BTS site, ward, vendor, type, city) with at least two others of whom 80 % are silent. Who sees one ward only has its groups only.
Source: newest readings of ingest and the registry, no rollups: seconds behind.
Example: SELECT probable_cause, cause_id, count() AS devices, max(silent_s) FROM ioc.silent_devices GROUP BY 1, 2 ORDER BY devices DESC';
