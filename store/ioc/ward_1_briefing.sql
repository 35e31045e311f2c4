-- What is open, what people did about it, and the page of a ward: question 24.

CREATE OR REPLACE VIEW ioc.open_alarms {on_cluster}
(
    ward_code String COMMENT 'Ward that it is for, official code of five digits',
    domain LowCardinality(String) COMMENT 'river, street_flood or air',
    severity UInt8 COMMENT '1 to 3, 3 is the worst; the rule is in the comment of ioc.open_alarms',
    object_id String COMMENT 'Number of the order, gauge, street gauge or air station',
    title String COMMENT 'What is the matter, for people',
    value Nullable(Float64) COMMENT 'Newest good value: m, mm or VN_AQI by domain',
    threshold Nullable(Float64) COMMENT 'What it has passed, in the same unit',
    since_ts DateTime64(3, 'UTC') COMMENT 'Since when, UTC',
    owner String COMMENT 'Who takes care of it; empty: nobody yet',
    acknowledged_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When somebody first did something about it, UTC',
    ward_name String COMMENT 'Name of the ward',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of the newest reading used, UTC; NULL: an order alone',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Readings received / expected, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    unit LowCardinality(String) COMMENT 'Unit of value and threshold; VN_AQI has none',
    threshold_source String COMMENT 'Where the threshold comes from',
    status LowCardinality(String) COMMENT 'open, acknowledged, closed or false_alarm: the newest action since it began',
    note String COMMENT 'Note of the newest action'
)
SQL SECURITY INVOKER
AS SELECT
    b.ward_code AS ward_code, b.domain AS domain, b.severity AS severity, b.object_id AS object_id, b.title AS title,
    b.value AS value, b.threshold AS threshold, b.since_ts AS since_ts, if(empty(taken), '', taken[-1].4) AS owner,
    if(empty(taken), NULL, taken[1].1) AS acknowledged_at, b.ward_name AS ward_name, b.as_of AS as_of, b.n AS n,
    b.coverage AS coverage, b.quality AS quality, b.method AS method, b.unit AS unit, b.threshold_source AS threshold_source,
    if(empty(taken), 'open', taken[-1].3) AS status, if(empty(taken), '', taken[-1].5) AS note
FROM
(
    SELECT
        ward_code, 'river' AS domain, bd_level AS severity, if(declared, order_ref, gauge_id) AS object_id,
        concat('Báo động ', ['I', 'II', 'III'][bd_level], ', ', river) AS title, measured_m AS value,
        threshold_m AS threshold, since_ts, ward_name, as_of, n, coverage, quality, method, 'm' AS unit,
        source AS threshold_source
    FROM ioc.ward_alarms_now
    UNION ALL
    SELECT
        ward_code, 'street_flood' AS domain, toUInt8(multiIf(depth_mm >= 300, 3, depth_mm >= 100, 2, 1)) AS severity,
        device_id AS object_id, concat('Ngập đường, ', site_id) AS title, toNullable(depth_mm) AS value,
        toNullable(toFloat64(multiIf(depth_mm >= 300, 300, depth_mm >= 100, 100, 10))) AS threshold, onset_ts AS since_ts,
        ward_name, toNullable(as_of) AS as_of, n, coverage, quality, method, 'mm' AS unit,
        'FloodNet NYC: 4 and 12 inches' AS threshold_source
    FROM ioc.street_floods_open
    UNION ALL
    SELECT
        a.ward_code AS ward_code, 'air' AS domain, toUInt8(multiIf(a.vn_aqi > 200, 3, a.vn_aqi > 150, 2, 1)) AS severity,
        a.station_id AS object_id, concat('VN_AQI: ', a.category, ', ', a.dominant) AS title,
        toNullable(toFloat64(assumeNotNull(a.vn_aqi))) AS value,
        toNullable(toFloat64(multiIf(a.vn_aqi > 200, 200, a.vn_aqi > 150, 150, 100))) AS threshold,
        toDateTime64(if(h.since > 0, h.since, a.ts), 3, 'UTC') AS since_ts, a.ward_name AS ward_name,
        toNullable(a.as_of) AS as_of, a.n AS n, a.coverage AS coverage, a.quality AS quality, a.method AS method, '' AS unit,
        a.source AS threshold_source
    FROM (SELECT * FROM ioc.vn_aqi_now WHERE is_current AND vn_aqi > 100) AS a
    LEFT JOIN
    (
        SELECT
            station_id, maxIf(ts, vn_aqi <= 100) AS calm_ts,
            arrayMin(arrayFilter(t -> t > calm_ts, groupArrayIf(ts, vn_aqi > 100))) AS since
        FROM cityfleet.vn_aqi_1h FINAL
        WHERE ts > now() - INTERVAL 7 DAY AND ts <= now() - INTERVAL 1 HOUR
        GROUP BY station_id
        HAVING max(ts) > now() - INTERVAL 4 HOUR AND countIf(vn_aqi > 100) > 0
    ) AS h ON h.station_id = a.station_id
) AS b
LEFT JOIN
(
    SELECT ward_code, domain, object_id, arraySort(groupArray((acted_at, written_at, action, owner, note))) AS actions
    FROM cityfleet.alarm_actions
    WHERE acted_at > now64(3, 'UTC') - INTERVAL 60 DAY
    GROUP BY ward_code, domain, object_id
) AS a ON a.ward_code = b.ward_code AND a.domain = b.domain AND a.object_id = b.object_id
ARRAY JOIN [arrayFilter(x -> x.1 >= b.since_ts, a.actions)] AS taken
COMMENT 'Everything open in every ward, also what people have closed or called false while it goes on.
Rule: severity of rivers is the alarm level, of streets 2 from 100 mm and 3 from 300 mm on, of air 1, 2, 3 above VN_AQI 100, 150, 200. An action belongs to the alarm if it was done after the alarm began, and counts for 60 days. The newest one says the status. See docs/briefing.md.
Source: ioc.ward_alarms_now, ioc.street_floods_open, ioc.vn_aqi_now, and the actions of people (`cityfleet alarm ack|close|false`).
Example: SELECT ward_name, domain, title, status, owner FROM ioc.open_alarms WHERE status IN (''closed'', ''false_alarm'')';

CREATE OR REPLACE VIEW ioc.ward_briefing {on_cluster}
(
    ward_code String COMMENT 'Ward that it is for, official code of five digits',
    domain LowCardinality(String) COMMENT 'river, street_flood or air',
    severity UInt8 COMMENT '1 to 3, 3 is the worst; the rule is in the comment of ioc.open_alarms',
    object_id String COMMENT 'Number of the order, gauge, street gauge or air station',
    title String COMMENT 'What is the matter, for people',
    value Nullable(Float64) COMMENT 'Newest good value: m, mm or VN_AQI by domain',
    threshold Nullable(Float64) COMMENT 'What it has passed, in the same unit',
    since_ts DateTime64(3, 'UTC') COMMENT 'Since when, UTC',
    owner String COMMENT 'Who takes care of it; empty: nobody yet',
    acknowledged_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When somebody first did something about it, UTC',
    ward_name String COMMENT 'Name of the ward',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of the newest reading used, UTC; NULL: an order alone',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Readings received / expected, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    unit LowCardinality(String) COMMENT 'Unit of value and threshold; VN_AQI has none',
    threshold_source String COMMENT 'Where the threshold comes from',
    status LowCardinality(String) COMMENT 'open or acknowledged',
    note String COMMENT 'Note of the newest action'
)
SQL SECURITY INVOKER
AS SELECT
    ward_code, domain, severity, object_id, title, value, threshold, since_ts, owner, acknowledged_at,
    ward_name, as_of, n, coverage, quality, method, unit, threshold_source, status, note
FROM ioc.open_alarms
WHERE status IN ('open', 'acknowledged')
COMMENT 'Question 24: everything open in one ward on one page: alarms of rivers, water on streets, bad air, with who takes care of it.
Rule: what ioc.open_alarms has, without what was closed or called false. The account of a ward sees its ward only.
Source: see ioc.open_alarms.
Example: SELECT domain, severity, title, value, threshold, since_ts, owner, acknowledged_at FROM ioc.ward_briefing WHERE ward_code = ''00070'' ORDER BY severity DESC, since_ts';
