-- Traffic of road segments by ten minutes. Detectors of a segment stand beside one another, so their flows add up. docs/traffic.md.
-- target: cityfleet.traffic_10min
-- source: cityfleet.readings_10min
-- bucket: 10 minutes
WITH
    wanted AS
    (
        SELECT m.metric_num AS metric_num, m.metric AS metric, p.factor AS factor, p.metric != '' AS is_count
        FROM (SELECT metric_num, metric FROM cityfleet.metrics FINAL) AS m
        LEFT JOIN (SELECT metric, factor FROM cityfleet.pcu_factors FINAL) AS p ON p.metric = m.metric
        WHERE m.metric IN ('speed_km_h', 'occupancy_pct') OR p.metric != ''
    ),
    kinds AS
    (
        SELECT device_type, metric_num, own_s, type_s
        FROM
        (
            SELECT device_type, expected_interval_s AS type_s, metric_nums, metric_intervals_s
            FROM cityfleet.device_types FINAL
        )
        ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS own_s
        WHERE metric_num IN (SELECT metric_num FROM wanted)
    ),
    detectors AS
    (
        SELECT
            v.device_num AS device_num, v.segment_id AS segment_id, v.ward_code AS ward_code, v.state AS state,
            k.metric_num AS metric_num,
            multiIf(k.own_s > 0, k.own_s, v.interval_s > 0, v.interval_s, k.type_s) AS interval_s
        FROM
        (
            SELECT
                device_num, device_type, ward_code, state, expected_interval_s AS interval_s,
                multiIf(labels['segment'] != '', labels['segment'], site_id != '', site_id, device_id) AS segment_id
            FROM cityfleet.devices FINAL
            WHERE device_type IN (SELECT device_type FROM kinds)
        ) AS v
        INNER JOIN kinds AS k ON k.device_type = v.device_type
    ),
    segments AS
    (
        SELECT
            s.segment_id AS segment_id, if(r.ward_code != '', r.ward_code, s.ward_code) AS ward_code,
            s.expected_n AS expected_n
        FROM
        (
            SELECT
                segment_id, argMin(ward_code, device_num) AS ward_code,
                sumIf(600 / greatest(interval_s, 1), interval_s > 0 AND state = 'active') AS expected_n
            FROM detectors
            GROUP BY segment_id
        ) AS s
        LEFT JOIN (SELECT segment_id, ward_code FROM cityfleet.road_segments FINAL) AS r ON r.segment_id = s.segment_id
    ),
    cells AS
    (
        SELECT
            r.ts AS ts, d.segment_id AS segment_id, r.device_num AS device_num, w.metric AS metric, w.factor AS factor,
            w.is_count AND w.metric != 'vehicle_count' AS is_class,
            -- The time that was counted in, so that a lost reading is no fall of the flow.
            if(d.interval_s > 0, r.good_n * d.interval_s, 600) / 3600 AS hours,
            r.sum AS sum, r.n AS n, r.good_n AS good_n, r.suspect_n AS suspect_n, r.fail_n AS fail_n, r.last_ts AS last_ts
        FROM
        (
            SELECT metric_num, device_num, ts, sum, n, good_n, suspect_n, fail_n, last_ts
            FROM cityfleet.readings_10min FINAL
            WHERE metric_num IN (SELECT metric_num FROM wanted)
                AND ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
        ) AS r
        INNER JOIN detectors AS d ON d.device_num = r.device_num AND d.metric_num = r.metric_num
        INNER JOIN wanted AS w ON w.metric_num = r.metric_num
    ),
    of_detectors AS
    (
        SELECT
            c.ts AS ts, c.segment_id AS segment_id, c.device_num AS device_num,
            sumIf(c.sum, c.metric = 'vehicle_count') AS total,
            sumIf(c.sum / c.hours, c.metric = 'vehicle_count' AND c.good_n > 0) AS total_h,
            sumIf(c.sum * c.factor / c.hours, c.metric = 'vehicle_count' AND c.good_n > 0) AS total_pcu_h,
            countIf(c.metric = 'vehicle_count' AND c.good_n > 0) > 0 AS has_total,
            sumIf(c.sum, c.is_class) AS classed,
            sumIf(c.sum / c.hours, c.is_class AND c.good_n > 0) AS classed_h,
            sumIf(c.sum * c.factor / c.hours, c.is_class AND c.good_n > 0) AS classed_pcu_h,
            countIf(c.is_class AND c.good_n > 0) > 0 AS has_classes,
            sumIf(c.sum, c.metric = 'speed_km_h') AS speed_sum,
            sumIf(c.good_n, c.metric = 'speed_km_h') AS speed_n,
            sumIf(c.sum, c.metric = 'occupancy_pct') AS occupancy_sum,
            sumIf(c.good_n, c.metric = 'occupancy_pct') AS occupancy_n,
            -- All are counted once where a detector tells the sum and the classes: the sum is the vehicles, the classes are the PCU.
            if(has_total, total, classed) AS vehicles,
            if(has_total, total_h, classed_h) AS veh_h,
            if(has_classes, classed_pcu_h, total_pcu_h) AS pcu_h,
            sum(c.n) AS n, sum(c.good_n) AS good_n, sum(c.suspect_n) AS suspect_n, sum(c.fail_n) AS fail_n,
            max(c.last_ts) AS last_ts
        FROM cells AS c
        GROUP BY ts, segment_id, device_num
    ),
    of_segments AS
    (
        SELECT
            o.ts AS ts, o.segment_id AS segment_id, count() AS detectors,
            if(countIf(o.has_total OR o.has_classes) = 0, nan, sum(o.vehicles)) AS vehicles,
            if(isNaN(vehicles), nan, sum(o.veh_h)) AS flow_veh_h,
            if(isNaN(vehicles), nan, sum(o.pcu_h)) AS flow_pcu_h,
            -- By counts; where nobody passed or nobody counts, by readings.
            sumIf(o.speed_sum / o.speed_n * o.vehicles, o.speed_n > 0) AS speed_by_count,
            sumIf(o.vehicles, o.speed_n > 0) AS speed_vehicles,
            if(speed_vehicles > 0, speed_by_count / speed_vehicles, sum(o.speed_sum) / sum(o.speed_n)) AS speed_km_h,
            sum(o.occupancy_sum) / sum(o.occupancy_n) / 100 AS occupancy,
            sum(o.n) AS n, sum(o.good_n) AS good_n, sum(o.suspect_n) AS suspect_n, sum(o.fail_n) AS fail_n,
            max(o.last_ts) AS last_ts
        FROM of_detectors AS o
        GROUP BY ts, segment_id
    )
SELECT
    o.ts AS ts, o.segment_id AS segment_id, s.ward_code AS ward_code, o.detectors AS detectors, o.vehicles AS vehicles,
    o.flow_veh_h AS flow_veh_h, o.flow_pcu_h AS flow_pcu_h, o.speed_km_h AS speed_km_h, o.occupancy AS occupancy,
    o.n AS n, o.good_n AS good_n, o.suspect_n AS suspect_n, o.fail_n AS fail_n, s.expected_n AS expected_n,
    o.last_ts AS last_ts
FROM of_segments AS o
INNER JOIN segments AS s ON s.segment_id = o.segment_id
