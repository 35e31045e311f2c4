-- Questions 4 and 8: rain of the last hours by ward, and the storm against the design of the drainage.

CREATE OR REPLACE VIEW ioc.ward_rain_at {on_cluster}
(
    ward_code String COMMENT 'Ward, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    r1_mm Nullable(Float64) COMMENT 'Rain of the last hour at the gauge that had most, mm; NULL: no gauge reported then',
    r2_mm Nullable(Float64) COMMENT 'Of the last 2 hours',
    r3_mm Nullable(Float64) COMMENT 'Of the last 3 hours',
    r12_mm Nullable(Float64) COMMENT 'Of the last 12 hours',
    r24_mm Nullable(Float64) COMMENT 'Of the last 24 hours',
    class_24h String COMMENT 'Class of r24_mm (mưa nhỏ, vừa, to, rất to); empty: no rain, or not known',
    exceeds_50mm_2h Nullable(Bool) COMMENT 'r2_mm is at the mark from which streets flood',
    gauges_n UInt64 COMMENT 'Active gauges of the ward',
    gauges_reporting UInt64 COMMENT 'Of these, with a good reading in the last hour',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of the last 24 hours',
    coverage Nullable(Float64) COMMENT 'Readings of the last 24 hours / expected ones, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the last 24 hours by quality; only good ones are summed',
    method LowCardinality(String) COMMENT 'Rule and its version',
    r48_mm Nullable(Float64) COMMENT 'Of the last 48 hours',
    r1_mean_mm Nullable(Float64) COMMENT 'Mean over the gauges that reported then, mm',
    r2_mean_mm Nullable(Float64) COMMENT 'Mean of the last 2 hours',
    r3_mean_mm Nullable(Float64) COMMENT 'Mean of the last 3 hours',
    r12_mean_mm Nullable(Float64) COMMENT 'Mean of the last 12 hours',
    r24_mean_mm Nullable(Float64) COMMENT 'Mean of the last 24 hours',
    r48_mean_mm Nullable(Float64) COMMENT 'Mean of the last 48 hours',
    since_07_mm Nullable(Float64) COMMENT 'Since 07:00 local time (day of the bulletins 07:00 to 07:00), gauge that had most',
    since_19_mm Nullable(Float64) COMMENT 'Since 19:00 local time (day 19:00 to 19:00), gauge that had most',
    mark_2h_mm Float64 COMMENT 'The mark of exceeds_50mm_2h, mm',
    threshold_source String COMMENT 'Source of the mark',
    worst_gauge_id String COMMENT 'Gauge of r48_mm'
)
SQL SECURITY INVOKER
AS WITH
    toStartOfTenMinutes({at:DateTime('UTC')}) AS t10,
    toStartOfHour({at:DateTime('UTC')}) AS h0,
    -- First whole hour of the window; the ten minutes before it and after h0 come from the finer table.
    toStartOfHour(t10 - INTERVAL 12 HOUR + INTERVAL 50 MINUTE) AS h12,
    toStartOfHour(t10 - INTERVAL 24 HOUR + INTERVAL 50 MINUTE) AS h24,
    toStartOfHour(t10 - INTERVAL 48 HOUR + INTERVAL 50 MINUTE) AS h48,
    -- 07:00 and 19:00 at +07:00 are 00:00 and 12:00 UTC.
    toStartOfDay({at:DateTime('UTC')}) AS d07,
    toStartOfDay({at:DateTime('UTC')} - INTERVAL 12 HOUR) + INTERVAL 12 HOUR AS d19,
    (
        SELECT groupArray((toUInt8(level), level_name, assumeNotNull(low)))
        FROM (SELECT * FROM cityfleet.thresholds FINAL ORDER BY level)
        WHERE scheme = 'rain_class' AND averaging = '24h' AND low IS NOT NULL
    ) AS classes,
    (
        SELECT (any(assumeNotNull(low)), any(source))
        FROM cityfleet.thresholds FINAL
        WHERE scheme = 'rain_flood' AND averaging = '2h' AND low IS NOT NULL AND level = 1
    ) AS mark
SELECT
    g.ward_code AS ward_code, w.name AS ward_name, g.r1 AS r1_mm, g.r2 AS r2_mm, g.r3 AS r3_mm, g.r12 AS r12_mm, g.r24 AS r24_mm,
    -- "16 to 50", "51 to 100", "more than 100": 50 and 100 are of the lower class.
    arrayLast(c -> ifNull(g.r24 >= c.3 AND (c.1 < 3 OR g.r24 > c.3), 0), classes).2 AS class_24h,
    (g.r2 >= mark_2h_mm)::Nullable(Bool) AS exceeds_50mm_2h, g.gauges AS gauges_n, g.reporting AS gauges_reporting,
    if(g.newest = 0, NULL, g.newest) AS as_of, g.good AS n, if(g.expected > 0, least(1, g.everything / g.expected), NULL) AS coverage,
    tuple(g.good, g.suspect, g.fail)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'whole 10 min up to the running one v1' AS method, g.r48 AS r48_mm, g.m1 AS r1_mean_mm, g.m2 AS r2_mean_mm, g.m3 AS r3_mean_mm,
    g.m12 AS r12_mean_mm, g.m24 AS r24_mean_mm, g.m48 AS r48_mean_mm, g.s07 AS since_07_mm, g.s19 AS since_19_mm,
    if(mark.1 > 0, mark.1, 50) AS mark_2h_mm, mark.2 AS threshold_source, g.worst AS worst_gauge_id
FROM
(
    SELECT
        if(d.device_num != 0, d.ward_code, toString(s.ward)) AS ward_code,
        maxOrNullIf(s.r1, s.n1 > 0) AS r1, maxOrNullIf(s.r2, s.n2 > 0) AS r2, maxOrNullIf(s.r3, s.n3 > 0) AS r3,
        maxOrNullIf(s.r12, s.n12 > 0) AS r12, maxOrNullIf(s.r24, s.n24 > 0) AS r24, maxOrNullIf(s.r48, s.n48 > 0) AS r48,
        avgOrNullIf(s.r1, s.n1 > 0) AS m1, avgOrNullIf(s.r2, s.n2 > 0) AS m2, avgOrNullIf(s.r3, s.n3 > 0) AS m3,
        avgOrNullIf(s.r12, s.n12 > 0) AS m12, avgOrNullIf(s.r24, s.n24 > 0) AS m24, avgOrNullIf(s.r48, s.n48 > 0) AS m48,
        maxOrNullIf(s.s07, s.n24 > 0) AS s07, maxOrNullIf(s.s19, s.n24 > 0) AS s19,
        argMaxIf(d.device_id, s.r48, s.n48 > 0) AS worst,
        countIf(d.device_num != 0) AS gauges, countIf(s.n1 > 0) AS reporting, max(s.newest) AS newest, sum(s.n24) AS good,
        sum(s.suspect24) AS suspect, sum(s.fail24) AS fail, sum(s.all24) AS everything,
        sum(if(d.interval_s > 0, 86400 / d.interval_s, 0)) AS expected
    FROM
    (
        SELECT v.device_num AS device_num, v.device_id AS device_id, v.ward_code AS ward_code, t.interval_s AS interval_s
        FROM (SELECT device_num, device_id, device_type, ward_code FROM cityfleet.devices FINAL WHERE state = 'active') AS v
        INNER JOIN
        (
            SELECT device_type, max(if(own_s > 0, own_s, type_s)) AS interval_s
            FROM
            (
                SELECT device_type, expected_interval_s AS type_s, metric_num, own_s
                FROM (SELECT * FROM cityfleet.device_types FINAL)
                ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS own_s
            )
            WHERE metric_num IN (SELECT metric_num FROM cityfleet.metrics FINAL WHERE metric = 'rain_mm')
            GROUP BY device_type
        ) AS t ON t.device_type = v.device_type
    ) AS d
    FULL JOIN
    (
        SELECT
            device_num, argMax(ward_code, ts) AS ward, maxIf(last_ts, good_n > 0) AS newest,
            sumIf(mm, fine AND ts >= t10 - INTERVAL 1 HOUR) AS r1, sumIf(good_n, fine AND ts >= t10 - INTERVAL 1 HOUR) AS n1,
            sumIf(mm, fine AND ts >= t10 - INTERVAL 2 HOUR) AS r2, sumIf(good_n, fine AND ts >= t10 - INTERVAL 2 HOUR) AS n2,
            sumIf(mm, fine AND ts >= t10 - INTERVAL 3 HOUR) AS r3, sumIf(good_n, fine AND ts >= t10 - INTERVAL 3 HOUR) AS n3,
            sumIf(mm, in12) AS r12, sumIf(good_n, in12) AS n12, sumIf(mm, in24) AS r24, sumIf(good_n, in24) AS n24,
            sumIf(mm, in48) AS r48, sumIf(good_n, in48) AS n48, sumIf(n, in24) AS all24, sumIf(suspect_n, in24) AS suspect24,
            sumIf(fail_n, in24) AS fail24, sumIf(mm, ts >= d07 AND fine = (ts >= h0)) AS s07,
            sumIf(mm, ts >= d19 AND fine = (ts >= h0)) AS s19
        FROM
        (
            SELECT
                ts, device_num, ward_code, n, good_n, suspect_n, fail_n, rain_mm AS mm, last_ts, true AS fine,
                ts >= h0 OR (ts >= t10 - INTERVAL 12 HOUR AND ts < h12) AS in12,
                ts >= h0 OR (ts >= t10 - INTERVAL 24 HOUR AND ts < h24) AS in24,
                ts >= h0 OR (ts >= t10 - INTERVAL 48 HOUR AND ts < h48) AS in48
            FROM cityfleet.rain_10min FINAL
            WHERE ts < {at:DateTime('UTC')} AND
            (
                ts >= h0 - INTERVAL 3 HOUR OR (ts >= t10 - INTERVAL 12 HOUR AND ts < h12)
                OR (ts >= t10 - INTERVAL 24 HOUR AND ts < h24) OR (ts >= t10 - INTERVAL 48 HOUR AND ts < h48)
            )
            UNION ALL
            SELECT
                ts, device_num, ward_code, n, good_n, suspect_n, fail_n, rain_mm AS mm, last_ts, false AS fine,
                ts >= h12 AS in12, ts >= h24 AS in24, ts >= h48 AS in48
            FROM cityfleet.rain_1h FINAL
            WHERE ts >= h48 AND ts < h0
        )
        GROUP BY device_num
    ) AS s ON s.device_num = d.device_num
    GROUP BY ward_code
) AS g
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = g.ward_code
COMMENT 'Question 4 at a time of the past ({at:DateTime}): rain of the 1, 2, 3, 12, 24 and 48 hours before it, per ward.
Rule: as ioc.ward_rain_now.
Source: as ioc.ward_rain_now.
Example: SELECT ward_name, r1_mm, r2_mm, r24_mm, class_24h FROM ioc.ward_rain_at(at = ''2025-08-26 00:00:00'') ORDER BY r24_mm DESC';

CREATE OR REPLACE VIEW ioc.ward_rain_now {on_cluster}
(
    ward_code String COMMENT 'Ward, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    r1_mm Nullable(Float64) COMMENT 'Rain of the last hour at the gauge that had most, mm; NULL: no gauge reported then',
    r2_mm Nullable(Float64) COMMENT 'Of the last 2 hours',
    r3_mm Nullable(Float64) COMMENT 'Of the last 3 hours',
    r12_mm Nullable(Float64) COMMENT 'Of the last 12 hours',
    r24_mm Nullable(Float64) COMMENT 'Of the last 24 hours',
    class_24h String COMMENT 'Class of r24_mm (mưa nhỏ, vừa, to, rất to); empty: no rain, or not known',
    exceeds_50mm_2h Nullable(Bool) COMMENT 'r2_mm is at the mark from which streets flood',
    gauges_n UInt64 COMMENT 'Active gauges of the ward',
    gauges_reporting UInt64 COMMENT 'Of these, with a good reading in the last hour',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of the last 24 hours',
    coverage Nullable(Float64) COMMENT 'Readings of the last 24 hours / expected ones, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the last 24 hours by quality; only good ones are summed',
    method LowCardinality(String) COMMENT 'Rule and its version',
    r48_mm Nullable(Float64) COMMENT 'Of the last 48 hours',
    r1_mean_mm Nullable(Float64) COMMENT 'Mean over the gauges that reported then, mm',
    r2_mean_mm Nullable(Float64) COMMENT 'Mean of the last 2 hours',
    r3_mean_mm Nullable(Float64) COMMENT 'Mean of the last 3 hours',
    r12_mean_mm Nullable(Float64) COMMENT 'Mean of the last 12 hours',
    r24_mean_mm Nullable(Float64) COMMENT 'Mean of the last 24 hours',
    r48_mean_mm Nullable(Float64) COMMENT 'Mean of the last 48 hours',
    since_07_mm Nullable(Float64) COMMENT 'Since 07:00 local time (day of the bulletins 07:00 to 07:00), gauge that had most',
    since_19_mm Nullable(Float64) COMMENT 'Since 19:00 local time (day 19:00 to 19:00), gauge that had most',
    mark_2h_mm Float64 COMMENT 'The mark of exceeds_50mm_2h, mm',
    threshold_source String COMMENT 'Source of the mark',
    worst_gauge_id String COMMENT 'Gauge of r48_mm'
)
SQL SECURITY INVOKER
AS SELECT
    in_ward_code AS ward_code, in_ward_name AS ward_name, r1 AS r1_mm, r2 AS r2_mm, r3 AS r3_mm, r12 AS r12_mm, r24 AS r24_mm,
    class_24h, exceeds_2h AS exceeds_50mm_2h, gauges_n, reporting_n AS gauges_reporting, newest AS as_of, good_n AS n, coverage, quality,
    'whole 10 min up to the running one v1' AS method, r48 AS r48_mm, m1 AS r1_mean_mm, m2 AS r2_mean_mm, m3 AS r3_mean_mm,
    m12 AS r12_mean_mm, m24 AS r24_mean_mm, m48 AS r48_mean_mm, s07 AS since_07_mm, s19 AS since_19_mm, mark_2h_mm,
    mark_source AS threshold_source, worst_gauge_id
FROM cityfleet.ward_rain_now AS g
WHERE is_stale = (t10 < now('UTC') - INTERVAL 20 MINUTE)
-- Who sees the city reads what is of all gauges, the account of a ward what is of its own.
ORDER BY for_ward
LIMIT 1 WITH TIES
COMMENT 'Question 4: rain of the last 1, 2, 3, 12, 24 (and 48) hours per ward, maximum and mean over its gauges, its class, and whether 50 mm in 2 hours is passed.
Rule: sums of good readings; each reading is the rain since the one before. Windows are whole ten minutes and end with the running one as of the last minute; sums that were not made anew for 20 minutes are NULL. "2 hours" are 120 to 130 minutes: the mark is never passed unseen. A window is NULL where no gauge of the ward reported in it.
Source: classes: the deputy head of the meteorological service; mark: Hanoi''s drainage company, see threshold_source.
Example: SELECT ward_name, r1_mm, r2_mm, r24_mm, class_24h, gauges_reporting, gauges_n FROM ioc.ward_rain_now WHERE exceeds_50mm_2h';

CREATE OR REPLACE VIEW ioc.storm_rain_48h {on_cluster}
(
    ward_code String COMMENT 'Ward, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    r48_max_mm Nullable(Float64) COMMENT 'Rain of the last 48 hours at the gauge that had most, mm; NULL: no gauge reported',
    pct_of_310 Nullable(Float64) COMMENT 'Percent of the 310 mm in 2 days that the drainage is designed for',
    window_start DateTime64(3, 'UTC') COMMENT 'Start of the 48 hours, UTC',
    window_end DateTime64(3, 'UTC') COMMENT 'Their end, UTC',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of the last 24 hours',
    coverage Nullable(Float64) COMMENT 'Readings of the last 24 hours / expected ones, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the last 24 hours by quality',
    method LowCardinality(String) COMMENT 'Rule and its version',
    threshold_mm Float64 COMMENT 'Design of the drainage, mm in 48 hours',
    threshold_source String COMMENT 'Source of the design',
    gauge_id String COMMENT 'Gauge that had most'
)
SQL SECURITY INVOKER
AS SELECT
    in_ward_code AS ward_code, in_ward_name AS ward_name, r48 AS r48_max_mm, pct_of_310,
    toDateTime64(toStartOfTenMinutes(now('UTC')) - INTERVAL 48 HOUR, 3, 'UTC') AS window_start, now64(3, 'UTC') AS window_end,
    newest AS as_of, good_n AS n, coverage, quality, 'rolling 48 h, whole 10 min v1' AS method, design_48h_mm AS threshold_mm,
    design_source AS threshold_source, worst_gauge_id AS gauge_id
FROM cityfleet.ward_rain_now AS g
WHERE is_stale = (t10 < now('UTC') - INTERVAL 20 MINUTE)
-- As in ioc.ward_rain_now.
ORDER BY for_ward
LIMIT 1 WITH TIES
COMMENT 'Question 8: the return of the storm: the rolling 48-hour rain of now against the 310 mm that the drainage is designed for.
Rule: the gauge of the ward that had most; the greatest 48 hours of a past storm: ioc.storm_rain_48h_between.
Source: see threshold_source.
Example: SELECT ward_name, r48_max_mm, pct_of_310 FROM ioc.storm_rain_48h WHERE pct_of_310 > 50 ORDER BY pct_of_310 DESC';

CREATE OR REPLACE VIEW ioc.storm_rain_48h_between {on_cluster}
(
    ward_code String COMMENT 'Ward, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    r48_max_mm Float64 COMMENT 'Greatest rain of 48 hours that end in the period, at any gauge of the ward, mm',
    pct_of_310 Float64 COMMENT 'Percent of the 310 mm in 2 days that the drainage is designed for',
    window_start DateTime64(3, 'UTC') COMMENT 'Start of these 48 hours, UTC',
    window_end DateTime64(3, 'UTC') COMMENT 'Their end, UTC',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of these hours at that gauge',
    coverage Nullable(Float64) COMMENT 'Hours with good readings / 48',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of these hours by quality',
    method LowCardinality(String) COMMENT 'Rule and its version',
    threshold_mm Float64 COMMENT 'Design of the drainage, mm in 48 hours',
    threshold_source String COMMENT 'Source of the design',
    gauge_id String COMMENT 'Gauge that had most'
)
SQL SECURITY INVOKER
AS WITH
    (
        SELECT (any(assumeNotNull(low)), any(source))
        FROM cityfleet.thresholds FINAL
        WHERE scheme = 'rain_flood' AND averaging = '48h' AND low IS NOT NULL
    ) AS design
SELECT
    g.ward AS ward_code, w.name AS ward_name, g.best.1 AS r48_max_mm, 100 * r48_max_mm / threshold_mm AS pct_of_310,
    g.best.2 - INTERVAL 47 HOUR AS window_start, g.best.2 + INTERVAL 1 HOUR AS window_end, g.best.3 AS as_of, g.best.4 AS n,
    g.best.7 / 48 AS coverage, tuple(g.best.4, g.best.5, g.best.6)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'rolling 48 h, whole hours v1' AS method, if(design.1 > 0, design.1, 310) AS threshold_mm, design.2 AS threshold_source,
    d.device_id AS gauge_id
FROM
(
    SELECT
        ward,
        -- Of equal sums the earliest window.
        argMax((r48, toDateTime64(hour, 3, 'UTC'), newest, good, suspect, fail, hours, gauge), (r48, -toUnixTimestamp(hour))) AS best
    FROM
    (
        SELECT
            device_num AS gauge, toString(ward_code) AS ward, ts AS hour, round(sum(rain_mm) OVER two_days, 3) AS r48,
            sum(good_n) OVER two_days AS good, sum(suspect_n) OVER two_days AS suspect, sum(fail_n) OVER two_days AS fail,
            countIf(good_n > 0) OVER two_days AS hours, max(last_ts) OVER two_days AS newest
        FROM cityfleet.rain_1h FINAL
        WHERE ts >= {from:DateTime('UTC')} - INTERVAL 47 HOUR AND ts < {to:DateTime('UTC')}
        WINDOW two_days AS (PARTITION BY device_num ORDER BY toUnixTimestamp(ts) RANGE BETWEEN 169200 PRECEDING AND CURRENT ROW)
    )
    WHERE hour >= {from:DateTime('UTC')}
    GROUP BY ward
) AS g
LEFT JOIN (SELECT device_num, device_id FROM cityfleet.devices FINAL) AS d ON d.device_num = g.best.8
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = g.ward
COMMENT 'Question 8 for a period ({from:DateTime}, {to:DateTime}): the greatest 48 hours of rain that end in it, by ward, against the design of the drainage.
Rule: hourly sums of good readings, rolled over 48 hours, at the gauge that had most. With days apart of the bulletins (07:00 or 19:00) there is no other answer: the window slides.
Source: see threshold_source.
Example: SELECT ward_name, r48_max_mm, pct_of_310, window_start, window_end FROM ioc.storm_rain_48h_between(from = ''2025-08-24 17:00:00'', to = ''2025-08-28 17:00:00'') ORDER BY r48_max_mm DESC';
