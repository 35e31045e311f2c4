-- VN_AQI of each day (Decision 1459/QD-TCMT of 2019): the hours 01:00 to 00:00 by their ends are the day at +07:00. docs/air.md.
-- target: cityfleet.vn_aqi_1d
-- source: cityfleet.vn_aqi_1h
-- bucket: 1 day
WITH
    -- A boundary belongs to the lower segment. Above the last one: 500 where the scale goes to 500, else there is no index.
    (c, day, segments) -> arrayFirst(s -> greatest(c, 0) <= s.2 AND day BETWEEN s.5 AND s.6, segments) AS segment,
    (s, c) -> s.3 + (s.4 - s.3) * (greatest(c, 0) - s.1) / (s.2 - s.1) AS along,
    (c, day, segments) -> multiIf(
        isNaN(c), nan,
        segment(c, day, segments).2 > 0, along(segment(c, day, segments), c),
        arrayExists(s -> s.4 = 500 AND day BETWEEN s.5 AND s.6, segments), 500.,
        nan) AS index_of,
    i -> if(isNaN(i), NULL, toUInt16(floor(i + 0.5 + 1e-9))) AS rounded,
    -- Three quarters of the day are asked for.
    hours -> if(length(hours) < 18, nan, arraySum(arraySort(hours)) / length(hours)) AS mean_24h,
    hours -> if(length(hours) = 0, nan, arrayMax(hours)) AS highest,
    hours -> length(hours) >= 18 AS enough,
    -- By scheme, parameter and averaging: (c_low, c_high, i_low, i_high, valid_from, valid_to).
    (
        SELECT mapFromArrays(groupArray(name), groupArray(segments))
        FROM
        (
            SELECT
                concat(scheme, ' ', parameter, ' ', averaging) AS name,
                arraySort(groupArray((c_low, c_high, toFloat64(i_low), toFloat64(i_high), valid_from, valid_to))) AS segments
            FROM cityfleet.aqi_breakpoints FINAL
            GROUP BY name
        )
    ) AS scale,
    days AS
    (
        SELECT
            device_num,
            toDate(h.ts, 'Asia/Ho_Chi_Minh') AS day,
            argMax(h.ward_code, h.ts) AS ward_code,
            argMax(h.station_id, h.ts) AS station_id,
            -- groupArray leaves NULL out.
            groupArray(h.pm2_5) AS pm2_5,
            groupArray(h.pm10) AS pm10,
            groupArray(h.so2) AS so2,
            groupArray(h.no2) AS no2,
            groupArray(h.co) AS co,
            groupArray(h.o3) AS o3,
            groupArray(h.o3_8h) AS o3_8h,
            groupArray(h.tsp) AS tsp,
            max(h.vn_aqi) AS max_vn_aqi_1h,
            sum(h.n) AS n,
            sum(h.good_n) AS good_n,
            sum(h.suspect_n) AS suspect_n,
            sum(h.fail_n) AS fail_n,
            max(h.expected_n) * 24 AS expected_n,
            max(h.last_ts) AS last_ts
        FROM cityfleet.vn_aqi_1h AS h FINAL
        WHERE h.ts >= {from:DateTime('UTC')} AND h.ts < {to:DateTime('UTC')}
        GROUP BY device_num, day
        HAVING n > 0
    ),
    indices AS
    (
        SELECT
            d.*,
            ['pm2_5', 'pm10', 'so2', 'no2', 'co', 'o3', 'o3'] AS names,
            -- Above 400 ug/m3 of O3 in 8 hours there is no index, and that of one hour stands alone.
            arrayMap(
                (c, segments) -> index_of(c, d.day, segments),
                [
                    mean_24h(d.pm2_5), mean_24h(d.pm10), if(enough(d.so2), highest(d.so2), nan),
                    if(enough(d.no2), highest(d.no2), nan), if(enough(d.co), highest(d.co), nan),
                    if(enough(d.o3), highest(d.o3), nan), if(enough(d.o3_8h), highest(d.o3_8h), nan)
                ],
                [
                    scale['vn_aqi pm2_5 24h'], scale['vn_aqi pm10 24h'], scale['vn_aqi so2 1h'], scale['vn_aqi no2 1h'],
                    scale['vn_aqi co 1h'], scale['vn_aqi o3 1h'], scale['vn_aqi o3 8h']
                ]
            ) AS vn,
            arrayMax(i -> if(isNaN(i), -1, i), vn) AS vn_max,
            isFinite(vn[1]) OR isFinite(vn[2]) AS has_vn
        FROM days AS d
    )
SELECT
    i.device_num AS device_num,
    toDateTime(i.day, 'Asia/Ho_Chi_Minh') AS ts,
    i.day AS day,
    i.ward_code AS ward_code,
    i.station_id AS station_id,
    if(has_vn, rounded(vn_max), NULL) AS vn_aqi,
    if(has_vn, names[indexOf(vn, vn_max)], '') AS dominant,
    rounded(vn[1]) AS aqi_pm2_5,
    rounded(vn[2]) AS aqi_pm10,
    rounded(vn[3]) AS aqi_so2,
    rounded(vn[4]) AS aqi_no2,
    rounded(vn[5]) AS aqi_co,
    rounded(vn[6]) AS aqi_o3_1h,
    rounded(vn[7]) AS aqi_o3_8h,
    if(isNaN(mean_24h(i.pm2_5)), NULL, mean_24h(i.pm2_5)) AS pm2_5_24h,
    if(isNaN(mean_24h(i.pm10)), NULL, mean_24h(i.pm10)) AS pm10_24h,
    if(isNaN(mean_24h(i.so2)), NULL, mean_24h(i.so2)) AS so2_24h,
    if(isNaN(mean_24h(i.no2)), NULL, mean_24h(i.no2)) AS no2_24h,
    if(isNaN(mean_24h(i.tsp)), NULL, mean_24h(i.tsp)) AS tsp_24h,
    if(isNaN(highest(i.so2)), NULL, highest(i.so2)) AS so2_1h,
    if(isNaN(highest(i.no2)), NULL, highest(i.no2)) AS no2_1h,
    if(isNaN(highest(i.co)), NULL, highest(i.co)) AS co_1h,
    if(isNaN(highest(i.o3)), NULL, highest(i.o3)) AS o3_1h,
    if(isNaN(highest(i.o3_8h)), NULL, highest(i.o3_8h)) AS o3_8h,
    i.max_vn_aqi_1h AS max_vn_aqi_1h,
    toUInt8(greatest(length(i.pm2_5), length(i.pm10))) AS hours,
    i.n AS n,
    i.good_n AS good_n,
    i.suspect_n AS suspect_n,
    i.fail_n AS fail_n,
    i.expected_n AS expected_n,
    i.last_ts AS last_ts
FROM indices AS i
