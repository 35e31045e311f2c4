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
    heard AS
    (
        SELECT
            device_num, max(least(l.ts, l.received_at)) AS newest_ts, max(l.received_at) AS arrived_at,
            countIf(l.quality = 1) AS good_n, countIf(l.quality = 3) AS suspect_n, countIf(l.quality = 4) AS fail_n
        FROM cityfleet.latest AS l FINAL
        GROUP BY device_num
    ),
    fleet AS
    (
        SELECT
            d.device_num AS device_num, d.device_id AS device_id, d.device_type AS device_type, d.ward_code AS ward_code,
            d.gateway_id AS gateway_id, d.site_id AS site_id, d.labels['vendor'] AS vendor, d.latitude AS latitude,
            d.longitude AS longitude, d.expected_interval_s AS interval_s, h.newest_ts AS newest_ts,
            h.arrived_at AS arrived_at, h.good_n AS good_n, h.suspect_n AS suspect_n, h.fail_n AS fail_n,
            if(g.site_id != '', g.site_id, if(b.site_id != '', d.site_id, '')) AS bts_site_id,
            dateDiff('second', if(h.newest_ts = 0, d.create_time, h.newest_ts), now64(3, 'UTC')) AS silent_s,
            silent_s > 3 * toInt64(interval_s) AS is_silent,
            [
                ('gateway', if(d.gateway_id != '', d.gateway_id, if(k.device_type != '', d.device_id, ''))),
                ('bts_site', bts_site_id), ('ward', d.ward_code), ('vendor', vendor), ('type', d.device_type), ('city', 'city')
            ] AS groups
        FROM
        (
            SELECT
                device_num, device_id, device_type, ward_code, gateway_id, site_id, labels, latitude, longitude,
                expected_interval_s, create_time
            FROM cityfleet.devices FINAL
            WHERE state = 'active' AND expected_interval_s > 0
        ) AS d
        LEFT JOIN heard AS h ON h.device_num = d.device_num
        LEFT JOIN (SELECT site_id FROM cityfleet.sites FINAL WHERE kind = 'bts') AS b ON b.site_id = d.site_id
        LEFT JOIN (SELECT device_type FROM cityfleet.device_types FINAL WHERE is_gateway) AS k ON k.device_type = d.device_type
        LEFT JOIN
        (
            SELECT device_id, site_id
            FROM cityfleet.devices FINAL
            WHERE site_id IN (SELECT site_id FROM cityfleet.sites FINAL WHERE kind = 'bts')
                AND device_type IN (SELECT device_type FROM cityfleet.device_types FINAL WHERE is_gateway)
        ) AS g ON g.device_id = d.gateway_id
    ),
    shares AS
    (
        SELECT member.1 AS scope, member.2 AS id, count() - 1 AS others_n, countIf(is_silent) - 1 AS silent_n
        FROM (SELECT is_silent, arrayJoin(groups) AS member FROM fleet)
        WHERE member.2 != ''
        GROUP BY member
        HAVING countIf(is_silent) > 0
    ),
    silent AS
    (
        SELECT
            f.device_num AS device_num,
            groupArray((s.scope, s.id, s.silent_n, s.others_n, indexOf(['gateway', 'bts_site', 'ward', 'vendor', 'type', 'city'], s.scope))) AS found,
            arraySort(one -> one.5, found)[1] AS nearest,
            -- The largest group that fell silent as a whole; of two alike the nearer.
            arraySort(one -> (-toInt64(one.4), one.5), arrayFilter(one -> one.4 >= 2 AND one.3 >= 0.8 * one.4, found)) AS common
        FROM (SELECT device_num, arrayJoin(groups) AS member FROM fleet WHERE is_silent) AS f
        INNER JOIN shares AS s ON s.scope = f.member.1 AND s.id = f.member.2
        GROUP BY device_num
    )
SELECT
    f.device_id AS device_id, f.device_type AS kind, f.ward_code AS ward_code, f.gateway_id AS gateway_id,
    f.bts_site_id AS bts_site_id, if(f.newest_ts = 0, NULL, f.newest_ts) AS last_ts, f.silent_s AS silent_s,
    f.interval_s AS expected_interval_s, toUInt64(chosen.3) AS siblings_silent_n, toUInt64(chosen.4) AS siblings_n,
    w.name AS ward_name, assumeNotNull((SELECT max(least(ts, received_at)) FROM cityfleet.latest)) AS as_of, f.good_n AS n,
    CAST(NULL, 'Nullable(Float64)') AS coverage,
    tuple(f.good_n, f.suspect_n, f.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    '3 x interval, common from 80 % v1' AS method,
    multiIf(is_late, 'late', empty(s.common), 'device', chosen.1) AS probable_cause,
    if(chosen.1 = 'city', '', chosen.2) AS cause_id, f.vendor AS vendor, f.site_id AS site_id, f.latitude AS latitude,
    f.longitude AS longitude, f.device_num AS device_num
FROM (SELECT *, newest_ts != 0 AND dateDiff('second', arrived_at, now64(3, 'UTC')) <= 3 * toInt64(interval_s) AS is_late FROM fleet WHERE is_silent) AS f
INNER JOIN (SELECT *, if(empty(common), nearest, common[1]) AS chosen FROM silent) AS s ON s.device_num = f.device_num
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = f.ward_code
COMMENT 'Question 19: devices silent for longer than three times their interval, and the probable common cause.
Rule: silent by the event time of the newest reading (no later than its arrival); only active devices with an interval. The cause is the largest group (gateway, BTS site, ward, vendor, type, city) with at least two others of whom 80 % are silent. Who sees one ward only has its groups only.
Source: newest readings of ingest and the registry, no rollups: seconds behind.
Example: SELECT probable_cause, cause_id, count() AS devices, max(silent_s) FROM ioc.silent_devices GROUP BY 1, 2 ORDER BY devices DESC';
