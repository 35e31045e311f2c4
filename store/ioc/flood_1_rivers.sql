-- Questions 1 to 3: levels of rivers, wards under alarm, when the next level comes: read from what steps find each minute
-- (river_now, ward_alarms_now), with the orders in force. All of it is public.

CREATE OR REPLACE VIEW ioc.river_levels_now {on_cluster}
(
    gauge_id String COMMENT 'Device that measures',
    name String COMMENT 'Name of the station, else of the device',
    river String COMMENT 'River of the station; empty: no known station',
    level_m Nullable(Float64) COMMENT 'Newest good level, m; NULL: none within a day',
    ts Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was measured, UTC',
    age_s Nullable(Int64) COMMENT 'Seconds since then',
    bd_level UInt8 COMMENT 'Alarm level (báo động) that this level is at: 0 none, 1, 2, 3; see method for what is not known',
    next_threshold_m Nullable(Float64) COMMENT 'Next known threshold above the level, m',
    gap_to_next_m Nullable(Float64) COMMENT 'Metres up to it',
    rate_m_per_h Nullable(Float64) COMMENT 'Slope of the last 3 hours, least squares, m/h; NULL: fewer than 3 points',
    qc_flag UInt8 COMMENT 'QARTOD flag of the newest ten minutes with readings, the worst of them; 9: no readings',
    ward_code String COMMENT 'Ward the gauge stands in; the wards that it warns are in ioc.ward_alarms_now',
    ward_name String COMMENT 'Name of that ward',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of the last 3 hours',
    coverage Nullable(Float64) COMMENT 'Readings of the last 3 hours / expected ones, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the last 3 hours by quality',
    method LowCardinality(String) COMMENT 'Rule and its version',
    station_id String COMMENT 'Station, see cityfleet.stations; empty: no alarm levels',
    threshold_m Nullable(Float64) COMMENT 'Threshold of bd_level, m; NULL at 0',
    above_threshold_m Nullable(Float64) COMMENT 'Metres above it',
    threshold_source String COMMENT 'Legal source of the station''s thresholds',
    rate_low_m_per_h Nullable(Float64) COMMENT 'Lower end of the slope, 95 %',
    rate_high_m_per_h Nullable(Float64) COMMENT 'Upper end of the slope, 95 %',
    points_n UInt64 COMMENT 'Points of the slope: the newest good level of each ten minutes',
    latitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    longitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    device_num UInt32 COMMENT 'Number of the device'
)
SQL SECURITY INVOKER
AS SELECT
    gauge_id, name, river, level_m, ts, dateDiff('second', ts, now64(3, 'UTC')) AS age_s, bd_level, next_threshold_m, gap_to_next_m,
    rate_m_per_h, qc_flag, ward_code, ward_name, ts AS as_of, n, coverage, quality, method, station_id, threshold_m, above_threshold_m,
    threshold_source, rate_low_m_per_h, rate_high_m_per_h, points_n, latitude, longitude, device_num
FROM cityfleet.river_now
COMMENT 'Question 1: the latest level at every river gauge with its alarm level and trend.
Rule: the level is at báo động k from the station''s threshold k on, as measured; a level whose threshold is not known is passed over. Ten-minute windows, a minute behind. Public in every ward.
Source: Decision 05/2020/QĐ-TTg (31 Jan 2020) and the city''s regulation, row by row in threshold_source.
Example: SELECT name, river, level_m, bd_level, gap_to_next_m, rate_m_per_h, age_s FROM ioc.river_levels_now WHERE station_id != '''' ORDER BY gap_to_next_m';

CREATE OR REPLACE VIEW ioc.ward_alarms_now {on_cluster}
(
    ward_code String COMMENT 'Ward under alarm, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    river String COMMENT 'River of the alarm',
    gauge_id String COMMENT 'Gauge at the highest measured level of that river; empty: the order alone',
    bd_level UInt8 COMMENT 'Level in force: the declared one where there is an order, else the measured one',
    since_ts DateTime64(3, 'UTC') COMMENT 'Order issued at, else first reading at the threshold, UTC',
    declared Bool COMMENT 'There is an order for this ward',
    order_ref String COMMENT 'Number of the order; empty: none',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of the newest reading of the gauge, UTC; NULL: the order alone',
    n UInt64 COMMENT 'Good readings since the measured level was reached',
    coverage Nullable(Float64) COMMENT 'Readings of the period / expected ones, 0 to 1; NULL: no expectation or no gauge',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the period; only good ones are counted',
    method LowCardinality(String) COMMENT 'Rule and its version',
    measured_level UInt8 COMMENT 'Level that the gauge is at, with hysteresis: 0 none',
    measured_since_ts Nullable(DateTime64(3, 'UTC')) COMMENT 'First reading at that threshold, UTC',
    measured_m Nullable(Float64) COMMENT 'Newest level of the gauge, m',
    threshold_m Nullable(Float64) COMMENT 'Threshold of the measured level, m',
    declared_level UInt8 COMMENT 'Level of the order: 0 none',
    source String COMMENT 'Source of the order, else of the list of wards'
)
SQL SECURITY INVOKER
AS WITH
    -- The highest first, of these the newest.
    (
        SELECT arrayReverseSort(o -> (o.3, o.5, o.4), groupArray((river, ward_code, level, order_ref, issued_at, source)))
        FROM cityfleet.alarm_orders FINAL
        WHERE issued_at <= now64(3, 'UTC') AND (withdrawn_at IS NULL OR assumeNotNull(withdrawn_at) > now64(3, 'UTC'))
    ) AS orders
SELECT
    ward_code, ward_name, river, gauge_id, if(declared, found.3, measured_level) AS bd_level, if(declared, found.5, a.since_ts) AS since_ts,
    (found.3 > 0)::Bool AS declared, found.4 AS order_ref, as_of, n, coverage, quality,
    'bao_dong/QD05-2020 v1, off 0.10 m below' AS method, measured_level, measured_since_ts, measured_m, threshold_m,
    found.3 AS declared_level, if(found.6 != '', found.6, list_source) AS source
FROM
(
    SELECT *, arrayFirst(o -> o.1 = river AND (o.2 = ward_code OR (o.2 = '' AND is_listed)), orders) AS found
    FROM cityfleet.ward_alarms_now
) AS a
WHERE measured_level > 0 OR found.3 > 0
COMMENT 'Question 2: which wards are under which river alarm now, by which gauge, since when?
Rule: measured: a gauge of the river is at a level (from its first reading at the threshold until it is 0.10 m below it), for the wards that orders on that river name. Declared: an order in force (`cityfleet alarm order declare`). Both are shown, and never mixed: an alarm is raised at a crossing and withdrawn by order.
Source: Decision 05/2020/QĐ-TTg; lists of wards from the orders themselves, see source.
Example: SELECT ward_name, river, bd_level, declared, order_ref, measured_level, since_ts FROM ioc.ward_alarms_now ORDER BY bd_level DESC, ward_code';

CREATE OR REPLACE VIEW ioc.river_forecast {on_cluster}
(
    gauge_id String COMMENT 'Device that measures',
    level_m Nullable(Float64) COMMENT 'Newest good level, m',
    slope_m_per_h Nullable(Float64) COMMENT 'Slope of the last 3 hours, least squares, m/h',
    next_level Nullable(UInt8) COMMENT 'Next known alarm level above the present one; NULL: none',
    eta_ts Nullable(DateTime64(3, 'UTC')) COMMENT 'When the level gets there at this slope, UTC; NULL: not rising, or later than in 10 days',
    eta_low Nullable(DateTime64(3, 'UTC')) COMMENT 'Earliest, at the upper end of the slope''s 95 % interval',
    eta_high Nullable(DateTime64(3, 'UTC')) COMMENT 'Latest, at the lower end; NULL: it may never get there',
    n_points UInt64 COMMENT 'Points of the slope: the newest good level of each ten minutes',
    ward_code String COMMENT 'Ward the gauge stands in',
    ward_name String COMMENT 'Name of that ward',
    as_of Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings of the last 3 hours',
    coverage Nullable(Float64) COMMENT 'Readings of the last 3 hours / expected ones, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings of the last 3 hours by quality',
    method LowCardinality(String) COMMENT 'Rule and its version',
    name String COMMENT 'Name of the station, else of the device',
    river String COMMENT 'River of the station',
    next_threshold_m Nullable(Float64) COMMENT 'Threshold of next_level, m',
    threshold_source String COMMENT 'Legal source of the thresholds'
)
SQL SECURITY INVOKER
AS SELECT
    gauge_id, level_m, rate_m_per_h AS slope_m_per_h, next_level, eta_ts, eta_low, eta_high, points_n AS n_points, ward_code, ward_name,
    ts AS as_of, n, coverage, quality, 'linear 3 h, 95 % of the slope v1' AS method, name, river, next_threshold_m, threshold_source
FROM cityfleet.river_now
WHERE station_id != ''
COMMENT 'Question 3: when, at the present 3-hour slope, will each gauge reach the next level?
Rule: a straight line through the newest good level of each ten minutes of the last 3 hours, from the newest level on, with the slope''s 95 % interval (Student). It knows nothing of rain or tides to come.
Source: thresholds of Decision 05/2020/QĐ-TTg, see threshold_source.
Example: SELECT name, level_m, slope_m_per_h, next_level, eta_ts, eta_low, eta_high FROM ioc.river_forecast WHERE eta_ts IS NOT NULL ORDER BY eta_ts';
