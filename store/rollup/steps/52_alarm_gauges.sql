-- The gauges of rivers and lakes, with what people call them; a ward may see those of others, but not their devices.
-- target: cityfleet.alarm_gauges
-- source: cityfleet.readings_10min
-- bucket: 1 hour
-- metrics: water_level_m
-- live: yes
-- deletes: itself
SELECT
    device_num, argMin(row, is_gone).1 AS gauge_id, argMin(row, is_gone).2 AS name, argMin(row, is_gone).3 AS river,
    argMin(row, is_gone).4 AS station_id, argMin(row, is_gone).5 AS ward_code, argMin(row, is_gone).6 AS latitude,
    argMin(row, is_gone).7 AS longitude, argMin(row, is_gone).8 AS expected_interval_s, min(is_gone) AS is_deleted
FROM
(
    SELECT
        d.device_num AS device_num,
        tuple(
            d.device_id, multiIf(s.name != '', s.name, d.display_name != '', d.display_name, d.device_id), s.river,
            d.labels['station'], d.ward_code, d.latitude, d.longitude, t.interval_s
        ) AS row,
        toUInt8(0) AS is_gone
    FROM
    (
        SELECT device_num, device_id, device_type, display_name, ward_code, labels, latitude, longitude
        FROM cityfleet.devices FINAL
        WHERE state = 'active'
    ) AS d
    INNER JOIN
    (
        SELECT device_type, max(if(own_s > 0, own_s, type_s)) AS interval_s
        FROM
        (
            SELECT device_type, expected_interval_s AS type_s, metric_num, own_s
            FROM (SELECT * FROM cityfleet.device_types FINAL)
            ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS own_s
        )
        WHERE metric_num IN ({metrics:Array(UInt16)})
        GROUP BY device_type
    ) AS t ON t.device_type = d.device_type
    LEFT JOIN (SELECT station_id, name, river FROM cityfleet.stations FINAL WHERE station_id != '') AS s
        ON s.station_id = d.labels['station']
    UNION ALL
    SELECT
        device_num,
        tuple(gauge_id, name, river, station_id, ward_code, latitude, longitude, expected_interval_s) AS row,
        toUInt8(1) AS is_gone
    FROM cityfleet.alarm_gauges FINAL
)
WHERE {from:DateTime('UTC')} < {to:DateTime('UTC')}
GROUP BY device_num
