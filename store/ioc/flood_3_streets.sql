-- Questions 5 to 7: water on streets, now and in a period, and the places where it comes back.

CREATE OR REPLACE VIEW ioc.street_floods_open {on_cluster}
(
    site_id String COMMENT 'Site of the gauge, else the gauge',
    ward_code String COMMENT 'Ward of the gauge, official code of five digits',
    depth_mm Float64 COMMENT 'Newest good depth, mm',
    max_depth_mm Float64 COMMENT 'Greatest depth of the event, mm',
    onset_ts DateTime64(3, 'UTC') COMMENT 'Last dry reading before the water (at most 30 minutes older), else the first with water, UTC',
    minutes_open Float64 COMMENT 'Minutes from the onset to now',
    minutes_above_100mm Float64 COMMENT 'Minutes at 100 mm or more, up to as_of',
    minutes_above_300mm Float64 COMMENT 'Minutes at 300 mm or more, up to as_of',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of the event',
    coverage Nullable(Float64) COMMENT 'Readings of the event / expected ones up to now, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the event by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    event_id String COMMENT 'Gauge and onset; another one if late readings move the onset',
    device_id String COMMENT 'The gauge',
    peak_ts DateTime64(3, 'UTC') COMMENT 'When it was deepest so far, UTC',
    latitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    longitude Nullable(Float64) COMMENT 'WGS 84, degrees'
)
SQL SECURITY INVOKER
AS SELECT
    site_id, in_ward_code AS ward_code, depth_mm, max_depth_mm, onset_ts,
    dateDiff('second', onset_ts, now64(3, 'UTC')) / 60 AS minutes_open, minutes_above_100mm, minutes_above_300mm, ward_name, as_of, n,
    coverage, quality, 'wet 10 mm, apart 30 min, silent 2 h v1' AS method, event_id, device_id, peak_ts, latitude, longitude
FROM cityfleet.street_floods_now AS f
WHERE last_wet_ts >= now64(3, 'UTC') - INTERVAL 2 HOUR
-- Who sees the city reads what is as seen from it, the account of a ward what is as seen from there.
ORDER BY for_ward
LIMIT 1 WITH TIES
COMMENT 'Question 5: open street-flood events: depth, onset, duration, time above 100 and 300 mm.
Rule: an event goes from the first reading of 10 mm or more to the first dry one that no water follows within 30 minutes of the last; a gauge that is silent for 2 hours has no open event. Shown from 20 mm and two wet readings on. A minute behind.
Source: depths of 100 and 300 mm as in FloodNet NYC (4 and 12 inches).
Example: SELECT site_id, ward_name, depth_mm, minutes_open, minutes_above_300mm FROM ioc.street_floods_open ORDER BY depth_mm DESC';

CREATE OR REPLACE VIEW ioc.street_flood_events {on_cluster}
(
    event_id String COMMENT 'Gauge and onset; another one if late readings move the onset',
    site_id String COMMENT 'Site of the gauge, else the gauge',
    ward_code String COMMENT 'Ward of the gauge at the onset, official code of five digits',
    onset_ts DateTime64(3, 'UTC') COMMENT 'Last dry reading before the water (at most 30 minutes older), else the first with water, UTC',
    peak_depth_mm Float64 COMMENT 'Greatest depth, mm',
    onset_min Float64 COMMENT 'Minutes from the onset to the peak',
    drain_min Nullable(Float64) COMMENT 'Minutes from the peak to the first dry reading; NULL: the gauge fell silent before',
    rain_2h_before_mm Nullable(Float64) COMMENT 'Rain at the nearest gauge within 5 km: twelve times ten minutes, the last of which holds the onset; NULL: no such gauge or no readings',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of the event',
    coverage Nullable(Float64) COMMENT 'Readings of the event / expected ones, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the event by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    device_id String COMMENT 'The gauge',
    peak_ts DateTime64(3, 'UTC') COMMENT 'When it was deepest, UTC',
    end_ts DateTime64(3, 'UTC') COMMENT 'First dry reading; of a gauge that fell silent the last reading, UTC',
    ended_by LowCardinality(String) COMMENT 'dry or silence',
    duration_min Float64 COMMENT 'Minutes from onset to end',
    minutes_above_100mm Float64 COMMENT 'Minutes at 100 mm or more',
    minutes_above_300mm Float64 COMMENT 'Minutes at 300 mm or more',
    rain_gauge_id String COMMENT 'Rain gauge of rain_2h_before_mm; empty: none',
    rain_gauge_distance_m Nullable(Float64) COMMENT 'How far it is, m',
    latitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    longitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    device_num UInt32 COMMENT 'Number of the gauge'
)
SQL SECURITY INVOKER
AS WITH
    closed AS
    (
        SELECT *
        FROM cityfleet.street_floods FINAL
        WHERE onset_ts >= {from:DateTime('UTC')} AND onset_ts < {to:DateTime('UTC')} AND max_depth_mm >= 20 AND wet_n >= 2
            AND (end_ts IS NOT NULL OR last_wet_ts < now64(3, 'UTC') - INTERVAL 2 HOUR)
    ),
    sites AS
    (
        SELECT device_num, device_id, site_id, device_type, latitude, longitude
        FROM cityfleet.devices FINAL
        WHERE device_num IN (SELECT device_num FROM closed)
    )
SELECT
    concat(d.device_id, '/', formatDateTime(c.onset_ts, '%Y%m%dT%H%i%SZ', 'UTC')) AS event_id,
    if(d.site_id != '', d.site_id, d.device_id) AS site_id, toString(c.ward_code) AS ward_code, c.onset_ts AS onset_ts,
    c.max_depth_mm AS peak_depth_mm, dateDiff('millisecond', c.onset_ts, c.peak_ts) / 60000 AS onset_min,
    if(c.end_ts IS NULL, NULL, dateDiff('millisecond', c.peak_ts, assumeNotNull(c.end_ts)) / 60000) AS drain_min,
    r.rain_2h_mm AS rain_2h_before_mm, w.name AS ward_name, c.last_ts AS as_of, toUInt64(c.good_n) AS n,
    if(t.interval_s > 0, least(1, (c.good_n + c.suspect_n + c.fail_n) / (1 + duration_min * 60 / t.interval_s)), NULL) AS coverage,
    tuple(c.good_n, c.suspect_n, c.fail_n)::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'wet 10 mm, apart 30 min, silent 2 h v1' AS method, d.device_id AS device_id, c.peak_ts AS peak_ts,
    ifNull(c.end_ts, c.last_ts) AS end_ts, if(c.end_ts IS NULL, 'silence', 'dry') AS ended_by,
    dateDiff('millisecond', c.onset_ts, ifNull(c.end_ts, c.last_ts)) / 60000 AS duration_min,
    c.above_100mm_s / 60 AS minutes_above_100mm, c.above_300mm_s / 60 AS minutes_above_300mm, r.gauge_id AS rain_gauge_id,
    if(r.gauge_id = '', NULL, r.distance_m) AS rain_gauge_distance_m, d.latitude AS latitude, d.longitude AS longitude,
    c.device_num AS device_num
FROM closed AS c
LEFT JOIN sites AS d ON d.device_num = c.device_num
LEFT JOIN
(
    SELECT device_type, max(if(own_s > 0, own_s, type_s)) AS interval_s
    FROM
    (
        SELECT device_type, expected_interval_s AS type_s, metric_num, own_s
        FROM (SELECT * FROM cityfleet.device_types FINAL)
        ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS own_s
    )
    WHERE metric_num IN (SELECT metric_num FROM cityfleet.metrics FINAL WHERE metric = 'street_flood_depth_mm')
    GROUP BY device_type
) AS t ON t.device_type = d.device_type
LEFT JOIN
(
    -- Of the whole city's rain gauges for who sees it, else of the ward's.
    SELECT onset_ts, device_num, rain_2h_mm, gauge_id, distance_m
    FROM cityfleet.street_flood_rain FINAL
    WHERE onset_ts >= {from:DateTime('UTC')} AND onset_ts < {to:DateTime('UTC')}
    ORDER BY onset_ts, device_num, ward_code
    LIMIT 1 BY onset_ts, device_num
) AS r ON r.device_num = c.device_num AND r.onset_ts = c.onset_ts
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = c.ward_code
COMMENT 'Question 6: each street-flood event that began in a period ({from:DateTime}, {to:DateTime}) and is over: onset, time to the peak, drain time, rain of the 2 hours before.
Rule: an event goes from the first reading of 10 mm or more to the first dry one that no water follows within 30 minutes of the last; over a silence of 2 hours it is over too. Shown from 20 mm and two wet readings on. Late readings change it. A ward sees the rain of its own gauges only.
Source: depths of 100 and 300 mm and the times as in FloodNet NYC (4 and 12 inches).
Example: SELECT site_id, onset_ts, peak_depth_mm, onset_min, drain_min, rain_2h_before_mm FROM ioc.street_flood_events(from = ''2026-09-01 00:00:00'', to = ''2026-10-01 00:00:00'') ORDER BY peak_depth_mm DESC';

CREATE OR REPLACE VIEW ioc.street_flood_sites {on_cluster}
(
    site_id String COMMENT 'Site of the gauges, else the gauge',
    ward_code String COMMENT 'Ward of its last event, official code of five digits',
    events_n UInt64 COMMENT 'Events that began in the period, 2 or more',
    trigger_rain_p10_mm Nullable(Float64) COMMENT 'Rain of 2 hours from which it floods: 10th percentile of rain_2h_before_mm; NULL: no rain gauge near',
    worst_depth_mm Float64 COMMENT 'Greatest depth, mm',
    last_event_ts DateTime64(3, 'UTC') COMMENT 'Onset of the last event, UTC',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of all its events',
    coverage Nullable(Float64) COMMENT 'Mean of its events'' coverage, 0 to 1',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of its events by quality',
    method LowCardinality(String) COMMENT 'Rule and its version',
    rain_events_n UInt64 COMMENT 'Events that the percentile rests on',
    drain_p50_min Nullable(Float64) COMMENT 'Median drain time, minutes'
)
SQL SECURITY INVOKER
AS SELECT
    e.site_id AS site_id, argMax(e.ward_code, e.onset_ts) AS ward_code, count() AS events_n,
    quantileExactInclusive(0.1)(e.rain_2h_before_mm) AS trigger_rain_p10_mm, max(e.peak_depth_mm) AS worst_depth_mm,
    max(e.onset_ts) AS last_event_ts, argMax(e.ward_name, e.onset_ts) AS ward_name, max(e.as_of) AS as_of, sum(e.n) AS n,
    avg(e.coverage) AS coverage,
    tuple(sum(e.quality.good), sum(e.quality.suspect), sum(e.quality.fail))::Tuple(good UInt64, suspect UInt64, fail UInt64) AS quality,
    'wet 10 mm, apart 30 min, silent 2 h; p10 inclusive v1' AS method, count(e.rain_2h_before_mm) AS rain_events_n,
    quantileExactInclusive(0.5)(e.drain_min) AS drain_p50_min
FROM ioc.street_flood_events(from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}) AS e
GROUP BY e.site_id
HAVING events_n >= 2
COMMENT 'Question 7: sites that flooded repeatedly in a period ({from:DateTime}, {to:DateTime}): number of events, and the rain from which they do.
Rule: two events or more of ioc.street_flood_events; the 10th percentile of the rain of the 2 hours before, with linear interpolation. With few events it is their least rain: see rain_events_n.
Source: the readings themselves.
Example: SELECT site_id, events_n, trigger_rain_p10_mm, worst_depth_mm FROM ioc.street_flood_sites(from = ''2026-01-01 00:00:00'', to = ''2027-01-01 00:00:00'') ORDER BY events_n DESC';
