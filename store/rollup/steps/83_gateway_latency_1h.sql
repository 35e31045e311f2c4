-- How late readings are behind each gateway. A sample, since messages carry many readings and gateways many devices: of each
-- gateway the two lowest numbers among its devices, of each the first metric of its type.
-- target: cityfleet.gateway_latency_1h
-- source: cityfleet.readings_1h
-- bucket: 1 hour
WITH
    sampled AS
    (
        SELECT d.device_num AS device_num, t.metric_num AS metric_num, d.gateway_id AS gateway_id, d.late_ms AS late_ms
        FROM
        (
            SELECT
                device_num, device_type, gateway_id,
                if(expected_interval_s > 0, 3000 * toInt64(expected_interval_s), 300000) AS late_ms
            FROM cityfleet.devices FINAL
            WHERE state = 'active'
            ORDER BY gateway_id, device_num
            LIMIT 2 BY gateway_id
        ) AS d
        INNER JOIN
        (
            SELECT device_type, metric_nums[1] AS metric_num FROM cityfleet.device_types FINAL WHERE notEmpty(metric_nums)
        ) AS t ON t.device_type = d.device_type
    )
SELECT
    ts, gateway_id, ward_code, toUInt32(sum(n)) AS sampled_n, toUInt32(sum(good)) AS good_n, toUInt32(sum(suspect)) AS suspect_n,
    toUInt32(sum(fail)) AS fail_n, toUInt32(sum(future)) AS future_n, toUInt32(sum(late)) AS late_n, min(least_one) AS least_ms,
    max(newest) AS last_ts, groupArray(bucket) AS buckets, groupArray(toUInt32(n)) AS counts
FROM
(
    SELECT
        toStartOfHour(toDateTime(r.at, 'UTC')) AS ts, s.gateway_id AS gateway_id, r.ward_code AS ward_code,
        toUInt16(floor(16 * log2(1 + greatest(r.latency_ms, 0)))) AS bucket, count() AS n, countIf(r.quality = 1) AS good,
        countIf(r.quality = 3) AS suspect, countIf(r.quality = 4) AS fail, countIf(r.latency_ms < -1000) AS future,
        countIf(r.latency_ms > s.late_ms) AS late, min(r.latency_ms) AS least_one, max(r.at) AS newest
    FROM
    (
        SELECT
            device_num, ts AS at, ward_code, quality,
            toUnixTimestamp64Milli(received_at) - toUnixTimestamp64Milli(ts) AS latency_ms
        FROM cityfleet.readings FINAL
        WHERE (device_num, metric_num) IN (SELECT device_num, metric_num FROM sampled)
            AND ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
    ) AS r
    INNER JOIN sampled AS s ON s.device_num = r.device_num
    GROUP BY ts, gateway_id, ward_code, bucket
    ORDER BY ts, gateway_id, ward_code, bucket
)
GROUP BY ts, gateway_id, ward_code
