-- Answers about now that would go through all devices, or all the rain, each time: made by steps of the rollups, and read.
-- Rows with an empty ward_code are as seen from the whole city; the others are for the account of their ward.

CREATE TABLE IF NOT EXISTS cityfleet.fleet_now {on_cluster}
(
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward whose account it is for; empty: as seen from the whole city',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the device; 0: no device, the run itself',
    device_id String CODEC(ZSTD(1)) COMMENT 'Name of the device',
    device_type LowCardinality(String) CODEC(ZSTD(1)),
    in_ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward it stands in',
    in_ward_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of that ward',
    gateway_id String CODEC(ZSTD(1)),
    bts_site_id String CODEC(ZSTD(1)) COMMENT 'Site of kind bts of its gateway, else its own; or empty',
    site_id String CODEC(ZSTD(1)),
    vendor LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Label `vendor`, or empty',
    firmware LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Label `firmware`, or empty',
    usual_firmware LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The most frequent one of its type',
    latitude Nullable(Float64) CODEC(ZSTD(1)),
    longitude Nullable(Float64) CODEC(ZSTD(1)),
    interval_s UInt32 CODEC(ZSTD(1)) COMMENT 'How often it should report; 0: no expectation',
    since_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Event time of its newest reading, at most its arrival; without one its registration',
    newest_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'The same of its newest reading; 1970-01-01: none ever came',
    good_n UInt16 CODEC(ZSTD(1)) COMMENT 'Newest readings, one a metric, of quality 1 as ingest gave it',
    suspect_n UInt16 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt16 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    is_silent Bool CODEC(ZSTD(1)) COMMENT 'For three of its intervals',
    cause LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Of the silence: late, city, ward, bts_site, gateway, vendor, type or device',
    cause_id String CODEC(ZSTD(1)) COMMENT 'Which of them',
    siblings_silent_n UInt32 CODEC(ZSTD(1)) COMMENT 'Silent ones among the siblings',
    siblings_n UInt32 CODEC(ZSTD(1)) COMMENT 'Other devices of that group',
    battery_pct Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Newest one that does not fail',
    battery_days_left Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Days until it is empty',
    rssi_dbm Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Newest one that does not fail',
    score UInt8 CODEC(ZSTD(1)) COMMENT 'How soon it wants a visit, see ioc.devices_to_service',
    reason LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What speaks for it, the gravest first',
    newest_of_all DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Event time of the newest reading of any device that ward_code sees; 1970-01-01: none',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed; all that is true now has the highest',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (ward_code, device_num)
SETTINGS {durable};

-- It is kept as long as the events are.
CREATE TABLE IF NOT EXISTS cityfleet.street_flood_rain {on_cluster}
(
    onset_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'With device_num: the event of cityfleet.street_floods',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'The street gauge',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the event, whose own rain gauges it is of; empty: of those of the whole city',
    rain_2h_mm Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Twelve times ten minutes, the last of which holds the onset; NULL: no good readings',
    gauge_num UInt32 CODEC(ZSTD(1)) COMMENT 'The nearest rain gauge, within 5 km',
    gauge_id String CODEC(ZSTD(1)) COMMENT 'Its name',
    distance_m Float64 CODEC(ZSTD(1)) COMMENT 'How far it is',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'The highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (onset_ts, device_num, ward_code)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.river_now {on_cluster}
(
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'See alarm_gauges',
    gauge_id String CODEC(ZSTD(1)) COMMENT 'Name of the device',
    name String CODEC(ZSTD(1)) COMMENT 'Of the station, else of the device',
    river String CODEC(ZSTD(1)) COMMENT 'Empty: not at a known station',
    station_id String CODEC(ZSTD(1)),
    ward_code String CODEC(ZSTD(1)) COMMENT 'Ward it stands in',
    ward_name String CODEC(ZSTD(1)) COMMENT 'Name of that ward',
    latitude Nullable(Float64) CODEC(ZSTD(1)),
    longitude Nullable(Float64) CODEC(ZSTD(1)),
    expected_interval_s UInt32 CODEC(ZSTD(1)) COMMENT 'Between two levels; 0: no expectation',
    level_m Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Newest good level within a day',
    level_ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    newest_flag UInt8 CODEC(ZSTD(1)) COMMENT 'The worst of the newest ten minutes; 9: no readings',
    all_n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings of the last 3 hours',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    points_n UInt32 CODEC(ZSTD(1)) COMMENT 'Points of the slope',
    rate_m_per_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Slope of the last 3 hours',
    rate_half_m_per_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Half of its interval of 95 %',
    has_thresholds Bool CODEC(ZSTD(1)) COMMENT 'Whether any level of the station is known',
    bd_level UInt8 CODEC(ZSTD(1)) COMMENT 'Alarm level of level_m; 0 none',
    threshold_m Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of bd_level',
    next_level Nullable(UInt8) CODEC(ZSTD(1)) COMMENT 'The next one above; NULL: none known',
    next_threshold_m Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of next_level',
    threshold_source String CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed; all that is true now has the highest',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY device_num
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.ward_rain {on_cluster}
(
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward whose account it is for, of its own gauges; empty: as seen from the whole city',
    in_ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the gauges',
    in_ward_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of that ward',
    t10 DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Start of the running ten minutes, with which the windows end',
    r1 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Rain of the last hour at the gauge that had most, mm',
    r2 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 2 hours',
    r3 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 3 hours',
    r12 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 12 hours',
    r24 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 24 hours',
    r48 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 48 hours',
    m1 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean over the gauges that reported in the last hour, mm',
    m2 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 2 hours',
    m3 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 3 hours',
    m12 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 12 hours',
    m24 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 24 hours',
    m48 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 48 hours',
    s07 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Since 07:00 local time at the gauge that had most, mm',
    s19 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Since 19:00 local time',
    worst_gauge_id String CODEC(ZSTD(1)) COMMENT 'Gauge of r48',
    gauges_n UInt32 CODEC(ZSTD(1)) COMMENT 'Active gauges',
    reporting_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of these, with a good reading in the last hour',
    all24 UInt64 CODEC(ZSTD(1)) COMMENT 'Readings of the last 24 hours',
    good24 UInt64 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect24 UInt64 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail24 UInt64 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    expected24 Float64 CODEC(ZSTD(1)) COMMENT 'Expected ones; 0: no expectation',
    newest DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Of the newest good reading; 1970-01-01 without one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed; all that is true now has the highest',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (ward_code, in_ward_code)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.traffic_now {on_cluster}
(
    segment_id String CODEC(ZSTD(1)),
    ward_code LowCardinality(String) CODEC(ZSTD(1)),
    ward_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of that ward',
    ts DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Start of the newest closed ten minutes; 1970-01-01: none of the last half hour',
    flow_veh_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: nothing counts here',
    flow_pcu_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: nothing counts here',
    speed_km_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: none',
    occupancy Float64 CODEC(ZSTD(1)) COMMENT '0 to 1; NaN: none',
    free_flow_km_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: not known',
    free_flow_by LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'declared, nights or empty',
    los_scheme LowCardinality(String) CODEC(ZSTD(1)),
    los_source LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Where the scheme is written',
    los LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Empty: cannot be told',
    los_level UInt8 CODEC(ZSTD(1)) COMMENT '1 A, 2 B ...; 0: cannot be told',
    typical_speed_km_h Float64 CODEC(ZSTD(1)) COMMENT 'NaN: not known',
    speed_z Float64 CODEC(ZSTD(1)) COMMENT 'Robust sigmas from the typical; NaN: not known',
    n UInt32 CODEC(ZSTD(1)),
    good_n UInt32 CODEC(ZSTD(1)),
    suspect_n UInt32 CODEC(ZSTD(1)),
    fail_n UInt32 CODEC(ZSTD(1)),
    expected_n Float64 CODEC(ZSTD(1)),
    last_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Of the newest good reading',
    hour_to DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'End of the six ten minutes that are the last hour',
    hour_delay_veh_h Float64 CODEC(ZSTD(1)) COMMENT 'Vehicle-hours lost in it against free flow; 0: none, or it cannot be told',
    hour_flow_veh_h Float64 CODEC(ZSTD(1)) COMMENT 'Mean',
    hour_speed_km_h Float64 CODEC(ZSTD(1)) COMMENT 'Mean by counts',
    hour_free_flow_km_h Float64 CODEC(ZSTD(1)),
    hour_length_m Float64 CODEC(ZSTD(1)) COMMENT '0: not known',
    hour_ef_n UInt8 CODEC(ZSTD(1)) COMMENT 'Ten minutes at E or worse',
    hour_n UInt32 CODEC(ZSTD(1)),
    hour_good_n UInt32 CODEC(ZSTD(1)),
    hour_suspect_n UInt32 CODEC(ZSTD(1)),
    hour_fail_n UInt32 CODEC(ZSTD(1)),
    hour_expected_n Float64 CODEC(ZSTD(1)),
    hour_last_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Of the newest good reading of it',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed; all that is true now has the highest',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY segment_id
SETTINGS {durable};
