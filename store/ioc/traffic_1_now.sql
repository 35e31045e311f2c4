-- Questions 9 and 10: congestion now, and where the last hour was lost.

CREATE OR REPLACE VIEW ioc.congestion_now {on_cluster}
(
    segment_id String COMMENT 'Label `segment` of its detectors, else their site, else the detector',
    ward_code String COMMENT 'Ward of the segment, official code of five digits',
    speed_km_h Nullable(Float64) COMMENT 'Mean of the newest closed ten minutes over the detectors by their counts; NULL: none',
    ffs_km_h Nullable(Float64) COMMENT 'Free-flow speed; NULL: not known yet',
    ratio Nullable(Float64) COMMENT 'speed_km_h / ffs_km_h',
    los String COMMENT 'Level of service, A (best) to F, by los_scheme; empty: cannot be told',
    flow_veh_h Nullable(Float64) COMMENT 'Vehicles an hour, summed over the detectors; NULL: nothing counts here',
    occupancy Nullable(Float64) COMMENT 'Share of time the detectors were covered, 0 to 1',
    typical_ratio Nullable(Float64) COMMENT 'Median speed of this hour of the week / ffs_km_h; NULL: not known yet',
    delta Nullable(Float64) COMMENT 'ratio - typical_ratio: below 0 is slower than usual',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Readings received / expected of its detectors, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    ts DateTime('UTC') COMMENT 'Start of the ten minutes, UTC',
    los_level UInt8 COMMENT '1 A, 2 B ...; 0: cannot be told',
    los_scheme String COMMENT 'Scheme in thresholds',
    los_source String COMMENT 'Where the scheme is written',
    congestion_index Nullable(Float64) COMMENT '1 - ratio, within 0 to 1',
    flow_pcu_h Nullable(Float64) COMMENT 'Flow in passenger cars by cityfleet.pcu_factors, which are no legal ones',
    speed_z Nullable(Float64) COMMENT 'Robust sigmas from the typical speed',
    ffs_by String COMMENT 'declared (road_segments), nights (85th percentile), or empty'
)
SQL SECURITY INVOKER
AS SELECT
    segment_id, ward_code, speed_km_h, ffs_km_h, ratio, los, flow_veh_h, occupancy, typical_ratio, delta, ward_name, as_of, n, coverage,
    quality, 'LOS by scheme, FFS p85 of 28 nights v1' AS method, ts, los_level, los_scheme, los_source, congestion_index, flow_pcu_h,
    speed_z, ffs_by
FROM cityfleet.traffic_now
WHERE ts >= now('UTC') - INTERVAL 30 MINUTE
COMMENT 'Question 9: congestion now by road segment: speed against free flow, level of service, flow, occupancy, against what is typical of this hour of the week.
Rule: the newest closed ten minutes of the last 30. Means over detectors weigh by their counts, flows of detectors add up. Free flow: declared in road_segments, else the 85th percentile of the speeds of 00:00 to 05:00 (+07:00) over 28 days. Typical: median of the same weekday and hour over four weeks before.
Source: level of service by the scheme of the segment in thresholds (Highway Capacity Manual 2010 unless another is named). Not a Vietnamese legal scale.
Example: SELECT segment_id, ward_name, speed_km_h, ratio, los, delta FROM ioc.congestion_now WHERE los_level >= 5 ORDER BY delta';

CREATE OR REPLACE VIEW ioc.worst_segments_last_hour {on_cluster}
(
    segment_id String COMMENT 'Label `segment` of its detectors, else their site, else the detector',
    ward_code String COMMENT 'Ward of the segment, official code of five digits',
    delay_veh_h Float64 COMMENT 'Vehicle-hours lost against free flow in the six newest closed ten minutes',
    flow_veh_h Nullable(Float64) COMMENT 'Mean flow, vehicles an hour',
    ratio Nullable(Float64) COMMENT 'Speed, mean by counts, / free-flow speed',
    minutes_at_EF UInt64 COMMENT 'Minutes at level of service E or worse',
    ward_name String COMMENT 'Name of that ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Event time of the newest reading used, UTC',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Readings received / expected of its detectors, 0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    length_m Float64 COMMENT 'Of the segment, m; 1000 where road_segments does not know it: delay a kilometre',
    is_length_known Bool COMMENT 'false: compare it with care',
    speed_km_h Nullable(Float64) COMMENT 'Mean by counts, km/h',
    ffs_km_h Nullable(Float64) COMMENT 'Free-flow speed, km/h',
    rank UInt64 COMMENT '1: the greatest delay'
)
SQL SECURITY INVOKER
AS SELECT
    s.segment_id AS segment_id, s.ward_code AS ward_code, s.hour_delay_veh_h AS delay_veh_h, s.hour_flow_veh_h AS flow_veh_h,
    s.hour_ratio AS ratio, s.hour_minutes_at_ef AS minutes_at_EF, s.ward_name AS ward_name, s.hour_as_of AS as_of,
    s.hour_good_n AS n, s.hour_coverage AS coverage, s.hour_quality AS quality,
    'vehicles x (length / speed - length / FFS) v1' AS method, s.hour_length_m AS length_m, s.is_length_known AS is_length_known,
    s.hour_speed_km_h AS speed_km_h, s.hour_ffs_km_h AS ffs_km_h,
    row_number() OVER (ORDER BY s.hour_delay_veh_h DESC, s.segment_id) AS rank
FROM
(
    SELECT *
    FROM cityfleet.traffic_now
    WHERE hour_delay_veh_h > 0 AND hour_to > now('UTC') - INTERVAL 30 MINUTE
    ORDER BY hour_delay_veh_h DESC, segment_id
    LIMIT 20
) AS s
COMMENT 'Question 10: the 20 segments that cost most time in the last hour, by vehicle-hours of delay.
Rule: per closed ten minutes vehicles x (length / speed - length / free-flow speed), never below 0. Segments without counts, speeds or a free-flow speed are not ranked.
Source: the readings themselves, lengths of cityfleet.road_segments.
Example: SELECT rank, segment_id, ward_name, delay_veh_h, minutes_at_EF FROM ioc.worst_segments_last_hour ORDER BY rank';
