-- The newest hour of each station, with its category and the names of what it is of: question 14. An hour changes when it is
-- computed, and another is the newest when it has ended: asked each minute, made anew then, and every ten minutes besides, for
-- names and categories may change too.
-- Windows of long ago have nothing to say.
-- target: cityfleet.vn_aqi_now
-- source: cityfleet.vn_aqi_1h
-- bucket: 1 hour
-- live: yes
-- replaces: all
WITH
    (SELECT max(version) FROM cityfleet.vn_aqi_1h WHERE ts > now('UTC') - INTERVAL 25 HOUR) AS found_ms,
    (SELECT max(version) FROM cityfleet.vn_aqi_now) AS made_ms
SELECT
    {to:DateTime('UTC')} > now('UTC') - INTERVAL 1 HOUR AND (found_ms > 0 OR made_ms > 0) AND
    (
        found_ms > made_ms OR made_ms < toUnixTimestamp64Milli(now64(3)) - 590000
        OR fromUnixTimestamp64Milli(toInt64(made_ms), 'UTC') < toStartOfHour(now('UTC'))
    );
WITH
    (
        SELECT arraySort(groupArray((aqi_low, aqi_high, name_vi, colour_vi, hex, advice_vi, source)))
        FROM cityfleet.aqi_categories FINAL
        WHERE scheme = 'vn_aqi'
    ) AS categories,
    arrayFirst(c -> ifNull(h.vn_aqi, 65535) BETWEEN c.1 AND c.2, categories) AS category_row
SELECT
    toString(h.ward_code) AS ward_code, h.device_num AS device_num, h.station_id AS station_id, h.ts AS ts, h.vn_aqi AS vn_aqi,
    toString(h.dominant) AS dominant, category_row.3 AS category, category_row.4 AS colour, category_row.6 AS advice_vi,
    h.n_hours AS n_hours, w.name AS ward_name, if(h.good_n > 0, h.last_ts, toDateTime64(h.ts, 3, 'UTC')) AS as_of,
    toUInt64(h.good_n) AS n, if(h.expected_n = 0, NULL, least(1., h.n / h.expected_n)) AS coverage,
    CAST((h.good_n, h.suspect_n, h.fail_n), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality, category_row.5 AS hex,
    h.aqi_pm2_5 AS aqi_pm2_5, h.aqi_pm10 AS aqi_pm10, h.aqi_so2 AS aqi_so2, h.aqi_no2 AS aqi_no2, h.aqi_co AS aqi_co,
    h.aqi_o3 AS aqi_o3, category_row.7 AS source
FROM
(
    -- First which hour of each station is the newest, then all there is of these.
    SELECT *
    FROM cityfleet.vn_aqi_1h FINAL
    WHERE {from:DateTime('UTC')} < {to:DateTime('UTC')} AND ts > now() - INTERVAL 25 HOUR AND ts <= now() - INTERVAL 1 HOUR
        AND (ts, device_num) IN
        (
            SELECT max(ts), device_num
            FROM cityfleet.vn_aqi_1h FINAL
            WHERE ts > now() - INTERVAL 25 HOUR AND ts <= now() - INTERVAL 1 HOUR
            GROUP BY device_num
        )
) AS h
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = h.ward_code
