-- Free-flow speed without a survey: 85th percentile of the night's speeds over the 28 days that end with the day. docs/traffic.md.
-- target: cityfleet.traffic_free_flow
-- source: cityfleet.traffic_10min
-- bucket: 1 day
-- reach: 27 days
SELECT
    toDateTime(day, 'Asia/Ho_Chi_Minh') AS ts,
    segment_id,
    argMax(ward_code, at) AS ward_code,
    quantileExactInclusive(0.85)(speed_km_h) AS free_flow_km_h,
    toUInt32(count()) AS values_n
FROM
(
    SELECT
        ts AS at, segment_id, ward_code, speed_km_h, toDate(ts, 'Asia/Ho_Chi_Minh') + arrayJoin(range(28)) AS day
    FROM cityfleet.traffic_10min FINAL
    WHERE ts >= {from:DateTime('UTC')} - INTERVAL 27 DAY AND ts < {to:DateTime('UTC')}
        AND toHour(ts, 'Asia/Ho_Chi_Minh') < 5 AND isFinite(speed_km_h) AND speed_km_h > 0
)
WHERE day >= toDate({from:DateTime('UTC')}, 'Asia/Ho_Chi_Minh') AND day < toDate({to:DateTime('UTC')}, 'Asia/Ho_Chi_Minh')
GROUP BY day, segment_id
-- An hour of one night says nothing.
HAVING count() >= 12
