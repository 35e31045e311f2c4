-- Question 23: whom to visit next.

CREATE OR REPLACE VIEW ioc.devices_to_service {on_cluster}
(
    device_id String COMMENT 'Name of the device',
    ward_code String COMMENT 'Ward it stands in now, official code of five digits',
    firmware String COMMENT 'Label `firmware`, or empty',
    battery_ratio Nullable(Float64) COMMENT 'Newest battery_pct / 100, 0 to 1; NULL: none',
    battery_days_left Nullable(Float64) COMMENT 'Days until it is empty at the slope of the last 14 days; NULL: above 60 %, not falling, or fewer than three days known',
    rssi_dbm Nullable(Float64) COMMENT 'Newest rssi_dbm; NULL: none',
    score UInt8 COMMENT 'The higher, the sooner; the sum of what reason lists, at most 100',
    reason String COMMENT 'What speaks for it, the gravest first',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading of any device, UTC',
    n UInt64 COMMENT 'Good newest readings of the device, one a metric',
    coverage Nullable(Float64) COMMENT 'NULL: does not apply',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Its newest readings by quality as ingest gave it',
    method LowCardinality(String) COMMENT 'Rule and its version',
    kind String COMMENT 'Type of the device',
    last_ts Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of its newest reading, UTC; NULL: none ever came',
    silent_s Int64 COMMENT 'Seconds since then; without a reading: since it was registered',
    usual_firmware String COMMENT 'The most frequent label `firmware` of its type, or empty',
    gateway_id String COMMENT 'Gateway that speaks for it, or empty',
    site_id String COMMENT 'Site it is mounted at, or empty',
    latitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    longitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    device_num UInt32 COMMENT 'Number of the device'
)
SQL SECURITY INVOKER
AS WITH
    assumeNotNull((SELECT any(metric_num) FROM cityfleet.metrics FINAL WHERE metric = 'battery_pct')) AS battery_num,
    assumeNotNull((SELECT any(metric_num) FROM cityfleet.metrics FINAL WHERE metric = 'rssi_dbm')) AS rssi_num,
    heard AS
    (
        SELECT
            device_num, max(least(l.ts, l.received_at)) AS newest_ts, countIf(l.quality = 1) AS good_n,
            countIf(l.quality = 3) AS suspect_n, countIf(l.quality = 4) AS fail_n,
            anyIf(toNullable(l.value), l.metric_num = battery_num AND l.quality IN (1, 2)) AS battery_pct,
            anyIf(toNullable(l.value), l.metric_num = rssi_num AND l.quality IN (1, 2)) AS rssi_dbm
        FROM cityfleet.latest AS l FINAL
        GROUP BY device_num
    ),
    -- Only of batteries that are low: they are few.
    slopes AS
    (
        SELECT device_num, simpleLinearRegression(toUnixTimestamp(r.ts) / 86400, r.last) AS line, count() AS days
        FROM cityfleet.readings_1d AS r FINAL
        WHERE r.metric_num = battery_num AND r.good_n > 0 AND r.ts >= now('UTC') - INTERVAL 15 DAY
            AND r.device_num IN (SELECT device_num FROM cityfleet.latest WHERE metric_num = battery_num AND value <= 60)
        GROUP BY device_num
        HAVING days >= 3 AND line.1 < -0.01
    ),
    usual AS
    (
        SELECT device_type, argMax(firmware, n) AS firmware
        FROM
        (
            SELECT device_type, labels['firmware'] AS firmware, count() AS n
            FROM cityfleet.devices FINAL
            WHERE state = 'active' AND firmware != ''
            GROUP BY device_type, firmware
        )
        GROUP BY device_type
    )
SELECT
    f.device_id AS device_id, f.ward_code AS ward_code, f.firmware AS firmware, f.battery_pct / 100 AS battery_ratio,
    f.days_left AS battery_days_left, f.rssi_dbm AS rssi_dbm, f.score AS score,
    arrayStringConcat(arrayMap(one -> one.2, f.reasons), '; ') AS reason, w.name AS ward_name,
    assumeNotNull((SELECT max(least(ts, received_at)) FROM cityfleet.latest)) AS as_of, f.good_n AS n,
    CAST(NULL, 'Nullable(Float64)') AS coverage,
    tuple(f.good_n, f.suspect_n, f.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'score of silence, battery, quality, signal, firmware v1' AS method, f.device_type AS kind,
    if(f.newest_ts = 0, NULL, f.newest_ts) AS last_ts, f.silent_s AS silent_s, f.usual_firmware AS usual_firmware,
    f.gateway_id AS gateway_id, f.site_id AS site_id, f.latitude AS latitude, f.longitude AS longitude, f.device_num AS device_num
FROM
(
    SELECT
        d.device_num AS device_num, d.device_id AS device_id, d.device_type AS device_type, d.ward_code AS ward_code,
        d.gateway_id AS gateway_id, d.site_id AS site_id, d.latitude AS latitude, d.longitude AS longitude,
        d.labels['firmware'] AS firmware, u.firmware AS usual_firmware, h.newest_ts AS newest_ts, h.good_n AS good_n,
        h.suspect_n AS suspect_n, h.fail_n AS fail_n, h.battery_pct AS battery_pct, h.rssi_dbm AS rssi_dbm,
        if(s.days = 0, NULL, greatest(0, ifNull(h.battery_pct, 0) / -s.line.1)) AS days_left,
        dateDiff('second', if(h.newest_ts = 0, d.create_time, h.newest_ts), now64(3, 'UTC')) AS silent_s,
        arrayReverseSort(one -> one.1, arrayFilter(one -> one.1 > 0, [
            (if(d.expected_interval_s > 0 AND silent_s > 3 * toInt64(d.expected_interval_s), 40, 0), if(h.newest_ts = 0, 'never heard', 'silent')),
            (multiIf(ifNull(h.battery_pct <= 10, false), 35, ifNull(h.battery_pct <= 20, false), 20, 0), 'battery low'),
            (multiIf(ifNull(days_left <= 7, false), 30, ifNull(days_left <= 30, false), 15, 0), 'battery falls'),
            (if(h.fail_n > 0, 15, 0), 'newest readings fail'),
            (if(ifNull(h.rssi_dbm <= -115, false), 10, 0), 'signal weak'),
            (if(firmware != '' AND firmware != usual_firmware, 5, 0), 'firmware unlike its kind')
        ])) AS reasons,
        toUInt8(least(100, arraySum(one -> one.1, reasons))) AS score
    FROM
    (
        SELECT
            device_num, device_id, device_type, ward_code, gateway_id, site_id, labels, latitude, longitude,
            expected_interval_s, create_time
        FROM cityfleet.devices FINAL
        WHERE state = 'active'
    ) AS d
    LEFT JOIN heard AS h ON h.device_num = d.device_num
    LEFT JOIN slopes AS s ON s.device_num = d.device_num
    LEFT JOIN usual AS u ON u.device_type = d.device_type
) AS f
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = f.ward_code
WHERE f.score > 0
COMMENT 'Question 23: devices to service next, ranked by silence, battery, quality, signal and firmware.
Rule: silent for three intervals 40; battery at 10 % 35, at 20 % 20; empty within 7 days 30, within 30 days 15; a newest reading that fails 15; signal of -115 dBm or less 10; firmware other than most of its type 5. At most 100; only devices above 0. The weights are those of cityfleet.
Source: newest readings of battery_pct and rssi_dbm, days of battery_pct, labels of the registry.
Example: SELECT device_id, ward_name, score, reason, battery_days_left FROM ioc.devices_to_service ORDER BY score DESC, device_id LIMIT 20';
