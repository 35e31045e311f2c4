-- The index of the air now: question 14: read from what steps find (vn_aqi_now, ward_vn_aqi_now).

CREATE OR REPLACE VIEW ioc.vn_aqi_now {on_cluster}
(
    station_id String COMMENT 'Name of the station, the device_id of ioc.devices',
    ward_code String COMMENT 'Official code of five digits',
    ts DateTime('UTC') COMMENT 'Start of the hour, UTC',
    vn_aqi Nullable(UInt16) COMMENT 'VN_AQI of that hour; NULL where neither PM2.5 nor PM10 has enough hours',
    dominant String COMMENT 'Parameter with the highest index: pm2_5, pm10, so2, no2, co or o3',
    category String COMMENT 'Category of the index, in Vietnamese',
    colour String COMMENT 'Colour of the category, in Vietnamese',
    advice_vi String COMMENT 'Health advice of the category; empty where the text is not at hand',
    n_hours UInt8 COMMENT 'Of the 12 hours behind the NowCast, those with good readings',
    ward_name String COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Newest event time used, UTC',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Readings received by readings promised, 0 to 1; NULL where nothing was promised',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality: good, suspect, fail; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    hex String COMMENT 'Colour of the category as #RRGGBB',
    is_current Bool COMMENT 'The hour ended at most two hours ago',
    aqi_pm2_5 Nullable(UInt16) COMMENT 'Index of PM2.5, by its NowCast',
    aqi_pm10 Nullable(UInt16) COMMENT 'Index of PM10, by its NowCast',
    aqi_so2 Nullable(UInt16) COMMENT 'Index of SO2, by the 1-hour mean',
    aqi_no2 Nullable(UInt16) COMMENT 'Index of NO2, by the 1-hour mean',
    aqi_co Nullable(UInt16) COMMENT 'Index of CO, by the 1-hour mean',
    aqi_o3 Nullable(UInt16) COMMENT 'Index of O3, by the 1-hour mean',
    source String COMMENT 'Text that the categories are written in'
)
SQL SECURITY INVOKER
AS SELECT
    station_id, ward_code, ts, vn_aqi, dominant, category, colour, advice_vi, n_hours, ward_name, as_of, n, coverage, quality,
    'VN_AQI/QD1459-2019 v1' AS method, hex, toBool(ts >= now() - INTERVAL 3 HOUR) AS is_current, aqi_pm2_5, aqi_pm10, aqi_so2, aqi_no2,
    aqi_co, aqi_o3, source
FROM cityfleet.vn_aqi_now
-- Where nothing computes any more they go by their age.
WHERE ts > now() - INTERVAL 25 HOUR
COMMENT 'Question 14: VN_AQI now at each station, with the dominant parameter, category and advice.
The newest hour that has ended, of every station heard in the last 25 hours: see is_current. A station is a device. PM2.5 and PM10 go by the NowCast of 12 hours, the gases by the mean of the hour, the index is the highest of them. At least one of PM2.5 and PM10 is needed.
Source: Decision 1459/QD-TCMT of 12 November 2019. The text does not say what becomes of the NowCast with hours missing: here it is normalised (docs/air.md).
Example: the page that the Decision asks for, with the name and place of each station.
SELECT d.display_name, d.latitude, d.longitude, a.ts, a.vn_aqi, a.dominant, a.category, a.advice_vi, a.method FROM ioc.vn_aqi_now AS a INNER JOIN ioc.devices AS d ON d.device_id = a.station_id WHERE a.is_current ORDER BY a.vn_aqi DESC';

CREATE OR REPLACE VIEW ioc.ward_vn_aqi_now {on_cluster}
(
    ward_code String COMMENT 'Official code of five digits',
    ts DateTime('UTC') COMMENT 'Start of the hour, UTC',
    vn_aqi UInt16 COMMENT 'Highest VN_AQI of the ward''s stations',
    station_id String COMMENT 'Station that has it',
    dominant String COMMENT 'Parameter with the highest index: pm2_5, pm10, so2, no2, co or o3',
    category String COMMENT 'Category of the index, in Vietnamese',
    colour String COMMENT 'Colour of the category, in Vietnamese',
    advice_vi String COMMENT 'Health advice of the category; empty where the text is not at hand',
    n_hours UInt8 COMMENT 'Of the 12 hours behind its NowCast, those with good readings',
    ward_name String COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Newest event time used, UTC',
    n UInt64 COMMENT 'Good readings used of all its stations',
    coverage Nullable(Float64) COMMENT 'Readings received by readings promised, 0 to 1; NULL where nothing was promised of all its stations',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality: good, suspect, fail; only good ones are used of all its stations',
    method LowCardinality(String) COMMENT 'Rule and its version',
    hex String COMMENT 'Colour of the category as #RRGGBB',
    stations_n UInt64 COMMENT 'Stations of the ward with an index now',
    source String COMMENT 'Text that the categories are written in'
)
SQL SECURITY INVOKER
AS SELECT
    ward_code, ts, vn_aqi, station_id, dominant, category, colour, advice_vi, n_hours, ward_name, as_of, n, coverage, quality,
    'VN_AQI/QD1459-2019 v1' AS method, hex, stations_n, source
FROM cityfleet.ward_vn_aqi_now
-- As in ioc.vn_aqi_now.
WHERE ts >= now() - INTERVAL 3 HOUR
COMMENT 'Question 14, by ward: the highest VN_AQI of the stations in each ward now, and which station that is.
A ward without a station that has an index of the last two hours is not there.
Source: Decision 1459/QD-TCMT of 12 November 2019.
Example: wards where sensitive people should stay in.
SELECT ward_code, ward_name, vn_aqi, category, dominant, station_id, ts FROM ioc.ward_vn_aqi_now WHERE vn_aqi > 100 ORDER BY vn_aqi DESC';
