-- Rain of the last hours by ward, each minute, from what step 56 has just found of each gauge: questions 4 and 8. Once of all
-- gauges, and once of those rows of a ward that its account may see: a gauge that was moved has some in two wards.
-- Windows of long ago have nothing to say.
-- Each has a twin without sums, which is what the views tell when nobody has made others for 20 minutes.
-- target: cityfleet.ward_rain_now
-- source: cityfleet.rain_now
-- bucket: 10 minutes
-- metrics: rain_mm
-- live: yes
-- replaces: all
SELECT {to:DateTime('UTC')} > now('UTC') - INTERVAL 1 HOUR;
WITH
    (
        SELECT groupArray((toUInt8(level), level_name, assumeNotNull(low)))
        FROM (SELECT * FROM cityfleet.thresholds FINAL ORDER BY level)
        WHERE scheme = 'rain_class' AND averaging = '24h' AND low IS NOT NULL
    ) AS classes,
    (
        SELECT (any(assumeNotNull(low)), any(source))
        FROM cityfleet.thresholds FINAL
        WHERE scheme = 'rain_flood' AND averaging = '2h' AND low IS NOT NULL AND level = 1
    ) AS mark,
    (
        SELECT (any(assumeNotNull(low)), any(source))
        FROM cityfleet.thresholds FINAL
        WHERE scheme = 'rain_flood' AND averaging = '48h' AND low IS NOT NULL
    ) AS design
SELECT
    g.seen_by != '' AS for_ward, toString(g.seen_by) AS ward_code, g.ward AS in_ward_code, is_stale, w.name AS in_ward_name, g.t10 AS t10,
    if(is_stale, NULL, g.r1) AS r1, if(is_stale, NULL, g.r2) AS r2, if(is_stale, NULL, g.r3) AS r3, if(is_stale, NULL, g.r12) AS r12,
    if(is_stale, NULL, g.r24) AS r24, if(is_stale, NULL, g.r48) AS r48,
    -- "16 to 50", "51 to 100", "more than 100": 50 and 100 are of the lower class.
    arrayLast(c -> ifNull(if(is_stale, NULL, g.r24) >= c.3 AND (c.1 < 3 OR g.r24 > c.3), 0), classes).2 AS class_24h,
    (if(is_stale, NULL, g.r2) >= mark_2h_mm)::Nullable(Bool) AS exceeds_2h, toUInt64(g.gauges_n) AS gauges_n,
    toUInt64(if(is_stale, 0, g.reporting_n)) AS reporting_n, if(g.newest = 0, NULL, g.newest) AS newest, if(is_stale, 0, g.good24) AS good_n,
    if(g.expected24 > 0, least(1, if(is_stale, 0, g.all24) / g.expected24), NULL) AS coverage,
    if(is_stale, (0, 0, 0), (g.good24, g.suspect24, g.fail24))::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    if(is_stale, NULL, g.m1) AS m1, if(is_stale, NULL, g.m2) AS m2, if(is_stale, NULL, g.m3) AS m3, if(is_stale, NULL, g.m12) AS m12,
    if(is_stale, NULL, g.m24) AS m24, if(is_stale, NULL, g.m48) AS m48, if(is_stale, NULL, g.s07) AS s07, if(is_stale, NULL, g.s19) AS s19,
    ifNull(if(mark.1 > 0, mark.1, 50), 50) AS mark_2h_mm, ifNull(mark.2, '') AS mark_source,
    if(is_stale, '', g.worst_gauge_id) AS worst_gauge_id, ifNull(if(design.1 > 0, design.1, 310), 310) AS design_48h_mm,
    ifNull(design.2, '') AS design_source,
    100 * r48 / design_48h_mm AS pct_of_310
FROM
(
    SELECT
        s.seen_by AS seen_by, s.ward AS ward, max(s.t10) AS t10,
        maxOrNullIf(s.r1, s.n1 > 0) AS r1, maxOrNullIf(s.r2, s.n2 > 0) AS r2, maxOrNullIf(s.r3, s.n3 > 0) AS r3,
        maxOrNullIf(s.r12, s.n12 > 0) AS r12, maxOrNullIf(s.r24, s.n24 > 0) AS r24, maxOrNullIf(s.r48, s.n48 > 0) AS r48,
        avgOrNullIf(s.r1, s.n1 > 0) AS m1, avgOrNullIf(s.r2, s.n2 > 0) AS m2, avgOrNullIf(s.r3, s.n3 > 0) AS m3,
        avgOrNullIf(s.r12, s.n12 > 0) AS m12, avgOrNullIf(s.r24, s.n24 > 0) AS m24, avgOrNullIf(s.r48, s.n48 > 0) AS m48,
        maxOrNullIf(s.s07, s.n24 > 0) AS s07, maxOrNullIf(s.s19, s.n24 > 0) AS s19,
        argMaxIf(s.device_id, s.r48, s.n48 > 0) AS worst_gauge_id,
        countIf(s.device_id != '') AS gauges_n, countIf(s.n1 > 0) AS reporting_n, max(s.newest) AS newest, sum(s.n24) AS good24,
        sum(s.suspect24) AS suspect24, sum(s.fail24) AS fail24, sum(s.all24) AS all24,
        sum(if(s.interval_s > 0, 86400 / s.interval_s, 0)) AS expected24
    FROM
    (
        SELECT
            seen_by, device_num, argMax(v.ward_code, (v.device_id != '', v.newest)) AS ward, max(v.device_id) AS device_id,
            max(v.interval_s) AS interval_s, max(v.newest) AS newest, max(v.t10) AS t10,
            sum(v.r1) AS r1, sum(v.r2) AS r2, sum(v.r3) AS r3, sum(v.r12) AS r12, sum(v.r24) AS r24, sum(v.r48) AS r48,
            sum(v.s07) AS s07, sum(v.s19) AS s19, sum(v.all24) AS all24, sum(v.n1) AS n1, sum(v.n2) AS n2, sum(v.n3) AS n3,
            sum(v.n12) AS n12, sum(v.n24) AS n24, sum(v.n48) AS n48, sum(v.suspect24) AS suspect24, sum(v.fail24) AS fail24
        FROM
        (
            SELECT *, arrayJoin(arrayDistinct(['', toString(ward_code)])) AS seen_by
            FROM cityfleet.rain_now
            WHERE {from:DateTime('UTC')} < {to:DateTime('UTC')} AND notEmpty({metrics:Array(UInt16)})
        ) AS v
        GROUP BY seen_by, device_num
    ) AS s
    GROUP BY seen_by, ward
) AS g
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = g.ward
ARRAY JOIN [false, true] AS is_stale
