-- target: cityfleet.quality_flags
-- source: cityfleet.readings
-- bucket: 10 minutes
-- by devices: yes
-- sparse: yes
-- live metrics: rain_mm, water_level_m, street_flood_depth_mm
-- Spikes, rates of change, flat lines and gaps, by the tests of the devices' types (docs/quality.md). A reading is seen to be a
-- spike when the next one is there, and a line goes on behind a late reading: so rows before and after the window are judged
-- too, as far as a change in the window can tell on them. Times that end in _ms, and `at`, are milliseconds since 1970.
WITH
    asked AS
    (
        SELECT
            d.device_num AS device_num, t.metric_num AS metric_num, t.expected_interval_s * 1000 AS interval_ms,
            ifNull(t.spike_suspect, inf) AS spike_suspect, ifNull(t.spike_fail, inf) AS spike_fail,
            ifNull(t.rate_suspect_per_s, inf) AS rate_suspect, ifNull(t.rate_fail_per_s, inf) AS rate_fail,
            ifNull(t.gap_suspect_s * 1000, inf) AS gap_suspect_ms, ifNull(t.gap_fail_s * 1000, inf) AS gap_fail_ms,
            t.flat_tolerance AS tolerance, t.flat_suspect_s * 1000 AS suspect_ms, t.flat_fail_s * 1000 AS fail_ms,
            t.neighbour_s * 1000 AS near_ms, greatest(suspect_ms, fail_ms) AS line_ms
        FROM
        (
            SELECT device_num, device_type FROM cityfleet.devices FINAL
            WHERE device_num >= {device_from:UInt32} AND device_num < {device_to:UInt32}
        ) AS d
        INNER JOIN
        (
            SELECT * FROM ioc.quality_tests
            WHERE compares AND (empty({metrics:Array(UInt16)}) OR has({metrics:Array(UInt16)}, metric_num))
        ) AS t ON t.device_type = d.device_type
    ),
    (SELECT (max(near_ms), max(line_ms)) FROM asked) AS longest,
    toInt64(toUnixTimestamp({from:DateTime('UTC')})) * 1000 AS from_ms,
    toInt64(toUnixTimestamp({to:DateTime('UTC')})) * 1000 AS to_ms,
    stored AS
    (
        SELECT device_num, metric_num, ts, quality, quality_reasons
        FROM cityfleet.quality_flags FINAL
        WHERE device_num >= {device_from:UInt32} AND device_num < {device_to:UInt32}
            AND ts >= fromUnixTimestamp64Milli(from_ms - longest.1, 'UTC')
            AND ts < fromUnixTimestamp64Milli(to_ms + longest.1 + longest.2, 'UTC')
    ),
    seen AS
    (
        SELECT
            device_num, metric_num, r.ts AS ts, toUnixTimestamp64Milli(r.ts) AS at, value, quality, quality_reasons, ward_code,
            lagInFrame(value) OVER near AS value_before, leadInFrame(value) OVER near AS value_after,
            -- 0 where there is none, which is far away.
            lagInFrame(at) OVER near AS before_ms, leadInFrame(at) OVER near AS after_ms
        FROM cityfleet.readings AS r FINAL
        WHERE device_num >= {device_from:UInt32} AND device_num < {device_to:UInt32}
            AND (device_num, metric_num) IN (SELECT device_num, metric_num FROM asked)
            AND r.ts >= fromUnixTimestamp64Milli(from_ms - 2 * longest.1, 'UTC')
            AND r.ts < fromUnixTimestamp64Milli(to_ms + 2 * longest.1 + longest.2, 'UTC')
        WINDOW near AS (PARTITION BY device_num, metric_num ORDER BY r.ts ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)
    ),
    -- Rows of which there is something to say or to take back, and those that may end a line.
    marked AS
    (
        SELECT
            s.device_num AS device_num, s.metric_num AS metric_num, s.ts AS ts, s.at AS at, s.quality AS quality,
            s.quality_reasons AS reasons, s.ward_code AS ward_code, a.tolerance AS tolerance, a.interval_ms AS interval_ms,
            a.suspect_ms AS suspect_ms, a.fail_ms AS fail_ms,
            s.at - s.before_ms AS step_ms, step_ms <= a.near_ms AS has_before,
            has_before AND s.after_ms > s.at AND s.after_ms - s.at <= a.near_ms AS is_between,
            abs(s.value - (s.value_before + s.value_after) / 2) AS spike,
            abs(s.value - s.value_before) AS change, change / (step_ms / 1000) AS rate,
            toUInt16(
                multiIf(is_between AND spike > a.spike_fail, 16, is_between AND spike > a.spike_suspect, 32, 0)
                + multiIf(has_before AND rate > a.rate_fail, 64, has_before AND rate > a.rate_suspect, 128, 0)
                + multiIf(step_ms > a.gap_fail_ms, 1024, step_ms > a.gap_suspect_ms, 2048, 0)
            ) AS found,
            has_before AND change < a.tolerance AS is_level,
            arrayJoin(if(is_level, [intDiv(s.at, line_ms_or_1), intDiv(s.at, line_ms_or_1) - 1], [-1])) AS piece,
            greatest(a.line_ms, 1) AS line_ms_or_1
        FROM seen AS s
        INNER JOIN asked AS a ON a.device_num = s.device_num AND a.metric_num = s.metric_num
        WHERE s.at >= from_ms - a.near_ms AND s.at < to_ms + greatest(a.near_ms, a.line_ms) AND s.quality != 9
            AND (found != 0 OR is_level
                OR (s.device_num, s.metric_num, s.ts) IN (SELECT device_num, metric_num, ts FROM stored))
    ),
    -- Readings that a line may be made of, in pieces as long as a line: it lies in the piece of its end and the one before.
    around AS
    (
        SELECT r.device_num AS device_num, r.metric_num AS metric_num, toUnixTimestamp64Milli(r.ts) AS at, r.value AS value,
            intDiv(toUnixTimestamp64Milli(r.ts), greatest(a.line_ms, 1)) AS piece
        FROM cityfleet.readings AS r FINAL
        INNER JOIN asked AS a ON a.device_num = r.device_num AND a.metric_num = r.metric_num
        WHERE r.device_num >= {device_from:UInt32} AND r.device_num < {device_to:UInt32}
            AND (r.device_num, r.metric_num) IN (SELECT device_num, metric_num FROM asked WHERE line_ms > 0)
            AND r.ts >= fromUnixTimestamp64Milli(from_ms - longest.1 - longest.2, 'UTC')
            AND r.ts < fromUnixTimestamp64Milli(to_ms + longest.1 + longest.2, 'UTC') AND r.quality != 9
    ),
    compared AS
    (
        SELECT
            m.device_num AS device_num, m.metric_num AS metric_num, m.ts AS ts, m.ward_code AS ward_code, m.quality AS quality,
            m.reasons AS reasons, m.found AS found, m.tolerance AS tolerance, m.interval_ms AS interval_ms,
            m.suspect_ms AS suspect_ms, m.fail_ms AS fail_ms, m.at - m.suspect_ms AS suspect_from, m.at - m.fail_ms AS fail_from,
            p.at AS other_at, p.value AS other, p.at <= m.at AND p.at >= suspect_from AS in_suspect,
            p.at <= m.at AND p.at >= fail_from AS in_fail
        FROM around AS p
        RIGHT JOIN marked AS m ON p.device_num = m.device_num AND p.metric_num = m.metric_num AND p.piece = m.piece
    ),
    judged AS
    (
        SELECT
            device_num, metric_num, ts, any(ward_code) AS ward, any(quality) AS own_quality, any(reasons) AS own_reasons,
            any(suspect_ms) > 0 AND countIf(in_suspect) > 1 AND maxIf(other, in_suspect) - minIf(other, in_suspect) < any(tolerance)
                AND minIf(other_at, in_suspect) - any(suspect_from) < any(interval_ms) AS is_suspect,
            any(fail_ms) > 0 AND countIf(in_fail) > 1 AND maxIf(other, in_fail) - minIf(other, in_fail) < any(tolerance)
                AND minIf(other_at, in_fail) - any(fail_from) < any(interval_ms) AS is_fail,
            toUInt16(bitOr(any(found), multiIf(is_fail, 256, is_suspect, 512, 0))) AS in_store
        FROM compared
        GROUP BY device_num, metric_num, ts
    )
SELECT
    j.metric_num AS metric_num, j.device_num AS device_num, j.ts AS ts,
    toUInt8(multiIf(
        j.own_quality = 4 OR bitAnd(quality_reasons, 46421) != 0, 4,
        j.own_quality = 3 OR quality_reasons != 0, 3,
        j.own_quality
    )) AS quality,
    toUInt16(bitOr(j.own_reasons, j.in_store)) AS quality_reasons,
    j.ward AS ward_code
FROM judged AS j
LEFT JOIN stored AS t ON t.device_num = j.device_num AND t.metric_num = j.metric_num AND t.ts = j.ts
WHERE if(t.quality = 0, j.in_store != 0, t.quality != quality OR t.quality_reasons != quality_reasons)
