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
