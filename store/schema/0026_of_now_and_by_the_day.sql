-- Answers about the air now, made by steps of the rollups, and read as they are: columns are those of the views.

CREATE TABLE IF NOT EXISTS cityfleet.vn_aqi_now {on_cluster}
(
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the station in its newest hour; with device_num 0: the ward that the run is noted for, empty: the city',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the station; 0: no station, the run itself',
    station_id String CODEC(ZSTD(1)) COMMENT 'Name of the station',
    ts DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Start of its newest hour that has ended',
    vn_aqi Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'VN_AQI of that hour; NULL without PM2.5 and PM10',
    dominant LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Parameter with the highest index',
    category LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Of the index, in Vietnamese',
    colour LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Of the category, in Vietnamese',
    advice_vi LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Of the category',
    n_hours UInt8 CODEC(ZSTD(1)) COMMENT 'Of the 12 hours of the NowCast, those with good readings',
    ward_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Newest good reading of the hour; without one its start',
    n UInt64 CODEC(ZSTD(1)) COMMENT 'Readings of quality 1',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Readings received / promised, at most 1; NULL: nothing was promised',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Readings by quality',
    hex LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Colour of the category as #RRGGBB',
    aqi_pm2_5 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the NowCast',
    aqi_pm10 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the NowCast',
    aqi_so2 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    aqi_no2 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    aqi_co Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    aqi_o3 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    source LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Where the categories are written',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed; all that is true now has the highest',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (ward_code, device_num)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.ward_vn_aqi_now {on_cluster}
(
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Official code; empty: the city, of a row of the run itself',
    is_run Bool CODEC(ZSTD(1)) COMMENT 'No ward with an index, but the run itself',
    ts DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Hour of the station that is told',
    vn_aqi UInt16 CODEC(ZSTD(1)) COMMENT 'Highest of the stations of the ward',
    station_id String CODEC(ZSTD(1)) COMMENT 'Station that has it',
    dominant LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Parameter with the highest index',
    category LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Of the index, in Vietnamese',
    colour LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Of the category, in Vietnamese',
    advice_vi LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Of the category',
    n_hours UInt8 CODEC(ZSTD(1)) COMMENT 'Of the 12 hours of its NowCast, those with good readings',
    ward_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Newest event time used',
    n UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings of all its stations',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean of its stations; NULL: nothing was promised',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Readings of all its stations by quality',
    hex LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Colour of the category as #RRGGBB',
    stations_n UInt64 CODEC(ZSTD(1)) COMMENT 'Stations with an index now',
    source LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Where the categories are written',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed; all that is true now has the highest',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (ward_code, is_run)
SETTINGS {durable};

-- Every ward and every river, whether there is an alarm or not: an order in force is laid upon it when it is asked.
CREATE TABLE IF NOT EXISTS cityfleet.ward_alarms_now {on_cluster}
(
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Official code of five digits',
    river LowCardinality(String) CODEC(ZSTD(1)),
    ward_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of the ward',
    is_listed Bool CODEC(ZSTD(1)) COMMENT 'An order for the river is for this ward, see river_wards',
    list_source LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Source of that list',
    measured_level UInt8 CODEC(ZSTD(1)) COMMENT 'Highest level that a gauge of the river is at for this ward; 0: none',
    gauge_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'That gauge; empty: none',
    since_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'First reading at its threshold',
    last_m Float64 CODEC(ZSTD(1)) COMMENT 'Its newest level',
    last_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Of that level',
    threshold_m Float64 CODEC(ZSTD(1)) COMMENT 'Of measured_level',
    good_n UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings since since_ts',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of these, by those expected; NULL: no expectation',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed; all that is true now has the highest',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (ward_code, river)
SETTINGS {durable};

-- In place of ward_rain: what the views tell, so that they need not reckon. Of each ward two rows: the sums, and what is left of
-- them when they were not made anew for 20 minutes.
DROP TABLE IF EXISTS cityfleet.ward_rain {on_cluster} SYNC;

CREATE TABLE IF NOT EXISTS cityfleet.ward_rain_now {on_cluster}
(
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward whose account it is for; empty: of all gauges of the city',
    in_ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the gauges; -: no ward, the run itself',
    is_stale Bool CODEC(ZSTD(1)) COMMENT 'What is told 20 minutes after t10: no sums',
    in_ward_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of that ward',
    t10 DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'The running ten minutes, as of which the sums are',
    r1 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Rain of the last hour at the gauge that had most, mm; NULL: no gauge reported then',
    r2 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 2 hours',
    r3 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 3 hours',
    r12 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 12 hours',
    r24 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 24 hours',
    r48 Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Of 48 hours',
    class_24h LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Class of r24; empty: no rain, or not known',
    exceeds_2h Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'r2 is at mark_2h_mm',
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
    mark_source LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Where that is written',
    worst_gauge_id String CODEC(ZSTD(1)) COMMENT 'Gauge of r48',
    design_48h_mm Float64 CODEC(ZSTD(1)) COMMENT 'What the drainage is designed for',
    design_source LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Where that is written',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed; all that is true now has the highest',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (ward_code, in_ward_code, is_stale)
SETTINGS {durable};

-- The rows of ward_troubles with what people have done about them. `cityfleet alarm` brings them up to date at once.
CREATE TABLE IF NOT EXISTS cityfleet.open_alarms_now {on_cluster}
(
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward that it is for',
    domain LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'river, street_flood, air, traffic or devices',
    object_id String CODEC(ZSTD(1)) COMMENT 'As in ward_troubles',
    severity UInt8 CODEC(ZSTD(1)) COMMENT '1 to 3, 3 is the worst',
    title String CODEC(ZSTD(1)) COMMENT 'What is the matter, for people',
    value Nullable(Float64) CODEC(ZSTD(1)),
    threshold Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'What it has passed, in the same unit',
    since_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'When it began; actions of before are of another one',
    owner String CODEC(ZSTD(1)) COMMENT 'Of the newest action; empty: none',
    acknowledged_at Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'Of the first action',
    ward_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of the ward',
    last_ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'Newest reading used',
    good_n UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings used',
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT '0 to 1; NULL: no expectation',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) CODEC(ZSTD(1)) COMMENT 'Readings by quality',
    method LowCardinality(String) CODEC(ZSTD(1)),
    unit LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Of value and threshold',
    source String CODEC(ZSTD(1)) COMMENT 'Where the threshold comes from',
    status LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'open, acknowledged, closed or false_alarm',
    note String CODEC(ZSTD(1)) COMMENT 'Of the newest action',
    made_ms UInt64 CODEC(ZSTD(1)) COMMENT 'Version of the row of ward_troubles',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, ms since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: it is over'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (ward_code, domain, object_id)
SETTINGS {durable};

-- So that questions over a week or a month need the hours of their ends only.
ALTER TABLE cityfleet.readings_1d {on_cluster}
    ADD COLUMN IF NOT EXISTS first_hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'First hour with a reading; 1970-01-01: the first of the day' AFTER last_ts,
    ADD COLUMN IF NOT EXISTS last_hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Last hour with a reading; 1970-01-01: the last of the day' AFTER first_hour;

-- Rows with an empty ward_code are as seen from the whole city; the others are for the account of their ward.
CREATE TABLE IF NOT EXISTS cityfleet.street_floods_now {on_cluster}
(
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward whose account it is for; empty: as seen from the whole city',
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'The gauge; 0: none, the run itself',
    onset_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'As in street_floods',
    in_ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the gauge at the onset',
    ward_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of that ward',
    site_id String CODEC(ZSTD(1)) COMMENT 'Site of the gauge, else the gauge',
    device_id String CODEC(ZSTD(1)) COMMENT 'Name of the gauge',
    latitude Nullable(Float64) CODEC(ZSTD(1)),
    longitude Nullable(Float64) CODEC(ZSTD(1)),
    interval_s UInt32 CODEC(ZSTD(1)) COMMENT 'How often a depth should come; 0: no expectation',
    last_wet_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Last reading of 10 mm or more',
    peak_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'First reading of the greatest depth',
    max_depth_mm Float64 CODEC(ZSTD(1)),
    last_depth_mm Float64 CODEC(ZSTD(1)) COMMENT 'Newest reading of the event',
    last_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Of that reading',
    above_100mm_s Float64 CODEC(ZSTD(1)),
    above_300mm_s Float64 CODEC(ZSTD(1)),
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Good readings of the event',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Left out: quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Left out: quality 4',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed; all that is true now has the highest',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (ward_code, device_num, onset_ts)
SETTINGS {durable};

-- The hours of gateway_latency_1h put together.
CREATE TABLE IF NOT EXISTS cityfleet.gateway_latency_6h {on_cluster}
(
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the six hours: 00, 06, 12 or 18 UTC',
    gateway_id String CODEC(ZSTD(1)) COMMENT 'Empty: devices that speak for themselves',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the devices at that time',
    sampled_n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings looked at',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of them of quality 1, as ingest gave it',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    future_n UInt32 CODEC(ZSTD(1)) COMMENT 'More than a second ahead of their arrival',
    late_n UInt32 CODEC(ZSTD(1)) COMMENT 'More than three intervals of their device old when they arrived',
    least_ms Int64 CODEC(ZSTD(1)) COMMENT 'Least arrival minus event time, milliseconds',
    last_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Newest event time',
    buckets Array(UInt16) CODEC(ZSTD(1)) COMMENT 'floor(16 * log2(1 + latency in milliseconds))',
    counts Array(UInt32) CODEC(ZSTD(1)) COMMENT 'Readings in each bucket',
    hours Array(DateTime('UTC')) CODEC(ZSTD(1)) COMMENT 'Those with readings',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, gateway_id, ward_code)
SETTINGS {durable};
