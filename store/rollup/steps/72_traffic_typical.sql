-- What is typical of an hour of the week: medians of its ten minutes in the four weeks that end with the day. docs/traffic.md.
-- target: cityfleet.traffic_typical
-- source: cityfleet.traffic_10min
-- bucket: 1 day
-- reach: 21 days
WITH
    1.4826 AS to_sigma,
    values -> if(length(values) < 6, nan, arrayReduce('quantileExactInclusive(0.5)', values)) AS median,
    (values, middle) -> if(isNaN(middle), nan, to_sigma * arrayReduce('quantileExactInclusive(0.5)', arrayMap(v -> abs(v - middle), values))) AS sigma
SELECT
    t.ts AS ts, t.segment_id AS segment_id, t.ward_code AS ward_code,
    median(t.speeds) AS speed_km_h, sigma(t.speeds, speed_km_h) AS speed_sigma, toUInt32(length(t.speeds)) AS speed_n,
    median(t.flows) AS flow_veh_h, sigma(t.flows, flow_veh_h) AS flow_sigma, toUInt32(length(t.flows)) AS flow_n
FROM
(
    SELECT
        r.hour AS ts, r.segment_id AS segment_id, argMax(r.ward_code, r.at) AS ward_code,
        groupArrayIf(r.speed_km_h, isFinite(r.speed_km_h)) AS speeds, groupArrayIf(r.flow_veh_h, isFinite(r.flow_veh_h)) AS flows
    FROM
    (
        SELECT
            s.ts AS at, s.segment_id AS segment_id, s.ward_code AS ward_code, s.speed_km_h AS speed_km_h,
            s.flow_veh_h AS flow_veh_h, toStartOfHour(s.ts) + toIntervalDay(7 * arrayJoin(range(4))) AS hour
        FROM cityfleet.traffic_10min AS s FINAL
        WHERE s.ts >= {from:DateTime('UTC')} - INTERVAL 21 DAY AND s.ts < {to:DateTime('UTC')}
    ) AS r
    WHERE r.hour >= {from:DateTime('UTC')} AND r.hour < {to:DateTime('UTC')}
    GROUP BY r.hour, r.segment_id
) AS t
