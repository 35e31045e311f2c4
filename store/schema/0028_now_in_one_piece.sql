-- Tables of now hold the newest run and nothing else: a step writes it beside (`_next`) and puts it in their place, whole. So a
-- question reads all there is, without asking first which run is the newest; and columns are what the views tell, for to
-- analyse an expression costs the engine more than to read what came of it. The next run fills them: within a minute, those of traffic when
-- the next ten minutes are closed.
-- Some have rows as seen from the whole city, and rows for the account of each ward.

DROP TABLE IF EXISTS cityfleet.fleet_now {on_cluster} SYNC;
DROP TABLE IF EXISTS cityfleet.river_now {on_cluster} SYNC;
DROP TABLE IF EXISTS cityfleet.rain_now {on_cluster} SYNC;
DROP TABLE IF EXISTS cityfleet.ward_rain_now {on_cluster} SYNC;
DROP TABLE IF EXISTS cityfleet.ward_alarms_now {on_cluster} SYNC;
DROP TABLE IF EXISTS cityfleet.street_floods_now {on_cluster} SYNC;
DROP TABLE IF EXISTS cityfleet.vn_aqi_now {on_cluster} SYNC;
DROP TABLE IF EXISTS cityfleet.ward_vn_aqi_now {on_cluster} SYNC;
DROP TABLE IF EXISTS cityfleet.traffic_now {on_cluster} SYNC;

CREATE TABLE cityfleet.fleet_now {on_cluster}
(
    for_ward Bool CODEC(ZSTD(1)) COMMENT 'For the account of ward_code; else as seen from the whole city, ward_code empty',
    ward_code String CODEC(ZSTD(1)) COMMENT 'Ward whose account it is for; empty: as seen from the whole city',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the device; 0: no device, the run itself',
    device_id String CODEC(ZSTD(1)) COMMENT 'Name of the device',
    kind String CODEC(ZSTD(1)) COMMENT 'Its type',
    in_ward_code String CODEC(ZSTD(1)) COMMENT 'Ward it stands in',
    in_ward_name String CODEC(ZSTD(1)) COMMENT 'Name of that ward',
    gateway_id String CODEC(ZSTD(1)),
    bts_site_id String CODEC(ZSTD(1)) COMMENT 'Site of kind bts of its gateway, else its own; or empty',
    site_id String CODEC(ZSTD(1)),
    vendor String CODEC(ZSTD(1)) COMMENT 'Label `vendor`, or empty',
    firmware String CODEC(ZSTD(1)) COMMENT 'As the device reported, else its label `firmware`, or empty',
    usual_firmware String CODEC(ZSTD(1)) COMMENT 'The most frequent one of its type',
    latitude Nullable(Float64) CODEC(ZSTD(1)),
    longitude Nullable(Float64) CODEC(ZSTD(1)),
    expected_interval_s UInt32 CODEC(ZSTD(1)) COMMENT 'How often it should report; 0: no expectation',
    since_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Event time of its newest reading, at most its arrival; without one its registration',
    last_ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'The same of its newest reading; NULL: none ever came',
    n UInt64 CODEC(ZSTD(1)) COMMENT 'Newest readings, one a metric, of quality 1 as ingest gave it',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Metrics of its type heard within 24 hours / those with an interval; NULL: none has one',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Newest readings by quality as ingest gave it',
    is_silent Bool CODEC(ZSTD(1)) COMMENT 'For three of its intervals',
    probable_cause String CODEC(ZSTD(1)) COMMENT 'Of the silence: late, city, ward, bts_site, gateway, vendor, type or device',
    cause_id String CODEC(ZSTD(1)) COMMENT 'Which of them',
    siblings_silent_n UInt64 CODEC(ZSTD(1)) COMMENT 'Silent ones among the siblings',
    siblings_n UInt64 CODEC(ZSTD(1)) COMMENT 'Other devices of that group',
    battery_ratio Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Newest one that does not fail, 0 to 1',
    battery_days_left Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Days until it is empty',
    rssi_dbm Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Newest one that does not fail',
    score UInt8 CODEC(ZSTD(1)) COMMENT 'How soon it wants a visit, see ioc.devices_to_service',
    reason String CODEC(ZSTD(1)) COMMENT 'What speaks for it, the gravest first',
    as_of DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Event time of the newest reading of any device that ward_code sees; 1970-01-01: none',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970'
)
ENGINE = {merge_tree}
ORDER BY (for_ward, ward_code, device_num)
SETTINGS {durable};

CREATE TABLE cityfleet.river_now {on_cluster}
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
    level_m Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Newest good level within a day',
    ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'Of that level',
    bd_level UInt8 CODEC(ZSTD(1)) COMMENT 'Alarm level of level_m; 0 none',
    threshold_m Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of bd_level',
    above_threshold_m Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'level_m less that',
    next_level Nullable(UInt8) CODEC(ZSTD(1)) COMMENT 'The next one above; NULL: none known',
    next_threshold_m Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of next_level',
    gap_to_next_m Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'That less level_m',
    threshold_source String CODEC(ZSTD(1)),
    rate_m_per_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Slope of the last 3 hours',
    rate_low_m_per_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Lower end of its interval of 95 %',
    rate_high_m_per_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Upper end of its interval of 95 %',
    eta_ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'When the level gets to next_level; NULL: not rising, or later than in 10 days',
    eta_low Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'Earliest',
    eta_high Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'Latest; NULL: it may never',
    qc_flag UInt8 CODEC(ZSTD(1)) COMMENT 'The worst of the newest ten minutes; 9: no readings',
    points_n UInt64 CODEC(ZSTD(1)) COMMENT 'Points of the slope',
    n UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings of the last 3 hours',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Readings of the last 3 hours / expected ones, at most 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Readings of the last 3 hours by quality',
    method LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Rule of bd_level',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970'
)
ENGINE = {merge_tree}
ORDER BY device_num
SETTINGS {durable};

CREATE TABLE cityfleet.rain_now {on_cluster}
(
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the gauge, see cityfleet.devices',
    ward_code String CODEC(ZSTD(1)) COMMENT 'Ward in which it stands, or in which it rained there then',
    device_id String CODEC(ZSTD(1)) COMMENT 'Name of the gauge; empty: it stands here no longer',
    interval_s UInt32 CODEC(ZSTD(1)) COMMENT 'Expected seconds between its readings; 0: no expectation',
    t10 DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Start of the running ten minutes, with which the windows end',
    r1 Float64 CODEC(ZSTD(1)) COMMENT 'Good rain of the last hour, mm',
    r2 Float64 CODEC(ZSTD(1)) COMMENT 'Of 2 hours',
    r3 Float64 CODEC(ZSTD(1)) COMMENT 'Of 3 hours',
    r12 Float64 CODEC(ZSTD(1)) COMMENT 'Of 12 hours',
    r24 Float64 CODEC(ZSTD(1)) COMMENT 'Of 24 hours',
    r48 Float64 CODEC(ZSTD(1)) COMMENT 'Of 48 hours',
    n1 UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings of the last hour',
    n2 UInt64 CODEC(ZSTD(1)) COMMENT 'Of 2 hours',
    n3 UInt64 CODEC(ZSTD(1)) COMMENT 'Of 3 hours',
    n12 UInt64 CODEC(ZSTD(1)) COMMENT 'Of 12 hours',
    n24 UInt64 CODEC(ZSTD(1)) COMMENT 'Of 24 hours',
    n48 UInt64 CODEC(ZSTD(1)) COMMENT 'Of 48 hours',
    all24 UInt64 CODEC(ZSTD(1)) COMMENT 'Readings of the last 24 hours, of any quality',
    suspect24 UInt64 CODEC(ZSTD(1)) COMMENT 'Of these, of quality 3',
    fail24 UInt64 CODEC(ZSTD(1)) COMMENT 'Of these, of quality 4',
    s07 Float64 CODEC(ZSTD(1)) COMMENT 'Good rain since 07:00 local time, mm',
    s19 Float64 CODEC(ZSTD(1)) COMMENT 'Since 19:00 local time',
    newest DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Of the newest good reading; 1970-01-01 without one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970'
)
ENGINE = {merge_tree}
ORDER BY (device_num, ward_code)
SETTINGS {durable};

-- Of each ward two rows: the sums, and what is left of them when they were not made anew for 20 minutes.
CREATE TABLE cityfleet.ward_rain_now {on_cluster}
(
    for_ward Bool CODEC(ZSTD(1)) COMMENT 'For the account of ward_code; else as seen from the whole city, ward_code empty',
    ward_code String CODEC(ZSTD(1)) COMMENT 'Ward whose account it is for; empty: of all gauges of the city',
    in_ward_code String CODEC(ZSTD(1)) COMMENT 'Ward of the gauges',
    is_stale Bool CODEC(ZSTD(1)) COMMENT 'What is told 20 minutes after t10: no sums',
    in_ward_name String CODEC(ZSTD(1)) COMMENT 'Name of that ward',
    t10 DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'The running ten minutes, as of which the sums are',
    r1 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Rain of the last hour at the gauge that had most, mm',
    r2 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 2 hours',
    r3 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 3 hours',
    r12 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 12 hours',
    r24 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 24 hours',
    r48 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 48 hours',
    class_24h String CODEC(ZSTD(1)) COMMENT 'Class of r24; empty: none',
    exceeds_2h Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'r2 has reached mark_2h_mm',
    gauges_n UInt64 CODEC(ZSTD(1)) COMMENT 'Active gauges',
    reporting_n UInt64 CODEC(ZSTD(1)) COMMENT 'Of these, with a good reading in the last hour',
    newest Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'Newest good reading',
    good_n UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings of the last 24 hours',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Readings of the last 24 hours / expected ones, at most 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Readings of the last 24 hours by quality',
    m1 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean of the last hour over the gauges that reported in it, mm',
    m2 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 2 hours',
    m3 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 3 hours',
    m12 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 12 hours',
    m24 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 24 hours',
    m48 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 48 hours',
    s07 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Since 07:00 local time at the gauge that had most, mm',
    s19 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Since 19:00 local time',
    mark_2h_mm Float64 CODEC(ZSTD(1)) COMMENT 'From which streets flood',
    mark_source String CODEC(ZSTD(1)) COMMENT 'Where that is written',
    worst_gauge_id String CODEC(ZSTD(1)) COMMENT 'Gauge of r48',
    design_48h_mm Float64 CODEC(ZSTD(1)) COMMENT 'What the drainage is designed for',
    design_source String CODEC(ZSTD(1)) COMMENT 'Where that is written',
    pct_of_310 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'r48 in per cent of design_48h_mm',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970'
)
ENGINE = {merge_tree}
ORDER BY (for_ward, ward_code, in_ward_code, is_stale)
SETTINGS {durable};

-- Every ward and every river, whether there is an alarm or not: an order in force is laid upon it when it is asked.
CREATE TABLE cityfleet.ward_alarms_now {on_cluster}
(
    ward_code String CODEC(ZSTD(1)) COMMENT 'Official code of five digits',
    river String CODEC(ZSTD(1)),
    ward_name String CODEC(ZSTD(1)) COMMENT 'Name of the ward',
    is_listed Bool CODEC(ZSTD(1)) COMMENT 'An order for the river is for this ward, see river_wards',
    list_source String CODEC(ZSTD(1)) COMMENT 'Source of that list',
    measured_level UInt8 CODEC(ZSTD(1)) COMMENT 'Highest level that a gauge of the river is at for this ward; 0: none',
    gauge_id String CODEC(ZSTD(1)) COMMENT 'That gauge; empty: none',
    since_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'First reading at its threshold; 1970-01-01: none',
    measured_since_ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'The same; NULL: none',
    measured_m Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Its newest level',
    threshold_m Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of measured_level',
    as_of Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'Of measured_m',
    n UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings since since_ts',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of these, by those expected; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Readings since since_ts; only good ones are counted',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970'
)
ENGINE = {merge_tree}
ORDER BY (ward_code, river)
SETTINGS {durable};

CREATE TABLE cityfleet.street_floods_now {on_cluster}
(
    for_ward Bool CODEC(ZSTD(1)) COMMENT 'For the account of ward_code; else as seen from the whole city, ward_code empty',
    ward_code String CODEC(ZSTD(1)) COMMENT 'Ward whose account it is for; empty: as seen from the whole city',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'The gauge',
    onset_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'As in street_floods',
    in_ward_code String CODEC(ZSTD(1)) COMMENT 'Ward of the gauge at the onset',
    ward_name String CODEC(ZSTD(1)) COMMENT 'Name of that ward',
    site_id String CODEC(ZSTD(1)) COMMENT 'Site of the gauge, else the gauge',
    device_id String CODEC(ZSTD(1)) COMMENT 'Name of the gauge',
    event_id String CODEC(ZSTD(1)) COMMENT 'Of gauge and onset',
    latitude Nullable(Float64) CODEC(ZSTD(1)),
    longitude Nullable(Float64) CODEC(ZSTD(1)),
    last_wet_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Last reading of 10 mm or more',
    peak_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'First reading of the greatest depth',
    max_depth_mm Float64 CODEC(ZSTD(1)),
    depth_mm Float64 CODEC(ZSTD(1)) COMMENT 'Newest reading of the event',
    as_of DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Of that reading',
    minutes_above_100mm Float64 CODEC(ZSTD(1)),
    minutes_above_300mm Float64 CODEC(ZSTD(1)),
    n UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings of the event',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Readings of the event / expected ones, at most 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Readings of the event by quality',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970'
)
ENGINE = {merge_tree}
ORDER BY (for_ward, ward_code, device_num, onset_ts)
SETTINGS {durable};

CREATE TABLE cityfleet.vn_aqi_now {on_cluster}
(
    ward_code String CODEC(ZSTD(1)) COMMENT 'Ward of the station in its newest hour',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the station',
    station_id String CODEC(ZSTD(1)) COMMENT 'Name of the station',
    ts DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Start of its newest hour that has ended',
    vn_aqi Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'VN_AQI of that hour; NULL without PM2.5 and PM10',
    dominant String CODEC(ZSTD(1)) COMMENT 'Parameter with the highest index',
    category String CODEC(ZSTD(1)) COMMENT 'Of the index, in Vietnamese',
    colour String CODEC(ZSTD(1)) COMMENT 'Of the category, in Vietnamese',
    advice_vi String CODEC(ZSTD(1)) COMMENT 'Of the category',
    n_hours UInt8 CODEC(ZSTD(1)) COMMENT 'Of the 12 hours of the NowCast, those with good readings',
    ward_name String CODEC(ZSTD(1)) COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Newest good reading of the hour; without one its start',
    n UInt64 CODEC(ZSTD(1)) COMMENT 'Readings of quality 1',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Readings received / promised, at most 1; NULL: nothing was promised',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Readings by quality',
    hex String CODEC(ZSTD(1)) COMMENT 'Colour of the category as #RRGGBB',
    aqi_pm2_5 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the NowCast',
    aqi_pm10 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the NowCast',
    aqi_so2 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    aqi_no2 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    aqi_co Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    aqi_o3 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    source String CODEC(ZSTD(1)) COMMENT 'Where the categories are written',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970'
)
ENGINE = {merge_tree}
ORDER BY (ward_code, device_num)
SETTINGS {durable};

CREATE TABLE cityfleet.ward_vn_aqi_now {on_cluster}
(
    ward_code String CODEC(ZSTD(1)) COMMENT 'Official code of five digits',
    ts DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Hour of the station that is told',
    vn_aqi UInt16 CODEC(ZSTD(1)) COMMENT 'Highest of the stations of the ward',
    station_id String CODEC(ZSTD(1)) COMMENT 'Station that has it',
    dominant String CODEC(ZSTD(1)) COMMENT 'Parameter with the highest index',
    category String CODEC(ZSTD(1)) COMMENT 'Of the index, in Vietnamese',
    colour String CODEC(ZSTD(1)) COMMENT 'Of the category, in Vietnamese',
    advice_vi String CODEC(ZSTD(1)) COMMENT 'Of the category',
    n_hours UInt8 CODEC(ZSTD(1)) COMMENT 'Of the 12 hours of its NowCast, those with good readings',
    ward_name String CODEC(ZSTD(1)) COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Newest event time used',
    n UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings of all its stations',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean of its stations; NULL: nothing was promised',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Readings of all its stations by quality',
    hex String CODEC(ZSTD(1)) COMMENT 'Colour of the category as #RRGGBB',
    stations_n UInt64 CODEC(ZSTD(1)) COMMENT 'Stations with an index now',
    source String CODEC(ZSTD(1)) COMMENT 'Where the categories are written',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970'
)
ENGINE = {merge_tree}
ORDER BY ward_code
SETTINGS {durable};

CREATE TABLE cityfleet.traffic_now {on_cluster}
(
    segment_id String CODEC(ZSTD(1)),
    ward_code String CODEC(ZSTD(1)),
    ward_name String CODEC(ZSTD(1)) COMMENT 'Name of that ward',
    ts DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Start of the newest closed ten minutes; 1970-01-01: none of the last half hour',
    speed_km_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean by counts; NULL: none',
    ffs_km_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Free-flow speed; NULL: not known',
    ffs_by String CODEC(ZSTD(1)) COMMENT 'declared, nights or empty',
    ratio Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'speed_km_h / ffs_km_h',
    congestion_index Nullable(Float64) CODEC(ZSTD(1)) COMMENT '1 less ratio, 0 to 1',
    los String CODEC(ZSTD(1)) COMMENT 'Empty: cannot be told',
    los_level UInt8 CODEC(ZSTD(1)) COMMENT '1 A, 2 B ...; 0: cannot be told',
    los_scheme String CODEC(ZSTD(1)),
    los_source String CODEC(ZSTD(1)) COMMENT 'Where the scheme is written',
    flow_veh_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'NULL: nothing counts here',
    flow_pcu_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'NULL: nothing counts here',
    occupancy Nullable(Float64) CODEC(ZSTD(1)) COMMENT '0 to 1; NULL: none',
    typical_ratio Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Typical speed / ffs_km_h',
    delta Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'ratio - typical_ratio',
    speed_z Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Robust sigmas from the typical; NULL: not known',
    as_of DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Of the newest good reading',
    n UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Readings / expected ones, at most 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Readings by quality',
    hour_to DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'End of the six ten minutes that are the last hour',
    hour_delay_veh_h Float64 CODEC(ZSTD(1)) COMMENT 'Vehicle-hours lost in it against free flow; 0: none, or it cannot be told',
    hour_flow_veh_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean',
    hour_speed_km_h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean by counts',
    hour_ffs_km_h Nullable(Float64) CODEC(ZSTD(1)),
    hour_ratio Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'hour_speed_km_h / hour_ffs_km_h',
    is_length_known Bool CODEC(ZSTD(1)),
    hour_length_m Float64 CODEC(ZSTD(1)) COMMENT 'Where it is not known 1000',
    hour_minutes_at_ef UInt64 CODEC(ZSTD(1)) COMMENT 'Minutes at E or worse',
    hour_as_of DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Of the newest good reading of it',
    hour_good_n UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings of it',
    hour_coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Its readings / expected ones, at most 1; NULL: no expectation',
    hour_quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Its readings by quality',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970'
)
ENGINE = {merge_tree}
ORDER BY segment_id
SETTINGS {durable};

DROP TABLE IF EXISTS cityfleet.fleet_now_next {on_cluster} SYNC;
CREATE TABLE cityfleet.fleet_now_next {on_cluster} AS cityfleet.fleet_now;
DROP TABLE IF EXISTS cityfleet.river_now_next {on_cluster} SYNC;
CREATE TABLE cityfleet.river_now_next {on_cluster} AS cityfleet.river_now;
DROP TABLE IF EXISTS cityfleet.rain_now_next {on_cluster} SYNC;
CREATE TABLE cityfleet.rain_now_next {on_cluster} AS cityfleet.rain_now;
DROP TABLE IF EXISTS cityfleet.ward_rain_now_next {on_cluster} SYNC;
CREATE TABLE cityfleet.ward_rain_now_next {on_cluster} AS cityfleet.ward_rain_now;
DROP TABLE IF EXISTS cityfleet.ward_alarms_now_next {on_cluster} SYNC;
CREATE TABLE cityfleet.ward_alarms_now_next {on_cluster} AS cityfleet.ward_alarms_now;
DROP TABLE IF EXISTS cityfleet.street_floods_now_next {on_cluster} SYNC;
CREATE TABLE cityfleet.street_floods_now_next {on_cluster} AS cityfleet.street_floods_now;
DROP TABLE IF EXISTS cityfleet.vn_aqi_now_next {on_cluster} SYNC;
CREATE TABLE cityfleet.vn_aqi_now_next {on_cluster} AS cityfleet.vn_aqi_now;
DROP TABLE IF EXISTS cityfleet.ward_vn_aqi_now_next {on_cluster} SYNC;
CREATE TABLE cityfleet.ward_vn_aqi_now_next {on_cluster} AS cityfleet.ward_vn_aqi_now;
DROP TABLE IF EXISTS cityfleet.traffic_now_next {on_cluster} SYNC;
CREATE TABLE cityfleet.traffic_now_next {on_cluster} AS cityfleet.traffic_now;

-- Who writes an action down lays it upon the row that is there, by a newer one: so it is read with FINAL.
DROP TABLE IF EXISTS cityfleet.open_alarms_now_next {on_cluster} SYNC;
CREATE TABLE cityfleet.open_alarms_now_next {on_cluster} AS cityfleet.open_alarms_now;
