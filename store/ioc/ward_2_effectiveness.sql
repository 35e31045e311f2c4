-- What became of alarms, and how wards do: question 25.

CREATE OR REPLACE VIEW ioc.ward_alarms {on_cluster}
(
    ward_code String COMMENT 'Ward that it was for, official code of five digits',
    domain LowCardinality(String) COMMENT 'river or street_flood',
    object_id String COMMENT 'Number of the order, gauge or street gauge',
    severity UInt8 COMMENT '1 to 3, of the worst moment',
    since_ts DateTime64(3, 'UTC') COMMENT 'When it began, UTC',
    until_ts Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was over by itself, UTC; NULL: it is not',
    acknowledged_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When somebody first did something about it, UTC',
    closed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was closed or called false, UTC; NULL: it is not, or was taken up again',
    status LowCardinality(String) COMMENT 'open, acknowledged, closed or false_alarm: the newest action',
    owner String COMMENT 'Who took care of it',
    note String COMMENT 'Note of the newest action',
    next_ts DateTime64(3, 'UTC') COMMENT 'When the next alarm of the same object began: later actions belong to that; 2200: none did'
)
SQL SECURITY INVOKER
AS SELECT
    p.ward_code AS ward_code, p.domain AS domain, p.object_id AS object_id, p.severity AS severity, p.since_ts AS since_ts,
    p.until_ts AS until_ts, if(empty(taken), NULL, taken[1].1) AS acknowledged_at,
    if(status IN ('closed', 'false_alarm'), taken[-1].1, NULL) AS closed_at,
    if(empty(taken), 'open', taken[-1].3) AS status, if(empty(taken), '', taken[-1].4) AS owner,
    if(empty(taken), '', taken[-1].5) AS note, p.next_ts AS next_ts
FROM
(
    SELECT
        *,
        leadInFrame(since_ts, 1, toDateTime64('2200-01-01 00:00:00', 3, 'UTC')) OVER (
            PARTITION BY ward_code, domain, object_id ORDER BY since_ts
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_ts
    FROM
    (
        SELECT
            r.ward_code AS ward_code, 'river' AS domain, g.gauge_id AS object_id, max(q.level) AS severity,
            q.since_ts AS since_ts, argMax(q.until_ts, q.level) AS until_ts
        FROM (SELECT * FROM cityfleet.alarm_periods FINAL) AS q
        INNER JOIN (SELECT * FROM cityfleet.alarm_gauges FINAL) AS g ON g.device_num = q.device_num
        INNER JOIN (SELECT * FROM cityfleet.river_wards FINAL) AS r ON r.river = g.river
        WHERE r.station_id IN ('', g.station_id)
            AND toDate(q.since_ts, 'Asia/Ho_Chi_Minh') BETWEEN r.valid_from AND r.valid_to
        GROUP BY ward_code, object_id, since_ts
        UNION ALL
        SELECT
            if(o.ward_code != '', o.ward_code, r.ward_code) AS ward_code, 'river' AS domain, o.order_ref AS object_id,
            max(o.level) AS severity, min(o.issued_at) AS since_ts, max(o.withdrawn_at) AS until_ts
        FROM (SELECT * FROM cityfleet.alarm_orders FINAL) AS o
        LEFT JOIN (SELECT DISTINCT river, ward_code FROM cityfleet.river_wards FINAL) AS r ON r.river = o.river
        GROUP BY ward_code, object_id
        HAVING ward_code != ''
        UNION ALL
        SELECT
            f.ward_code AS ward_code, 'street_flood' AS domain, d.device_id AS object_id,
            toUInt8(multiIf(f.max_depth_mm >= 300, 3, f.max_depth_mm >= 100, 2, 1)) AS severity, f.onset_ts AS since_ts,
            f.end_ts AS until_ts
        FROM (SELECT * FROM cityfleet.street_floods FINAL WHERE max_depth_mm >= 20 AND wet_n >= 2) AS f
        INNER JOIN
        (
            SELECT device_num, device_id FROM cityfleet.devices FINAL
            WHERE device_num IN (SELECT device_num FROM cityfleet.street_floods)
        ) AS d ON d.device_num = f.device_num
    )
) AS p
LEFT JOIN
(
    SELECT ward_code, domain, object_id, arraySort(groupArray((acted_at, written_at, action, owner, note))) AS actions
    FROM cityfleet.alarm_actions
    GROUP BY ward_code, domain, object_id
) AS a ON a.ward_code = p.ward_code AND a.domain = p.domain AND a.object_id = p.object_id
ARRAY JOIN [arrayFilter(x -> x.1 >= p.since_ts AND x.1 < p.next_ts, a.actions)] AS taken
COMMENT 'Alarms of rivers and of flooded streets of all times, with what people did about them.
Rule: each level of a gauge is an alarm of its own, for every ward that the river warns, and so is each order; levels that were reached at one time are one alarm. An action belongs to the newest alarm of its object that had begun.
Source: cityfleet.alarm_periods, alarm_orders, street_floods, alarm_actions.
Example: SELECT domain, object_id, since_ts, until_ts, status, owner FROM ioc.ward_alarms WHERE ward_code = ''00070'' AND since_ts > now() - INTERVAL 30 DAY ORDER BY since_ts DESC';

CREATE OR REPLACE VIEW ioc.ward_effectiveness {on_cluster}
(
    month Date COMMENT 'First day of the month, +07:00',
    ward_code String COMMENT 'Official code of five digits',
    alarms_n UInt64 COMMENT 'Alarms that began in the month: rivers and flooded streets',
    tta_p50_min Nullable(Float64) COMMENT 'Median minutes from the beginning to the first action; NULL: there was none',
    ttc_p50_min Nullable(Float64) COMMENT 'Median minutes from the beginning to the closing; NULL: none was closed',
    false_share Nullable(Float64) COMMENT 'False ones of the closed ones, 0 to 1; NULL: none was closed',
    availability Nullable(Float64) COMMENT 'Readings received of those promised, 0 to 1, of the whole days so far',
    rank Nullable(UInt16) COMMENT 'Among the wards, 1 is the best; NULL: nothing to judge by',
    ward_name String COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of the month',
    coverage Nullable(Float64) COMMENT 'The same as availability',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the month by quality',
    method LowCardinality(String) COMMENT 'Rule and its version',
    acknowledged_n UInt64 COMMENT 'Alarms that somebody did something about',
    closed_n UInt64 COMMENT 'Alarms that are closed, false ones among them',
    false_n UInt64 COMMENT 'Alarms that were called false',
    wards_n UInt16 COMMENT 'Wards that have a rank'
)
SQL SECURITY INVOKER
AS SELECT
    s.month AS month, s.ward_code AS ward_code, s.alarms_n AS alarms_n, s.tta_p50_min AS tta_p50_min,
    s.ttc_p50_min AS ttc_p50_min, s.false_share AS false_share, s.availability AS availability, s.rank AS rank,
    w.name AS ward_name, s.last_ts AS as_of, s.good_n AS n, s.availability AS coverage,
    tuple(s.good_n, s.suspect_n, s.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'mean of places in 5 measures v1' AS method, s.acknowledged_n AS acknowledged_n, s.closed_n AS closed_n,
    s.false_n AS false_n, s.wards_n AS wards_n
FROM
(
    SELECT *
    FROM cityfleet.ward_scores FINAL
    WHERE month >= toStartOfMonth(toDate({from:DateTime('UTC')}, 'Asia/Ho_Chi_Minh'))
        AND month <= toDate({to:DateTime('UTC')} - INTERVAL 1 SECOND, 'Asia/Ho_Chi_Minh')
) AS s
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = s.ward_code
COMMENT 'Question 25: effectiveness by ward and month of a period ({from:DateTime}, {to:DateTime}): times to acknowledge and to close, share of false alarms, availability, and the rank among the wards.
Rule: alarms of ioc.ward_alarms by the month that they began in, and readings received of those promised by the day. The rank is by the mean of the places in five measures (share acknowledged, median to acknowledge, median to close, share of false alarms, availability), of those that a ward has. Computed after each day. Public: every ward sees every rank, and no more than these numbers.
Source: the city''s own; no law says how to rank.
Example: SELECT ward_name, alarms_n, tta_p50_min, ttc_p50_min, false_share, availability, rank FROM ioc.ward_effectiveness(from = ''2026-10-31 17:00:00'', to = ''2026-11-30 17:00:00'') ORDER BY rank';
