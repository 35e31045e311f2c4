-- The index of the air by days: question 15.

CREATE OR REPLACE VIEW ioc.ward_vn_aqi_daily {on_cluster}
(
    ward_code String COMMENT 'Official code of five digits',
    day Date COMMENT 'Day at +07:00',
    vn_aqi_d UInt16 COMMENT 'VN_AQI of the day, the highest of the ward''s stations',
    dominant String COMMENT 'Parameter with the highest index: pm2_5, pm10, so2, no2, co or o3',
    category String COMMENT 'Category of the index, in Vietnamese',
    coverage Nullable(Float64) COMMENT 'Hours with good readings of PM2.5 or PM10 at that station, by 24',
    ward_name String COMMENT 'Name of the ward',
    as_of DateTime64(3, 'UTC') COMMENT 'Newest event time used, UTC',
    n UInt64 COMMENT 'Good readings used',
    quality Tuple(good UInt64, suspect UInt64, fail UInt64) COMMENT 'Readings by quality: good, suspect, fail; only good ones are used',
    method LowCardinality(String) COMMENT 'Rule and its version',
    station_id String COMMENT 'Station that has it',
    stations_n UInt64 COMMENT 'Stations of the ward with an index of the day',
    max_vn_aqi_1h Nullable(UInt16) COMMENT 'Highest hourly VN_AQI of the ward that day',
    days_in_category UInt64 COMMENT 'Days of the period that the ward was in this category',
    days_n UInt64 COMMENT 'Days of the period with an index of the ward',
    hex String COMMENT 'Colour of the category as #RRGGBB',
    source String COMMENT 'Text that the categories are written in'
)
SQL SECURITY INVOKER
AS WITH
    (
        SELECT arraySort(groupArray((aqi_low, aqi_high, name_vi, colour_vi, hex, advice_vi, source)))
        FROM cityfleet.aqi_categories FINAL
        WHERE scheme = 'vn_aqi'
    ) AS categories,
    arrayFirst(c -> d.vn_aqi_d BETWEEN c.1 AND c.2, categories) AS category_row
SELECT
    d.ward_code AS ward_code, d.day AS day, d.vn_aqi_d AS vn_aqi_d, d.dominant AS dominant, category_row.3 AS category,
    d.hours / 24 AS coverage, w.name AS ward_name, d.as_of AS as_of, d.n AS n,
    CAST((d.n, d.suspect, d.fail), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality, 'VN_AQI/QD1459-2019 v1' AS method, d.station_id AS station_id,
    d.stations_n AS stations_n, d.max_vn_aqi_1h AS max_vn_aqi_1h,
    count() OVER (PARTITION BY d.ward_code, category_row.1) AS days_in_category,
    count() OVER (PARTITION BY d.ward_code) AS days_n, category_row.5 AS hex, category_row.7 AS source
FROM
(
    SELECT
        t.ward_code AS ward_code, t.day AS day, assumeNotNull(max(t.vn_aqi)) AS vn_aqi_d,
        argMax(t.dominant, (t.vn_aqi, t.station_id)) AS dominant, argMax(t.station_id, (t.vn_aqi, t.station_id)) AS station_id,
        argMax(t.hours, (t.vn_aqi, t.station_id)) AS hours, count() AS stations_n, max(t.max_vn_aqi_1h) AS max_vn_aqi_1h,
        max(t.last_ts) AS as_of, sum(t.good_n) AS n, sum(t.suspect_n) AS suspect, sum(t.fail_n) AS fail
    FROM cityfleet.vn_aqi_1d AS t FINAL
    WHERE t.ts >= {from:DateTime('UTC')} AND t.ts < {to:DateTime('UTC')} AND t.vn_aqi IS NOT NULL
    GROUP BY ward_code, day
) AS d
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = d.ward_code
COMMENT 'Question 15: VN_AQI of each day by ward, and how many days of the period each category had.
Days that begin in [from, to), UTC: a day of +07:00 begins at 17:00 UTC of the day before. The ward has the highest index of its stations. PM2.5 and PM10 go by their mean of 24 hours, SO2, NO2 and CO by the highest hour, O3 by the worse of the highest hour and the highest 8-hour mean. A station has an index with PM2.5 or PM10 of at least 18 hours, so today has one from the evening on.
Source: Decision 1459/QD-TCMT of 12 November 2019; the 18 hours are a custom, the text has none.
Example: October 2026 of one ward.
SELECT day, vn_aqi_d, dominant, category, coverage FROM ioc.ward_vn_aqi_daily(from = ''2026-09-30 17:00:00'', to = ''2026-10-31 17:00:00'') WHERE ward_code = ''00025'' ORDER BY day';
