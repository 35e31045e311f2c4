-- Rain in the order of time: the questions about the last hours read what lies together.
-- target: cityfleet.rain_10min
-- source: cityfleet.readings_10min
-- bucket: 10 minutes
-- metrics: rain_mm
-- live: yes
SELECT ts, device_num, ward_code, n, good_n, suspect_n, fail_n, sum AS rain_mm, last_ts
FROM cityfleet.readings_10min FINAL
WHERE metric_num IN ({metrics:Array(UInt16)}) AND ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}
