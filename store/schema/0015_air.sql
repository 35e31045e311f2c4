-- Air quality indices by station: computed by store/rollup/steps from the hourly sums. See docs/air.md.
-- Little of it is asked for but the last hours, so time leads the order.

CREATE TABLE IF NOT EXISTS cityfleet.vn_aqi_1h {on_cluster}
(
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the station, see cityfleet.devices',
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the station at that time',
    station_id String CODEC(ZSTD(1)) COMMENT 'Name of the station',
    vn_aqi Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'VN_AQI of the hour; NULL without PM2.5 and PM10',
    dominant LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Parameter with the highest index',
    aqi_pm2_5 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the NowCast',
    aqi_pm10 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the NowCast',
    aqi_so2 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    aqi_no2 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    aqi_co Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    aqi_o3 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 1-hour mean',
    us_aqi Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'US AQI of the hour',
    us_dominant LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Parameter with the highest US index',
    pm2_5_nowcast Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'ug/m3, normalised',
    pm10_nowcast Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'ug/m3, normalised',
    n_hours UInt8 CODEC(ZSTD(1)) COMMENT 'Of the 12 hours of the NowCast, those with good readings; the better of PM2.5 and PM10',
    pm2_5 Nullable(Float64) CODEC(ZSTD(1)) COMMENT '1-hour mean of good readings, ug/m3',
    pm10 Nullable(Float64) CODEC(ZSTD(1)) COMMENT '1-hour mean of good readings, ug/m3',
    so2 Nullable(Float64) CODEC(ZSTD(1)) COMMENT '1-hour mean of good readings, ug/m3',
    no2 Nullable(Float64) CODEC(ZSTD(1)) COMMENT '1-hour mean of good readings, ug/m3',
    co Nullable(Float64) CODEC(ZSTD(1)) COMMENT '1-hour mean of good readings, ug/m3',
    o3 Nullable(Float64) CODEC(ZSTD(1)) COMMENT '1-hour mean of good readings, ug/m3',
    tsp Nullable(Float64) CODEC(ZSTD(1)) COMMENT '1-hour mean of good readings, ug/m3',
    co_8h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean of this hour and the 7 before, ug/m3; from 6 hours on',
    o3_8h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean of this hour and the 7 before, ug/m3; from 6 hours on',
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings of the hour, all pollutants',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    expected_n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings that its type promised; 0: nothing promised',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Newest good reading of the hour; 1970-01-01 without one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, device_num)
SETTINGS {durable};

CREATE TABLE IF NOT EXISTS cityfleet.vn_aqi_1d {on_cluster}
(
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the station, see cityfleet.devices',
    ts DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the day at +07:00: 17:00 UTC of the day before',
    day Date CODEC(Delta, ZSTD(1)) COMMENT 'The day at +07:00',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the station at the end of the day',
    station_id String CODEC(ZSTD(1)) COMMENT 'Name of the station',
    vn_aqi Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'VN_AQI of the day; NULL without PM2.5 and PM10 of 18 hours',
    dominant LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Parameter with the highest index',
    aqi_pm2_5 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 24-hour mean',
    aqi_pm10 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the 24-hour mean',
    aqi_so2 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the highest 1-hour mean',
    aqi_no2 Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the highest 1-hour mean',
    aqi_co Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the highest 1-hour mean',
    aqi_o3_1h Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the highest 1-hour mean',
    aqi_o3_8h Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Of the highest 8-hour mean; NULL above 400 ug/m3',
    pm2_5_24h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean of the 1-hour means, ug/m3; from 18 hours on',
    pm10_24h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean of the 1-hour means, ug/m3; from 18 hours on',
    so2_24h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean of the 1-hour means, ug/m3; from 18 hours on',
    no2_24h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean of the 1-hour means, ug/m3; from 18 hours on',
    tsp_24h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Mean of the 1-hour means, ug/m3; from 18 hours on',
    so2_1h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Highest 1-hour mean, ug/m3',
    no2_1h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Highest 1-hour mean, ug/m3',
    co_1h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Highest 1-hour mean, ug/m3',
    o3_1h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Highest 1-hour mean, ug/m3',
    o3_8h Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Highest of the day''s 8-hour means, ug/m3',
    max_vn_aqi_1h Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Highest hourly VN_AQI of the day',
    hours UInt8 CODEC(ZSTD(1)) COMMENT 'Hours with good readings of PM2.5 or PM10, the better of them',
    n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings of the day, all pollutants',
    good_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 1',
    suspect_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 3',
    fail_n UInt32 CODEC(ZSTD(1)) COMMENT 'Of quality 4',
    expected_n UInt32 CODEC(ZSTD(1)) COMMENT 'Readings that its type promised for the whole day; 0: nothing promised',
    last_ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Newest good reading of the day; 1970-01-01 without one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, milliseconds since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
PARTITION BY toYear(ts)
ORDER BY (ts, device_num)
SETTINGS {durable};
