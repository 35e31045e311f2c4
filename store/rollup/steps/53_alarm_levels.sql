-- Water levels in the order of time.
-- target: cityfleet.alarm_levels_10min
-- source: cityfleet.readings_10min
-- bucket: 10 minutes
-- metrics: water_level_m
-- live: yes
SELECT ts, device_num, ward_code, n, good_n, suspect_n, fail_n, min, max, last, last_ts
FROM cityfleet.readings_10min FINAL
WHERE metric_num IN ({metrics:Array(UInt16)}) AND ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
