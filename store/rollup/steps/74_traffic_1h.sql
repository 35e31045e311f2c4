-- Traffic of road segments by hours, from the judged ten minutes. docs/traffic.md.
-- target: cityfleet.traffic_1h
-- source: cityfleet.traffic_state_10min
-- bucket: 1 hour
SELECT
    toStartOfHour(s.ts) AS ts, s.segment_id AS segment_id, argMax(s.ward_code, s.ts) AS ward_code,
    countIf(isFinite(s.vehicles)) AS counted_n,
    if(counted_n = 0, nan, sumIf(s.vehicles, isFinite(s.vehicles))) AS vehicles,
    if(counted_n = 0, nan, avgIf(s.flow_veh_h, isFinite(s.flow_veh_h))) AS flow_veh_h,
    if(counted_n = 0, nan, avgIf(s.flow_pcu_h, isFinite(s.flow_pcu_h))) AS flow_pcu_h,
    sumIf(s.vehicles, isFinite(s.speed_km_h) AND isFinite(s.vehicles)) AS weight,
    if(
        weight > 0, sumIf(s.speed_km_h * s.vehicles, isFinite(s.speed_km_h) AND isFinite(s.vehicles)) / weight,
        avgIf(s.speed_km_h, isFinite(s.speed_km_h))) AS speed_km_h,
    toUInt8(countIf(s.los_level > 0)) AS judged_n, toUInt8(countIf(s.los_level IN (1, 2))) AS ab_n,
    toUInt8(countIf(s.los_level >= 5)) AS ef_n,
    sum(s.n) AS n, sum(s.good_n) AS good_n, sum(s.suspect_n) AS suspect_n, sum(s.fail_n) AS fail_n,
    -- Of ten minutes in which nothing came there is no row.
    max(s.expected_n) * 6 AS expected_n, max(s.last_ts) AS last_ts
FROM cityfleet.traffic_state_10min AS s FINAL
WHERE s.ts >= {from:DateTime('UTC')} AND s.ts < {to:DateTime('UTC')}
GROUP BY ts, segment_id
