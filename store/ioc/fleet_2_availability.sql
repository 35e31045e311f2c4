-- Question 20: what came of what should have.

CREATE OR REPLACE VIEW ioc.availability_daily {on_cluster}
(
    day Date COMMENT 'Day at +07:00',
    ward_code String COMMENT 'Ward, official code of five digits',
    kind String COMMENT 'Type of the devices',
    expected_n UInt64 COMMENT 'Readings that should have come: over all series, seconds of the day within the period / interval',
    received_n UInt64 COMMENT 'Readings that came, each counted once; a burst of one series does not make up for another',
    availability Nullable(Float64) COMMENT 'received_n / expected_n, 0 to 1; NULL: nothing was expected',
    valid_n UInt64 COMMENT 'Of the received ones of quality 1',
    validity Nullable(Float64) COMMENT 'valid_n / received_n, 0 to 1; NULL: nothing came',
    sla Nullable(Float64) COMMENT 'Least availability agreed for the kind, 0 to 1; NULL: none',
    breach Bool COMMENT 'Whether availability is below it',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest good reading used, UTC; 1970: none',
    n UInt64 COMMENT 'The same as valid_n',
    coverage Nullable(Float64) COMMENT 'The same as availability',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Received readings by quality',
    method LowCardinality(String) COMMENT 'Rule and its version',
    devices_n UInt64 COMMENT 'Devices of which something was expected',
    sla_source String COMMENT 'Where the agreed availability is written'
)
SQL SECURITY INVOKER
AS WITH
    -- Whole hours that are over, so that what is expected and what is summed up go as far.
    toUnixTimestamp(toStartOfHour({from:DateTime('UTC')})) AS from_s,
    least(toUnixTimestamp(toStartOfHour({to:DateTime('UTC')})), toUnixTimestamp(toStartOfHour(now('UTC') - INTERVAL 5 MINUTE))) AS to_s,
    came AS
    (
        SELECT
            toDate(toDateTime(toUnixTimestamp(a.ts) + 25200, 'UTC')) AS day, a.ward_code AS ward_code, a.device_type AS kind,
            sum(a.received_n) AS received_n, sum(a.valid_n) AS valid_n, sum(a.suspect_n) AS suspect_n, sum(a.fail_n) AS fail_n,
            max(a.last_ts) AS last_ts
        FROM cityfleet.availability_1h AS a FINAL
        WHERE a.ts >= toDateTime(from_s, 'UTC') AND a.ts < toDateTime(to_s, 'UTC')
        GROUP BY day, ward_code, kind
    ),
    -- Few rows: devices of a ward and type that began and ended in the same hours.
    cohorts AS
    (
        SELECT
            d.ward_code AS ward_code, d.device_type AS kind,
            greatest(from_s, if(f.first_s = 0 OR f.first_s + 3600 >= d.create_s, d.create_s, f.first_s)) AS start_s,
            least(to_s, d.end_s) AS end_s, count() AS devices_n
        FROM
        (
            SELECT
                device_num, ward_code, device_type, toUnixTimestamp(toStartOfHour(create_time + INTERVAL 3599 SECOND)) AS create_s,
                if(state = 'active', 4102444800, toUnixTimestamp(toStartOfHour(update_time))) AS end_s
            FROM cityfleet.devices FINAL
        ) AS d
        LEFT JOIN
        (
            SELECT device_num, toUnixTimestamp(first_ts) AS first_s FROM cityfleet.device_first FINAL
        ) AS f ON f.device_num = d.device_num
        GROUP BY ward_code, kind, start_s, end_s
        HAVING end_s > start_s
    ),
    rates AS
    (
        SELECT device_type, sum(1 / if(own_s > 0, own_s, expected_interval_s)) AS per_s
        FROM (SELECT device_type, expected_interval_s, metric_nums, metric_intervals_s FROM cityfleet.device_types FINAL)
        ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS own_s
        WHERE own_s > 0 OR expected_interval_s > 0
        GROUP BY device_type
    ),
    due AS
    (
        SELECT
            toDate(c.day_n) AS day, c.ward_code AS ward_code, c.kind AS kind,
            toUInt64(round(sum(c.devices_n * r.per_s * (least(c.end_s, (c.day_n + 1) * 86400 - 25200) - greatest(c.start_s, c.day_n * 86400 - 25200))))) AS expected_n,
            sum(c.devices_n) AS devices_n
        FROM
        (
            SELECT
                ward_code, kind, toInt64(start_s) AS start_s, toInt64(end_s) AS end_s, devices_n,
                toInt64(arrayJoin(range(toUInt64(intDiv(start_s + 25200, 86400)), toUInt64(intDiv(end_s + 25199, 86400) + 1)))) AS day_n
            FROM cohorts
        ) AS c
        INNER JOIN rates AS r ON r.device_type = c.kind
        GROUP BY day, ward_code, kind
    ),
    -- (kind or empty, least availability, source, first and last day); what is agreed for the kind goes before what is for all.
    (
        SELECT arraySort(a -> a.1 = '', groupArray((object, low, source, valid_from, valid_to)))
        FROM cityfleet.thresholds FINAL
        WHERE scheme = 'sla' AND parameter = 'availability'
    ) AS agreed,
    days AS
    (
        SELECT
            day, ward_code, kind, sum(e) AS expected_n, sum(d) AS devices_n, sum(c) AS received_n, sum(v) AS valid_n,
            sum(s) AS suspect_n, sum(x) AS fail_n, max(t) AS last_ts
        FROM
        (
            SELECT
                day, ward_code, kind, expected_n AS e, devices_n AS d, toUInt64(0) AS c, toUInt64(0) AS v, toUInt64(0) AS s,
                toUInt64(0) AS x, toDateTime64(0, 3, 'UTC') AS t
            FROM due
            UNION ALL
            SELECT day, toString(ward_code), toString(kind), 0, 0, received_n, valid_n, suspect_n, fail_n, last_ts
            FROM came
        )
        GROUP BY day, ward_code, kind
    )
SELECT
    d.day AS day, d.ward_code AS ward_code, d.kind AS kind, d.expected_n AS expected_n, d.received_n AS received_n,
    if(d.expected_n = 0, NULL, least(1, d.received_n / d.expected_n)) AS availability, d.valid_n AS valid_n,
    if(d.received_n = 0, NULL, d.valid_n / d.received_n) AS validity,
    arrayFirst(a -> a.1 IN ('', d.kind) AND d.day BETWEEN a.4 AND a.5 AND a.2 IS NOT NULL, agreed).2 AS sla,
    ifNull(availability < sla, false)::Bool AS breach, w.name AS ward_name, d.last_ts AS as_of, d.valid_n AS n,
    availability AS coverage, tuple(d.valid_n, d.suspect_n, d.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'received/expected by series and hour v1' AS method, d.devices_n AS devices_n,
    arrayFirst(a -> a.1 IN ('', d.kind) AND d.day BETWEEN a.4 AND a.5, agreed).3 AS sla_source
FROM days AS d
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = d.ward_code
COMMENT 'Question 20: data availability (received / expected) by kind, ward and day, and breaches of what was agreed.
Rule: expected of each metric with an interval, from the first reading or the registration of its device on, until it is retired; received at most what is expected of each series and hour, and one. Whole hours that are over. Devices count in the ward where they stand now, readings where they were measured.
Source: what is agreed is cityfleet.thresholds, scheme sla, object = kind (empty: all), from `low` on; 0.9 is a default of cityfleet that the operator replaces.
Example: SELECT day, ward_code, kind, availability, sla FROM ioc.availability_daily(from = now(''UTC'') - INTERVAL 7 DAY, to = now(''UTC'')) WHERE breach ORDER BY day, availability';
