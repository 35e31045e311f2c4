-- What water on a street did to the traffic within 500 m, in the twelve ten minutes that begin within two hours of the
-- onset. Where gauges and detectors stand is as of the run. Cells of 0.005 degrees are 519 m wide at 21 degrees north: a
-- detector within 500 m is in the gauge's or one of the eight around it.
-- target: cityfleet.street_flood_traffic
-- time: onset_ts
-- source: cityfleet.street_floods, cityfleet.traffic_state_10min
-- bucket: 10 minutes
-- reach back: 120 minutes
WITH
    events AS
    (
        SELECT device_num, onset_ts
        FROM cityfleet.street_floods FINAL
        WHERE onset_ts >= {from:DateTime('UTC')} AND onset_ts < {to:DateTime('UTC')} AND max_depth_mm >= 20 AND wet_n >= 2
    ),
    near AS
    (
        SELECT
            e.device_num AS device_num, e.onset_ts AS onset_ts, d.segment_id AS segment_id,
            min(greatCircleDistance(e.lon, e.lat, d.lon, d.lat)) AS distance_m
        FROM
        (
            SELECT
                v.device_num AS device_num, v.onset_ts AS onset_ts, s.lat AS lat, s.lon AS lon, arrayJoin(range(9)) AS cell,
                toInt64(floor(s.lat / 0.005)) + intDiv(cell, 3) - 1 AS row, toInt64(floor(s.lon / 0.005)) + cell % 3 - 1 AS col
            FROM events AS v
            INNER JOIN
            (
                SELECT device_num, assumeNotNull(latitude) AS lat, assumeNotNull(longitude) AS lon
                FROM cityfleet.devices FINAL
                WHERE latitude IS NOT NULL AND longitude IS NOT NULL AND device_num IN (SELECT device_num FROM events)
            ) AS s ON s.device_num = v.device_num
        ) AS e
        INNER JOIN
        (
            SELECT
                multiIf(labels['segment'] != '', labels['segment'], site_id != '', site_id, device_id) AS segment_id,
                assumeNotNull(latitude) AS lat, assumeNotNull(longitude) AS lon,
                toInt64(floor(lat / 0.005)) AS row, toInt64(floor(lon / 0.005)) AS col
            FROM cityfleet.devices FINAL
            WHERE state != 'deleted' AND latitude IS NOT NULL AND longitude IS NOT NULL AND device_type IN
            (
                SELECT device_type
                FROM cityfleet.device_types FINAL
                WHERE hasAny(metric_nums,
                    (SELECT groupArray(metric_num) FROM cityfleet.metrics FINAL WHERE metric IN ('speed_km_h', 'vehicle_count')))
            )
        ) AS d ON d.row = e.row AND d.col = e.col
        GROUP BY device_num, onset_ts, segment_id
        HAVING distance_m <= 500
    )
SELECT
    e.onset_ts AS onset_ts, e.device_num AS device_num, e.segment_id AS segment_id, argMax(t.ward_code, t.ts) AS ward_code,
    any(e.distance_m) AS distance_m,
    if(sum(t.has_speed) = 0, NULL, 100 * (1 - sum(t.speed) / sum(t.has_speed) / (sum(t.typical_speed) / sum(t.has_speed)))) AS speed_drop_pct,
    if(sum(t.has_flow) = 0, NULL,
        100 * (1 - sum(t.flow) / sum(t.has_flow) / nullIf(sum(t.typical_flow) / sum(t.has_flow), 0))) AS flow_drop_pct,
    sum(t.is_low) AS low_n, count() AS seen_n, sum(t.n) AS n, sum(t.good_n) AS good_n, sum(t.suspect_n) AS suspect_n,
    sum(t.fail_n) AS fail_n, max(t.expected_n) AS expected_n, max(t.last_ts) AS last_ts
FROM
(
    SELECT
        ts, segment_id, intDiv(toUnixTimestamp(ts), 3600) AS hour_n, ward_code, last_ts, n, good_n, suspect_n, fail_n, expected_n,
        isFinite(speed_km_h) AND isFinite(typical_speed_km_h) AS has_speed,
        isFinite(flow_veh_h) AND isFinite(typical_flow_veh_h) AS has_flow,
        if(has_speed, speed_km_h, 0) AS speed, if(has_speed, typical_speed_km_h, 0) AS typical_speed,
        if(has_flow, flow_veh_h, 0) AS flow, if(has_flow, typical_flow_veh_h, 0) AS typical_flow,
        speed_z <= -3 OR flow_z <= -3 AS is_low
    FROM cityfleet.traffic_state_10min FINAL
    WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')} + INTERVAL 2 HOUR
        -- Where it is dry nothing is read.
        AND ts IN (SELECT toStartOfTenMinutes(toDateTime(onset_ts, 'UTC')) + toIntervalMinute(10 * arrayJoin(range(13))) FROM events)
) AS t
-- By hours of the clock too, of which two hours touch three: else each ten minutes meets all events of its segment.
INNER JOIN (SELECT *, arrayJoin(range(3)) + intDiv(toUnixTimestamp(onset_ts), 3600) AS hour_n FROM near) AS e
    ON e.segment_id = t.segment_id AND e.hour_n = t.hour_n
-- Whole ten minutes from the one after the onset on.
WHERE t.ts >= e.onset_ts AND t.ts < e.onset_ts + INTERVAL 2 HOUR
GROUP BY onset_ts, device_num, segment_id
