-- Periods at an alarm level, as measured. On from the first reading at the threshold, off from the first that is 0.10 m
-- below it. Readings between the two change nothing, so a level that trembles about the threshold is one period.
-- A change reaches as far as the readings that leave the state open: from the start of the periods that it touches to the
-- first ten minutes afterwards in which the gauge was below its lowest threshold and margin.
-- First asked is, cheaply: is there a period that could change, or a level that could begin one?
-- target: cityfleet.alarm_periods
-- time: since_ts
-- source: cityfleet.readings_10min
-- bucket: 10 minutes
-- metrics: water_level_m
-- live: yes
-- deletes: itself
SELECT
    (
        SELECT count() FROM cityfleet.alarm_periods FINAL
        WHERE until_ts IS NULL OR assumeNotNull(until_ts) >= {from:DateTime('UTC')}
    )
    +
    (
        SELECT count() FROM cityfleet.readings_10min
        WHERE metric_num IN ({metrics:Array(UInt16)}) AND ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
            AND max >= (SELECT min(assumeNotNull(low)) FROM cityfleet.thresholds FINAL WHERE scheme = 'bao_dong' AND low IS NOT NULL)
    );
WITH
    gauges AS
    (
        SELECT g.device_num AS device_num, g.station_id AS station_id, g.lowest_m AS lowest_m
        FROM
        (
            SELECT a.device_num AS device_num, a.station_id AS station_id, t.lowest_m AS lowest_m
            FROM (SELECT device_num, station_id FROM cityfleet.alarm_gauges FINAL WHERE station_id != '') AS a
            INNER JOIN
            (
                SELECT object, min(low) AS lowest_m
                FROM cityfleet.thresholds FINAL
                WHERE scheme = 'bao_dong' AND low IS NOT NULL
                GROUP BY object
            ) AS t ON t.object = a.station_id
        ) AS g
        WHERE g.device_num IN
        (
            SELECT device_num
            FROM cityfleet.readings_10min FINAL
            WHERE metric_num IN ({metrics:Array(UInt16)}) AND ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
        )
    ),
    -- How far the change reaches.
    ends AS
    (
        SELECT
            g.device_num AS device_num, any(g.station_id) AS station_id,
            minIf(r.ts, r.ts >= {to:DateTime('UTC')} AND r.good_n > 0 AND r.min < assumeNotNull(g.lowest_m) - 0.1) AS off_ts,
            if(off_ts = 0, toDateTime('2100-01-01 00:00:00', 'UTC'), off_ts + INTERVAL 10 MINUTE) AS hi
        FROM gauges AS g
        LEFT JOIN
        (
            SELECT device_num, ts, good_n, min
            FROM cityfleet.readings_10min FINAL
            WHERE metric_num IN ({metrics:Array(UInt16)}) AND ts >= {to:DateTime('UTC')}
                AND device_num IN (SELECT device_num FROM gauges)
        ) AS r ON r.device_num = g.device_num
        GROUP BY g.device_num
    ),
    stored AS
    (
        SELECT p.*
        FROM (SELECT * FROM cityfleet.alarm_periods FINAL WHERE device_num IN (SELECT device_num FROM gauges)) AS p
        INNER JOIN ends AS e ON e.device_num = p.device_num
        WHERE p.since_ts < e.hi AND (p.until_ts IS NULL OR assumeNotNull(p.until_ts) >= {from:DateTime('UTC')})
    ),
    -- Gauges and times to be looked at, found once.
    (
        SELECT (groupArray((device_num, station_id, lo, hi)), min(lo), max(hi))
        FROM
        (
            SELECT
                e.device_num AS device_num, e.station_id AS station_id, toDateTime64(e.hi, 3, 'UTC') AS hi,
                least(
                    toDateTime64({from:DateTime('UTC')}, 3, 'UTC'),
                    if(s.since = 0, toDateTime64({from:DateTime('UTC')}, 3, 'UTC'), s.since)
                ) AS lo
            FROM ends AS e
            LEFT JOIN (SELECT device_num, min(since_ts) AS since FROM stored GROUP BY device_num) AS s
                ON s.device_num = e.device_num
        )
    ) AS touched,
    bounds AS
    (
        SELECT one.1 AS device_num, one.2 AS station_id, one.3 AS lo, one.4 AS hi
        FROM (SELECT arrayJoin(touched.1) AS one)
    ),
    levels AS
    (
        SELECT r.device_num AS device_num, r.ts AS ts, r.level_m AS level_m, r.ward_code AS ward_code, b.station_id AS station_id
        FROM
        (
            SELECT
                x.device_num AS device_num, x.ts AS ts, argMax(x.value, x.received_at) AS level_m,
                argMax(x.quality, x.received_at) AS quality, argMax(x.ward_code, x.received_at) AS ward_code
            FROM cityfleet.readings AS x
            WHERE x.metric_num IN ({metrics:Array(UInt16)}) AND x.device_num IN (SELECT device_num FROM bounds)
                AND x.ts >= touched.2 AND x.ts < touched.3
            GROUP BY x.device_num, x.ts
        ) AS r
        INNER JOIN bounds AS b ON b.device_num = r.device_num
        LEFT JOIN
        (
            SELECT device_num, ts, quality
            FROM cityfleet.quality_flags FINAL
            WHERE metric_num IN ({metrics:Array(UInt16)}) AND device_num IN (SELECT device_num FROM bounds)
        ) AS f ON f.device_num = r.device_num AND f.ts = r.ts
        WHERE r.ts >= b.lo AND r.ts < b.hi AND if(f.quality > 0, f.quality, r.quality) = 1
    ),
    -- For each level of each gauge whether a reading turns it on, off, or leaves it.
    marks AS
    (
        SELECT
            l.device_num AS device_num, t.level AS level, assumeNotNull(t.low) AS threshold_m, l.ts AS ts, l.level_m AS level_m,
            l.ward_code AS ward_code, l.station_id AS station_id, l.level_m >= threshold_m AS is_on,
            l.level_m < threshold_m - 0.1 AS is_off,
            max(if(is_on, l.ts, toDateTime64(0, 3, 'UTC'))) OVER before AS on_before,
            max(if(is_off, l.ts, toDateTime64(0, 3, 'UTC'))) OVER before AS off_before,
            is_on AND (on_before = 0 OR off_before > on_before) AS begins
        FROM levels AS l
        INNER JOIN
        (
            SELECT object, level, low, valid_from, valid_to
            FROM cityfleet.thresholds FINAL
            WHERE scheme = 'bao_dong' AND low IS NOT NULL
        ) AS t ON t.object = l.station_id
        WHERE toDate(l.ts, 'Asia/Ho_Chi_Minh') >= t.valid_from AND toDate(l.ts, 'Asia/Ho_Chi_Minh') <= t.valid_to
        WINDOW before AS (PARTITION BY l.device_num, t.level ORDER BY l.ts ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ),
    runs AS
    (
        SELECT
            *,
            sum(begins) OVER (PARTITION BY device_num, level ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS run
        FROM marks
    ),
    ended AS
    (
        SELECT
            *,
            min(if(is_off, ts, toDateTime64('2200-01-01 00:00:00', 3, 'UTC'))) OVER (PARTITION BY device_num, level, run) AS end_ts
        FROM runs
        WHERE run > 0
    ),
    periods AS
    (
        SELECT
            device_num, level, min(ts) AS since_ts,
            if(any(end_ts) < toDateTime64('2200-01-01 00:00:00', 3, 'UTC'), any(end_ts), NULL) AS until_ts,
            argMin(station_id, ts) AS station_id, argMin(ward_code, ts) AS ward_code, argMin(threshold_m, ts) AS threshold_m,
            max(level_m) AS peak_m, argMax(ts, (level_m, -toUnixTimestamp64Milli(ts))) AS peak_ts,
            argMax(level_m, ts) AS last_m, max(ts) AS last_ts, count() AS good_n
        FROM ended
        WHERE ts < end_ts
        GROUP BY device_num, level, run
    )
SELECT
    device_num, level, since_ts, argMin(row, is_gone).1 AS until_ts, argMin(row, is_gone).2 AS station_id,
    argMin(row, is_gone).3 AS ward_code, argMin(row, is_gone).4 AS threshold_m, argMin(row, is_gone).5 AS peak_m,
    argMin(row, is_gone).6 AS peak_ts, argMin(row, is_gone).7 AS last_m, argMin(row, is_gone).8 AS last_ts,
    argMin(row, is_gone).9 AS good_n, min(is_gone) AS is_deleted
FROM
(
    SELECT
        device_num, level, since_ts,
        tuple(until_ts, station_id, toString(ward_code), threshold_m, peak_m, peak_ts, last_m, last_ts, toUInt32(good_n)) AS row,
        toUInt8(0) AS is_gone
    FROM periods
    UNION ALL
    SELECT
        device_num, level, since_ts,
        tuple(until_ts, station_id, toString(ward_code), threshold_m, peak_m, peak_ts, last_m, last_ts, good_n) AS row,
        toUInt8(1) AS is_gone
    FROM stored
)
GROUP BY device_num, level, since_ts
