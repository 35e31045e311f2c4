-- Hours of bad air, and the two scales: questions 17 and 18.

CREATE OR REPLACE VIEW ioc.ward_bad_air_hours {on_cluster}
(
    ward_code String COMMENT 'Official code of five digits',
    hours_gt150 UInt64 COMMENT 'Hours in which a station of the ward had a VN_AQI above 150',
    max_vn_aqi UInt16 COMMENT 'Highest hourly VN_AQI of the period',
    mean_rain_mm Nullable(Float64) COMMENT 'Rain of those hours, mean over hours and over the ward''s gauges, mm an hour; NULL without a gauge',
    rank UInt64 COMMENT '1: the most such hours; equal ones share it',
    ward_name String COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Newest event time used, UTC',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Hours with an index in the ward, by the hours of the period',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality: good, suspect, fail; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    hours_n UInt64 COMMENT 'Hours with an index in the ward',
    stations_n UInt64 COMMENT 'Its stations',
    mean_wind_m_s Nullable(Float64) COMMENT 'Mean wind of those hours at the ward''s instruments, m/s; NULL without one',
    threshold UInt16 COMMENT 'Above this: Xấu and worse',
    source String COMMENT 'Text that the categories are written in'
)
SQL SECURITY INVOKER
AS WITH
    hours AS
    (
        SELECT
            h.ward_code AS ward_code, h.ts AS ts, assumeNotNull(max(h.vn_aqi)) AS vn_aqi, groupUniqArray(h.device_num) AS stations,
            sum(h.good_n) AS good, sum(h.suspect_n) AS suspect, sum(h.fail_n) AS fail, max(h.last_ts) AS last_ts
        FROM cityfleet.vn_aqi_1h AS h FINAL
        WHERE h.ts >= {from:DateTime('UTC')} AND h.ts < {to:DateTime('UTC')} AND h.ts <= now() - INTERVAL 1 HOUR
            AND h.vn_aqi IS NOT NULL
        GROUP BY ward_code, ts
    ),
    weather AS
    (
        SELECT
            ward_code, ts, avgIf(device_sum, metric = 'rain_mm') AS rain_mm,
            avgIf(device_sum / device_n, metric = 'wind_m_s') AS wind_m_s
        FROM
        (
            SELECT r.ward_code AS ward_code, r.ts AS ts, r.device_num, p.metric AS metric, sum(r.sum) AS device_sum, sum(r.good_n) AS device_n
            FROM cityfleet.readings_1h AS r FINAL
            INNER JOIN (SELECT metric_num, metric FROM cityfleet.metrics FINAL) AS p ON p.metric_num = r.metric_num
            WHERE r.ts >= {from:DateTime('UTC')} AND r.ts < {to:DateTime('UTC')}
                AND r.metric_num IN (SELECT metric_num FROM cityfleet.metrics FINAL WHERE metric IN ('rain_mm', 'wind_m_s'))
                AND (r.ward_code, r.ts) IN (SELECT ward_code, ts FROM hours WHERE vn_aqi > 150)
            GROUP BY ward_code, ts, r.device_num, metric
            HAVING device_n > 0
        )
        GROUP BY ward_code, ts
    )
SELECT
    b.ward_code AS ward_code, b.hours_gt150 AS hours_gt150, b.max_vn_aqi AS max_vn_aqi,
    if(isNaN(b.rain), NULL, b.rain) AS mean_rain_mm, rank() OVER (ORDER BY b.hours_gt150 DESC, b.max_vn_aqi DESC) AS rank,
    w.name AS ward_name, b.as_of AS as_of, b.good AS n,
    least(1., b.hours_n / greatest(1, dateDiff('hour', {from:DateTime('UTC')}, least({to:DateTime('UTC')}, now())))) AS coverage,
    CAST((b.good, b.suspect, b.fail), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality, 'VN_AQI/QD1459-2019 v1' AS method, b.hours_n AS hours_n,
    b.stations_n AS stations_n, if(isNaN(b.wind), NULL, b.wind) AS mean_wind_m_s, toUInt16(150) AS threshold,
    (SELECT any(source) FROM cityfleet.aqi_categories FINAL WHERE scheme = 'vn_aqi' AND aqi_low = 151) AS source
FROM
(
    SELECT
        h.ward_code AS ward_code, countIf(h.vn_aqi > 150) AS hours_gt150, max(h.vn_aqi) AS max_vn_aqi,
        avgIf(t.rain_mm, t.ward_code != '' AND isFinite(t.rain_mm)) AS rain, avgIf(t.wind_m_s, t.ward_code != '' AND isFinite(t.wind_m_s)) AS wind,
        max(h.last_ts) AS as_of, sum(h.good) AS good, sum(h.suspect) AS suspect, sum(h.fail) AS fail, count() AS hours_n,
        uniqExactArray(h.stations) AS stations_n
    FROM hours AS h
    LEFT JOIN weather AS t ON t.ward_code = h.ward_code AND t.ts = h.ts
    GROUP BY ward_code
) AS b
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = b.ward_code
COMMENT 'Question 17: hours with a VN_AQI above 150 by ward, with the rain and wind of those hours, ranked.
Hours that begin in [from, to), UTC, and have ended. A ward has the highest index of its stations in each hour. All wards that have an index are there, also those without such an hour.
Source: Decision 1459/QD-TCMT of 12 November 2019: above 150 the category is Xấu.
Example: the last 7 days.
SELECT rank, ward_name, hours_gt150, max_vn_aqi, mean_rain_mm, mean_wind_m_s, coverage FROM ioc.ward_bad_air_hours(from = now(''UTC'') - INTERVAL 7 DAY, to = now(''UTC'')) ORDER BY rank';

CREATE OR REPLACE VIEW ioc.aqi_scales {on_cluster}
(
    station_id String COMMENT 'Name of the station, the device_id of ioc.devices',
    ts DateTime('UTC') COMMENT 'Start of the hour, UTC',
    vn_aqi Nullable(UInt16) COMMENT 'VN_AQI of the hour',
    us_aqi Nullable(UInt16) COMMENT 'US AQI of the hour',
    pm25_nowcast Nullable(Float64) COMMENT 'NowCast of PM2.5, ug/m3',
    ward_code String COMMENT 'Official code of five digits',
    ward_name String COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Newest event time used, UTC',
    n UInt64 COMMENT 'Good readings used',
    coverage Nullable(Float64) COMMENT 'Readings received by readings promised, 0 to 1; NULL where nothing was promised',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality: good, suspect, fail; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    vn_dominant String COMMENT 'Parameter with the highest index of VN_AQI',
    us_dominant String COMMENT 'Parameter with the highest index of the US AQI',
    pm10_nowcast Nullable(Float64) COMMENT 'NowCast of PM10, ug/m3',
    pm2_5 Nullable(Float64) COMMENT '1-hour mean of PM2.5, ug/m3'
)
SQL SECURITY INVOKER
AS SELECT
    h.station_id AS station_id, h.ts AS ts, h.vn_aqi AS vn_aqi, h.us_aqi AS us_aqi, h.pm2_5_nowcast AS pm25_nowcast,
    h.ward_code AS ward_code, w.name AS ward_name, if(h.good_n > 0, h.last_ts, toDateTime64(h.ts, 3, 'UTC')) AS as_of,
    toUInt64(h.good_n) AS n, if(h.expected_n = 0, NULL, least(1., h.n / h.expected_n)) AS coverage,
    CAST((h.good_n, h.suspect_n, h.fail_n), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality,
    'VN_AQI/QD1459-2019 v1, US AQI/EPA-454-B-24-002 v1' AS method, h.dominant AS vn_dominant, h.us_dominant AS us_dominant,
    h.pm10_nowcast AS pm10_nowcast, h.pm2_5 AS pm2_5
FROM cityfleet.vn_aqi_1h AS h FINAL
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = h.ward_code
WHERE h.ts >= {from:DateTime('UTC')} AND h.ts < {to:DateTime('UTC')} AND h.ts <= now() - INTERVAL 1 HOUR
COMMENT 'Question 18: VN_AQI and US AQI of each hour side by side at a station.
Hours that begin in [from, to), UTC, and have ended. The two disagree by design: PM2.5 of 30 ug/m3 is a VN_AQI of 60 and a US AQI of 90. US AQI: PM2.5 and PM10 by the same NowCast, SO2 and NO2 by the hour, CO and O3 by the mean of 8 hours, gases turned into ppb at 25 degrees and 760 mmHg, cut off before they are looked up; it does not ask for PM2.5 or PM10.
Source: Decision 1459/QD-TCMT of 12 November 2019; EPA-454/B-24-002 of May 2024.
Example: yesterday at one station.
SELECT ts, vn_aqi, us_aqi, pm25_nowcast FROM ioc.aqi_scales(from = now(''UTC'') - INTERVAL 1 DAY, to = now(''UTC'')) WHERE station_id = ''air-us-embassy-hanoi'' ORDER BY ts';
