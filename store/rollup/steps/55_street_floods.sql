-- Water on streets. An event goes from the first reading of 10 mm or more to the first dry one that no more water follows
-- within 30 minutes of the last; where a gauge is silent for 2 hours its event is over. Its onset is the dry reading before
-- the water, where that is at most 30 minutes old. A change can lengthen, join or part the events within 2 hours of it, so
-- these are made anew, whole, and what is no longer true is deleted. The same readings in any order give the same events.
-- First asked is, cheaply: is there water, or an event that could change?
-- target: cityfleet.street_floods
-- time: onset_ts
-- source: cityfleet.readings_10min
-- bucket: 10 minutes
-- metrics: street_flood_depth_mm
-- live: yes
-- deletes: itself
SELECT
    (
        SELECT count() FROM cityfleet.street_floods FINAL
        WHERE onset_ts < {to:DateTime('UTC')} + INTERVAL 2 HOUR
            AND ifNull(end_ts, last_ts) >= {from:DateTime('UTC')} - INTERVAL 2 HOUR
    )
    +
    (
        SELECT count() FROM cityfleet.readings_10min
        WHERE metric_num IN ({metrics:Array(UInt16)}) AND ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
            AND good_n > 0 AND max >= 10
    );
WITH
    stored AS
    (
        SELECT *
        FROM cityfleet.street_floods FINAL
        WHERE onset_ts < {to:DateTime('UTC')} + INTERVAL 2 HOUR
            AND ifNull(end_ts, last_ts) >= {from:DateTime('UTC')} - INTERVAL 2 HOUR
    ),
    -- Gauges and times to be looked at, found once: a street is mostly dry.
    (
        SELECT (groupArray((device_num, lo, hi)), min(lo), max(hi))
        FROM
        (
            SELECT device_num, min(since) AS lo, max(until) AS hi
            FROM
            (
                SELECT
                    device_num, toDateTime64({from:DateTime('UTC')}, 3, 'UTC') AS since,
                    toDateTime64({to:DateTime('UTC')}, 3, 'UTC') AS until
                FROM cityfleet.readings_10min FINAL
                WHERE metric_num IN ({metrics:Array(UInt16)}) AND ts >= {from:DateTime('UTC')}
                    AND ts < {to:DateTime('UTC')} AND good_n > 0 AND max >= 10
                UNION ALL
                SELECT
                    device_num, least(onset_ts, toDateTime64({from:DateTime('UTC')}, 3, 'UTC')) AS since,
                    greatest(ifNull(end_ts, last_ts), toDateTime64({to:DateTime('UTC')}, 3, 'UTC')) AS until
                FROM stored
            )
            GROUP BY device_num
        )
    ) AS touched,
    bounds AS (SELECT one.1 AS device_num, one.2 AS lo, one.3 AS hi FROM (SELECT arrayJoin(touched.1) AS one)),
    -- Each reading once, with its final quality, and with 30 minutes before and 2 hours after.
    depths AS
    (
        SELECT
            r.device_num AS device_num, r.ts AS ts, r.depth_mm AS depth_mm, r.ward_code AS ward_code, b.lo AS lo, b.hi AS hi,
            if(f.quality > 0, f.quality, r.quality) AS flag
        FROM
        (
            SELECT
                x.device_num AS device_num, x.ts AS ts, argMax(x.value, x.received_at) AS depth_mm,
                argMax(x.quality, x.received_at) AS quality, argMax(x.ward_code, x.received_at) AS ward_code
            FROM cityfleet.readings AS x
            WHERE x.metric_num IN ({metrics:Array(UInt16)}) AND x.device_num IN (SELECT device_num FROM bounds)
                AND x.ts >= touched.2 - INTERVAL 30 MINUTE AND x.ts <= touched.3 + INTERVAL 2 HOUR
            GROUP BY x.device_num, x.ts
        ) AS r
        INNER JOIN bounds AS b ON b.device_num = r.device_num
        LEFT JOIN
        (
            SELECT device_num, ts, quality
            FROM cityfleet.quality_flags FINAL
            WHERE metric_num IN ({metrics:Array(UInt16)}) AND device_num IN (SELECT device_num FROM bounds)
        ) AS f ON f.device_num = r.device_num AND f.ts = r.ts
        WHERE r.ts >= b.lo - INTERVAL 30 MINUTE AND r.ts <= b.hi + INTERVAL 2 HOUR
    ),
    left_out AS
    (
        SELECT device_num, groupArray((ts, flag)) AS flagged
        FROM depths
        WHERE flag IN (3, 4)
        GROUP BY device_num
    ),
    marked AS
    (
        SELECT
            device_num, ts, depth_mm, ward_code, lo, hi, depth_mm >= 10 AS is_wet,
            lagInFrame(ts, 1, toDateTime64(0, 3, 'UTC')) OVER near AS ts_before,
            lagInFrame(depth_mm >= 10, 1, false) OVER near AS was_wet,
            max(if(depth_mm >= 10, ts, toDateTime64(0, 3, 'UTC'))) OVER before AS wet_before,
            -- A reading holds until the next one; over a silence nobody knows.
            dateDiff('millisecond', ts, leadInFrame(ts, 1, ts) OVER after) / 1000 AS until_next_s,
            if(until_next_s <= 7200, until_next_s, 0) AS holds_s,
            is_wet AND (wet_before = 0 OR ts > ts_before + INTERVAL 2 HOUR OR (NOT was_wet AND ts > wet_before + INTERVAL 30 MINUTE))
                AS begins,
            if(ts_before != 0 AND NOT was_wet AND ts <= ts_before + INTERVAL 30 MINUTE, ts_before, ts) AS onset
        FROM depths
        WHERE flag = 1
        WINDOW
            near AS (PARTITION BY device_num ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW),
            before AS (PARTITION BY device_num ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
            after AS (PARTITION BY device_num ORDER BY ts ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)
    ),
    runs AS
    (
        SELECT
            *, sum(begins) OVER (PARTITION BY device_num ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS run
        FROM marked
    ),
    drained AS
    (
        SELECT *, max(if(is_wet, ts, toDateTime64(0, 3, 'UTC'))) OVER (PARTITION BY device_num, run) AS last_wet
        FROM runs
        WHERE run > 0
    ),
    ended AS
    (
        SELECT
            *,
            min(if(ts > last_wet AND ts <= last_wet + INTERVAL 2 HOUR, ts, toDateTime64('2200-01-01 00:00:00', 3, 'UTC')))
                OVER (PARTITION BY device_num, run) AS first_dry
        FROM drained
    ),
    events AS
    (
        SELECT
            device_num, argMin(onset, ts) AS onset_ts, min(ts) AS first_wet_ts, max(last_wet) AS last_wet_ts,
            if(max(first_dry) < toDateTime64('2200-01-01 00:00:00', 3, 'UTC'), max(first_dry), NULL) AS end_ts,
            argMin(ward_code, ts) AS ward_code, argMax(ts, (depth_mm, -toUnixTimestamp64Milli(ts))) AS peak_ts,
            max(depth_mm) AS max_depth_mm, argMax(depth_mm, ts) AS last_depth_mm, max(ts) AS last_ts,
            sumIf(holds_s, depth_mm >= 100) AS above_100mm_s, sumIf(holds_s, depth_mm >= 300) AS above_300mm_s,
            countIf(is_wet) AS wet_n, count() + (onset_ts < first_wet_ts) AS good_n
        FROM ended
        WHERE ts <= greatest(last_wet, if(first_dry < toDateTime64('2200-01-01 00:00:00', 3, 'UTC'), first_dry, last_wet))
        GROUP BY device_num, run
        -- What begins later is another event, read for the end of this one only; what was wet before is the end of another, of
        -- which the rest was not read.
        HAVING first_wet_ts <= max(hi) AND last_wet_ts >= max(lo)
    )
SELECT
    device_num, onset_ts, argMin(row, is_gone).1 AS first_wet_ts, argMin(row, is_gone).2 AS last_wet_ts,
    argMin(row, is_gone).3 AS end_ts, argMin(row, is_gone).4 AS ward_code, argMin(row, is_gone).5 AS peak_ts,
    argMin(row, is_gone).6 AS max_depth_mm, argMin(row, is_gone).7 AS last_depth_mm, argMin(row, is_gone).8 AS last_ts,
    argMin(row, is_gone).9 AS above_100mm_s, argMin(row, is_gone).10 AS above_300mm_s, argMin(row, is_gone).11 AS wet_n,
    argMin(row, is_gone).12 AS good_n, argMin(row, is_gone).13 AS suspect_n, argMin(row, is_gone).14 AS fail_n,
    min(is_gone) AS is_deleted
FROM
(
    SELECT
        e.device_num AS device_num, e.onset_ts AS onset_ts,
        tuple(
            e.first_wet_ts, e.last_wet_ts, e.end_ts, toString(e.ward_code), e.peak_ts, e.max_depth_mm, e.last_depth_mm,
            e.last_ts, toFloat64(e.above_100mm_s), toFloat64(e.above_300mm_s), toUInt32(e.wet_n), toUInt32(e.good_n),
            toUInt32(arrayCount(x -> x.2 = 3 AND x.1 >= e.onset_ts AND x.1 <= e.last_ts, o.flagged)),
            toUInt32(arrayCount(x -> x.2 = 4 AND x.1 >= e.onset_ts AND x.1 <= e.last_ts, o.flagged))
        ) AS row,
        toUInt8(0) AS is_gone
    FROM events AS e
    LEFT JOIN left_out AS o ON o.device_num = e.device_num
    UNION ALL
    SELECT
        device_num, onset_ts,
        tuple(
            first_wet_ts, last_wet_ts, end_ts, toString(ward_code), peak_ts, max_depth_mm, last_depth_mm, last_ts,
            above_100mm_s, above_300mm_s, wet_n, good_n, suspect_n, fail_n
        ) AS row,
        toUInt8(1) AS is_gone
    FROM stored
)
GROUP BY device_num, onset_ts
