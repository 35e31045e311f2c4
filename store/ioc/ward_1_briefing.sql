-- What is open, what people did about it, and the page of a ward: question 24: read from what a step finds each minute
-- (open_alarms_now).

CREATE OR REPLACE VIEW ioc.open_alarms {on_cluster}
(
    ward_code String COMMENT 'Ward that it is for, official code of five digits',
    domain LowCardinality(String) COMMENT 'river, street_flood, air, traffic or devices',
    severity UInt8 COMMENT '1 to 3, 3 is the worst; the rule is in the comment of ioc.open_alarms',
    object_id String COMMENT 'Number of the order, gauge, street gauge, air station, road segment; device, gateway, type/NAME or ward/CODE',
    title String COMMENT 'What is the matter, for people',
    value Nullable(Float64) COMMENT 'Newest good value in unit: m, mm, VN_AQI, km/h; of devices seconds of silence, how many of a group are silent, or points of need',
    threshold Nullable(Float64) COMMENT 'What it has passed, in the same unit',
    since_ts DateTime64(3, 'UTC') COMMENT 'Since when, UTC',
    owner String COMMENT 'Who takes care of it; empty: nobody yet',
    acknowledged_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When somebody first did something about it, UTC',
    ward_name String COMMENT 'Name of the ward',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of the newest reading used, UTC; NULL: an order alone',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Readings received / expected, 0 to 1; of devices their metrics that were heard within 24 hours / those with an interval, the mean of a group; NULL: no expectation, or an order alone',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    unit LowCardinality(String) COMMENT 'Unit of value and threshold: m, mm, km/h, s, devices, points; VN_AQI has none',
    threshold_source String COMMENT 'Where the threshold comes from',
    status LowCardinality(String) COMMENT 'open, acknowledged, closed or false_alarm: the newest action since it began',
    note String COMMENT 'Note of the newest action'
)
SQL SECURITY INVOKER
AS SELECT
    ward_code, domain, severity, object_id, title, value, threshold, since_ts, owner, acknowledged_at, ward_name, last_ts AS as_of,
    good_n AS n, coverage, quality, method, unit, source AS threshold_source, status, note
FROM cityfleet.open_alarms_now FINAL
-- Made each minute. Where nothing computes any more an alarm stays, with its old as_of.
WHERE domain IN ('river', 'street_flood', 'air') OR made_ms > toUnixTimestamp64Milli(now64(3, 'UTC') - INTERVAL 10 MINUTE)
COMMENT 'Everything open in every ward, also what people have closed or called false while it goes on.
Rule: severity of rivers is the alarm level, of streets 2 from 100 mm and 3 from 300 mm on, of air 1, 2, 3 above VN_AQI 100, 150, 200, of traffic 1 at level of service E, 2 at F, 3 at F and 3 robust sigmas slower than typical, of devices 1 for one, 2 for 80 % of those of a gateway or type in the ward (at least 3), 3 for 80 % of the ward (at least 10); what is not silent is here from 30 points of ioc.devices_to_service on. An action belongs to the alarm if it was done after the alarm began, and counts for 60 days. The newest one says the status. See docs/briefing.md.
Source: each minute ioc.ward_alarms_now, ioc.street_floods_open, ioc.vn_aqi_now, the newest ten minutes of traffic and ioc.devices_to_service, and the actions of people (`cityfleet alarm ack|close|false`).
Example: SELECT ward_name, domain, title, status, owner FROM ioc.open_alarms WHERE status IN (''closed'', ''false_alarm'')';

CREATE OR REPLACE VIEW ioc.ward_briefing {on_cluster}
(
    ward_code String COMMENT 'Ward that it is for, official code of five digits',
    domain LowCardinality(String) COMMENT 'river, street_flood, air, traffic or devices',
    severity UInt8 COMMENT '1 to 3, 3 is the worst; the rule is in the comment of ioc.open_alarms',
    object_id String COMMENT 'Number of the order, gauge, street gauge, air station, road segment; device, gateway, type/NAME or ward/CODE',
    title String COMMENT 'What is the matter, for people',
    value Nullable(Float64) COMMENT 'Newest good value in unit: m, mm, VN_AQI, km/h; of devices seconds of silence, how many of a group are silent, or points of need',
    threshold Nullable(Float64) COMMENT 'What it has passed, in the same unit',
    since_ts DateTime64(3, 'UTC') COMMENT 'Since when, UTC',
    owner String COMMENT 'Who takes care of it; empty: nobody yet',
    acknowledged_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When somebody first did something about it, UTC',
    ward_name String COMMENT 'Name of the ward',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of the newest reading used, UTC; NULL: an order alone',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Readings received / expected, 0 to 1; of devices their metrics that were heard within 24 hours / those with an interval, the mean of a group; NULL: no expectation, or an order alone',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    unit LowCardinality(String) COMMENT 'Unit of value and threshold: m, mm, km/h, s, devices, points; VN_AQI has none',
    threshold_source String COMMENT 'Where the threshold comes from',
    status LowCardinality(String) COMMENT 'open or acknowledged',
    note String COMMENT 'Note of the newest action'
)
SQL SECURITY INVOKER
AS SELECT
    ward_code, domain, severity, object_id, title, value, threshold, since_ts, owner, acknowledged_at, ward_name, last_ts AS as_of,
    good_n AS n, coverage, quality, method, unit, source AS threshold_source, status, note
FROM cityfleet.open_alarms_now FINAL
WHERE status IN ('open', 'acknowledged')
    -- As in ioc.open_alarms.
    AND (domain IN ('river', 'street_flood', 'air') OR made_ms > toUnixTimestamp64Milli(now64(3, 'UTC') - INTERVAL 10 MINUTE))
COMMENT 'Question 24: everything open in one ward on one page: alarms of rivers, water on streets, bad air, congestion, devices, with who takes care of it.
Rule: what ioc.open_alarms has, without what was closed or called false. The account of a ward sees its ward only.
Source: see ioc.open_alarms.
Example: SELECT domain, severity, title, value, threshold, since_ts, owner, acknowledged_at FROM ioc.ward_briefing WHERE ward_code = ''00070'' ORDER BY severity DESC, since_ts';
