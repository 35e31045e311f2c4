-- Questions 21 and 22: what tests found of sensors, and how late readings are behind gateways.

CREATE OR REPLACE VIEW ioc.sensor_quality {on_cluster}
(
    device_id String COMMENT 'Name of the device',
    metric String COMMENT 'What it measures',
    test String COMMENT 'As in ioc.quality_reasons',
    share_3 Float64 COMMENT 'Readings that the test made suspect / all in the period, 0 to 1',
    share_4 Float64 COMMENT 'Readings that the test failed / all in the period, 0 to 1',
    stuck_since Nullable(DateTime64(3, 'UTC')) COMMENT 'Of the test flat_line, while it still finds something at the end of the period: since when the value has not changed, UTC; else NULL',
    last_calibration Nullable(Date) COMMENT 'As the device reported, else its label `calibrated`, YYYY-MM-DD; NULL: neither says it',
    ward_code String COMMENT 'Ward of the device now, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest good reading of the period, else of the newest that the test found, UTC',
    n UInt64 COMMENT 'Good readings of the period',
    coverage Nullable(Float64) COMMENT 'Readings / expected ones from the first hour of the period to the last with any, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the period by quality, all tests together',
    method LowCardinality(String) COMMENT 'Rule and its version',
    suspect_n UInt64 COMMENT 'Readings that the test made suspect',
    fail_n UInt64 COMMENT 'Readings that the test failed',
    last_found_ts DateTime64(3, 'UTC') COMMENT 'Newest of them, UTC',
    kind String COMMENT 'Type of the device',
    device_num UInt32 COMMENT 'Number of the device'
)
SQL SECURITY INVOKER
AS WITH
    -- All days of +07:00 of which some is in the period; those that ended an hour ago are summed up, the other is as far as it goes.
    toDateTime(intDiv(toUnixTimestamp({from:DateTime('UTC')}) + 25200, 86400) * 86400 - 25200, 'UTC') AS from_day,
    toDateTime(intDiv(toUnixTimestamp({to:DateTime('UTC')}) + 111599, 86400) * 86400 - 25200, 'UTC') AS to_day,
    toDateTime(intDiv(toUnixTimestamp(now('UTC') - INTERVAL 1 HOUR) + 25200, 86400) * 86400 - 25200, 'UTC') AS open_day,
    (SELECT (groupArray(metric_num), groupArray(metric)) FROM cityfleet.metrics FINAL) AS metrics,
    (SELECT (groupArray(toString(ward_code)), groupArray(toString(name))) FROM cityfleet.wards FINAL) AS wards
SELECT
    d.device_id AS device_id, transform(f.metric_num, metrics.1, metrics.2, '') AS metric, f.test AS test,
    if(s.all_n = 0, 0, f.found_suspect_n / s.all_n) AS share_3, if(s.all_n = 0, 0, f.found_fail_n / s.all_n) AS share_4,
    if(f.test = 'flat_line' AND toStartOfHour(f.newest_ts) >= s.newest_hour AND s.newest_good_ts <= f.newest_ts,
        f.run_ts - toIntervalSecond(q.flat_s), NULL) AS stuck_since,
    coalesce(nullIf(v.last_calibration, toDate('1970-01-01')), toDateOrNull(d.calibrated)) AS last_calibration, d.ward_code AS ward_code,
    transform(toString(d.ward_code), wards.1, wards.2, '') AS ward_name,
    if(s.newest_good_ts = 0, f.newest_ts, s.newest_good_ts) AS as_of, s.good AS n,
    if(q.interval_s > 0, least(1, s.all_n * q.interval_s / s.span_s), NULL) AS coverage,
    tuple(s.good, s.suspect, s.fail)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'QARTOD by test v1' AS method, f.found_suspect_n AS suspect_n, f.found_fail_n AS fail_n, f.newest_ts AS last_found_ts,
    d.device_type AS kind, f.device_num AS device_num
FROM
(
    SELECT
        device_num, metric_num, test, sum(t.suspect_n) AS found_suspect_n, sum(t.fail_n) AS found_fail_n, max(t.last_ts) AS newest_ts,
        arraySort(groupArrayIf((t.first_ts, t.last_ts), test = 'flat_line')) AS hours,
        -- The newest run of hours: what lies more than an hour apart is another one.
        arrayLastIndex((one, at) -> at = 1 OR dateDiff('second', hours[at - 1].2, one.1) > 3600, hours, arrayEnumerate(hours)) AS run_at,
        hours[run_at].1 AS run_ts
    FROM cityfleet.tests_1h AS t FINAL
    WHERE t.ts >= from_day AND t.ts < to_day
    GROUP BY device_num, metric_num, test
) AS f
INNER JOIN
(
    SELECT
        device_num, metric_num, sum(n) AS all_n, sum(good_n) AS good, sum(suspect_n) AS suspect, sum(fail_n) AS fail,
        max(last_ts) AS newest_good_ts, max(last_hour) AS newest_hour, dateDiff('second', min(first_hour), max(last_hour)) + 3600 AS span_s
    FROM
    (
        SELECT
            device_num, metric_num, n, good_n, suspect_n, fail_n, last_ts, if(r.first_hour = 0, ts, r.first_hour) AS first_hour,
            if(r.last_hour = 0, ts + INTERVAL 23 HOUR, r.last_hour) AS last_hour
        FROM cityfleet.readings_1d AS r FINAL
        -- A column of the key only, so that it is also right before FINAL.
        PREWHERE ts >= from_day AND ts < least(to_day, open_day)
        UNION ALL
        SELECT device_num, metric_num, n, good_n, suspect_n, fail_n, last_ts, first_hour, last_hour
        FROM cityfleet.readings_today
        WHERE ts >= greatest(from_day, open_day) AND ts < to_day
    )
    GROUP BY device_num, metric_num
) AS s ON s.device_num = f.device_num AND s.metric_num = f.metric_num
INNER JOIN
(
    SELECT device_num, device_id, device_type, ward_code, labels['calibrated'] AS calibrated FROM cityfleet.devices FINAL
) AS d ON d.device_num = f.device_num
LEFT JOIN
(
    SELECT device_num, last_calibration FROM cityfleet.device_reported FINAL WHERE last_calibration != toDate('1970-01-01')
) AS v ON v.device_num = f.device_num
LEFT JOIN
(
    SELECT
        device_type, metric_num, toInt64(if(own_s > 0, own_s, expected_interval_s)) AS interval_s,
        JSONExtractInt(tests, 'flat_line', 'suspect_s') AS suspect_s, JSONExtractInt(tests, 'flat_line', 'fail_s') AS fail_s,
        if(suspect_s > 0, if(fail_s > 0, least(suspect_s, fail_s), suspect_s), fail_s) AS flat_s
    FROM
    (
        SELECT device_type, expected_interval_s, metric_nums, metric_intervals_s, arrayResize(metric_tests, length(metric_nums)) AS metric_tests
        FROM cityfleet.device_types FINAL
    )
    ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS own_s, metric_tests AS tests
) AS q ON q.device_type = d.device_type AND q.metric_num = f.metric_num
COMMENT 'Question 21: share of suspect and failed readings by device, metric and test, and sensors that are stuck.
Rule: readings that a test of ingest or of the store found something of, against all of the series in the period; several tests may find the same reading. Only series of which a test found something. Whole days at +07:00: all of which some is in the period, today up to the end of the last hour, about a minute behind it. Stuck since the first of the newest run of flat readings, less the time after which the test speaks.
Source: QARTOD as in the package ioos-qc; the spans and times are those of the device type (ioc.quality_tests).
Example: SELECT device_id, metric, test, share_4, stuck_since FROM ioc.sensor_quality(from = now(''UTC'') - INTERVAL 1 DAY, to = now(''UTC'')) ORDER BY share_4 DESC LIMIT 20';

CREATE OR REPLACE VIEW ioc.gateway_latency {on_cluster}
(
    gateway_id String COMMENT 'Name of the gateway; empty: devices that speak for themselves',
    p50_s Float64 COMMENT 'Half of the readings arrived within so many seconds of their event time; of buckets 4 % wide',
    p95_s Float64 COMMENT '95 of 100 did, seconds',
    p99_s Float64 COMMENT '99 of 100 did, seconds',
    future_ts_n UInt64 COMMENT 'Sampled readings more than a second ahead of their arrival: a clock that is fast',
    late_n UInt64 COMMENT 'Sampled readings more than three intervals of their device old at arrival (without an interval: 300 s)',
    ward_code String COMMENT 'Ward of the gateway now, official code of five digits; of no gateway: empty',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of the sample',
    coverage Nullable(Float64) COMMENT 'Hours of the period so far with readings / all, 0 to 1',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the sample by quality as ingest gave it; all of them are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    sampled_n UInt64 COMMENT 'Readings of the sample',
    least_s Float64 COMMENT 'Least arrival minus event time, seconds; below 0: the clock is at least so far ahead'
)
SQL SECURITY INVOKER
AS WITH
    toStartOfHour({from:DateTime('UTC')}) AS from_hour,
    -- Whole six hours that ended an hour ago, and so are put together; what is left of the period comes by the hour.
    toDateTime(intDiv(toUnixTimestamp(from_hour) + 21599, 21600) * 21600, 'UTC') AS from_6h,
    toDateTime(intDiv(toUnixTimestamp(least({to:DateTime('UTC')}, now('UTC') - INTERVAL 1 HOUR)), 21600) * 21600, 'UTC') AS to_6h,
    -- Six hours that were not put together yet, as after an upgrade, come by the hour too.
    (SELECT groupUniqArray(toUnixTimestamp(ts)) FROM cityfleet.gateway_latency_6h WHERE ts >= from_6h AND ts < to_6h) AS there,
    arrayFilter(at -> NOT has(there, at), range(toUnixTimestamp(from_6h), toUnixTimestamp(to_6h), 21600)) AS lacking,
    toDateTime(if(empty(lacking), 0, lacking[1]), 'UTC') AS lacking_from,
    toDateTime(if(empty(lacking), 0, lacking[-1] + 21600), 'UTC') AS lacking_to
SELECT
    g.gateway_id AS gateway_id, g.seconds[1] AS p50_s, g.seconds[2] AS p95_s, g.seconds[3] AS p99_s, g.future_n AS future_ts_n,
    g.late_n AS late_n, d.ward_code AS ward_code, w.name AS ward_name, g.newest_ts AS as_of, g.good_n AS n,
    least(1, g.hours_n / greatest(1, dateDiff('hour', toStartOfHour({from:DateTime('UTC')}), toStartOfHour(least({to:DateTime('UTC')}, now('UTC')))))) AS coverage,
    tuple(g.good_n, g.suspect_n, g.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'sample of 2 series a gateway v1' AS method, g.sampled_n AS sampled_n, g.least_ms / 1000 AS least_s
FROM
(
    SELECT
        gateway_id, sum(h.sampled_n) AS sampled_n, sum(h.good_n) AS good_n, sum(h.suspect_n) AS suspect_n, sum(h.fail_n) AS fail_n,
        sum(h.future_n) AS future_n, sum(h.late_n) AS late_n, min(h.least_ms) AS least_ms, max(h.last_ts) AS newest_ts,
        uniqExactArray(h.hours) AS hours_n,
        -- The middle of a bucket on its scale.
        arrayMap(
            bucket -> if(bucket = 0, 0, exp2((bucket + 0.5) / 16) - 1) / 1000,
            quantilesExactWeightedArray(0.5, 0.95, 0.99)(h.buckets, h.counts)) AS seconds
    FROM
    (
        SELECT
            gateway_id, sampled_n, good_n, suspect_n, fail_n, future_n, late_n, least_ms, last_ts, buckets, counts, [ts] AS hours
        FROM cityfleet.gateway_latency_1h FINAL
        WHERE ts >= from_hour AND ts < {to:DateTime('UTC')}
            AND (ts < from_6h OR ts >= to_6h
                OR (ts >= lacking_from AND ts < lacking_to AND has(lacking, toUInt32(intDiv(toUnixTimestamp(ts), 21600) * 21600))))
        UNION ALL
        SELECT gateway_id, sampled_n, good_n, suspect_n, fail_n, future_n, late_n, least_ms, last_ts, buckets, counts, hours
        FROM cityfleet.gateway_latency_6h FINAL
        WHERE ts >= from_6h AND ts < to_6h
    ) AS h
    GROUP BY gateway_id
    HAVING max(notEmpty(h.buckets))
) AS g
LEFT JOIN
(
    SELECT device_id, ward_code FROM cityfleet.devices FINAL
) AS d ON d.device_id = g.gateway_id
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = d.ward_code
COMMENT 'Question 22: seconds from event to arrival by gateway, and clocks that are wrong.
Rule: of each gateway a sample, the first metric of the two lowest numbers among its devices; all counts are of the sample. A reading that is ahead of its arrival counts as 0 s; one that was sent again counts with its last arrival. Whole hours, about a minute behind their end.
Source: event time as the device says, arrival as ingest took it.
Example: SELECT gateway_id, p50_s, p99_s, future_ts_n, late_n FROM ioc.gateway_latency(from = now(''UTC'') - INTERVAL 1 DAY, to = now(''UTC'')) ORDER BY p99_s DESC LIMIT 20';
