-- Readings and the latest of them, with the quality that counts: what a test in the store found (cityfleet.quality_flags) goes
-- before what ingest gave. The columns are an API: they may be added to, never changed. The joins: docs/decisions/views-join-names.md.

CREATE OR REPLACE VIEW ioc.readings {on_cluster}
(
    ts DateTime64(3, 'UTC') COMMENT 'When it was measured, UTC',
    device_id String COMMENT 'Name of the device',
    device_type String COMMENT 'Type of the device',
    metric String COMMENT 'What was measured, with its unit in the name',
    unit String COMMENT 'Canonical unit of the metric, UCUM',
    value Float64 COMMENT 'The value in that unit, as it was sent, whatever its quality',
    quality UInt8 COMMENT 'QARTOD: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing',
    quality_reasons UInt16 COMMENT 'Bitmask of what the quality rests on, see ioc.quality_reasons',
    ward_code String COMMENT 'Ward of the device when it measured, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    received_at DateTime64(3, 'UTC') COMMENT 'When the platform took the reading, UTC',
    device_num UInt32 COMMENT 'Number of the device, see ioc.devices'
)
SQL SECURITY INVOKER
AS SELECT
    r.ts AS ts, d.device_id AS device_id, d.device_type AS device_type, m.metric AS metric, m.unit AS unit,
    r.value AS value, if(q.quality = 0, r.quality, q.quality) AS quality,
    if(q.quality = 0, r.quality_reasons, q.quality_reasons) AS quality_reasons, r.ward_code AS ward_code,
    w.name AS ward_name, r.received_at AS received_at, r.device_num AS device_num
FROM cityfleet.readings AS r FINAL
LEFT JOIN (SELECT device_num, metric_num, ts, quality, quality_reasons FROM cityfleet.quality_flags FINAL) AS q
    ON q.device_num = r.device_num AND q.metric_num = r.metric_num AND q.ts = r.ts
LEFT JOIN (SELECT device_num, device_id, device_type FROM cityfleet.devices FINAL) AS d ON d.device_num = r.device_num
LEFT JOIN (SELECT metric_num, metric, unit FROM cityfleet.metrics FINAL) AS m ON m.metric_num = r.metric_num
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = r.ward_code
COMMENT 'Every reading, once, with the names of what it is of. Filter by time, device_num or ward_code; for one device ask ioc.readings_of. Example: SELECT ts, value FROM ioc.readings_of(device_id = ''wl-long-bien-01'') WHERE metric = ''water_level_m'' AND quality = 1 AND ts >= now() - INTERVAL 1 DAY ORDER BY ts';

CREATE OR REPLACE VIEW ioc.latest {on_cluster}
(
    ts DateTime64(3, 'UTC') COMMENT 'When it was measured, UTC',
    age_s Int64 COMMENT 'Seconds since then',
    device_id String COMMENT 'Name of the device',
    device_type String COMMENT 'Type of the device',
    metric String COMMENT 'What was measured, with its unit in the name',
    unit String COMMENT 'Canonical unit of the metric, UCUM',
    value Float64 COMMENT 'The value in that unit, as it was sent, whatever its quality',
    quality UInt8 COMMENT 'QARTOD: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing',
    quality_reasons UInt16 COMMENT 'Bitmask of what the quality rests on, see ioc.quality_reasons',
    ward_code String COMMENT 'Ward of the device when it measured, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    received_at DateTime64(3, 'UTC') COMMENT 'When the platform took the reading, UTC',
    device_num UInt32 COMMENT 'Number of the device, see ioc.devices'
)
SQL SECURITY INVOKER
AS SELECT
    r.ts AS ts, dateDiff('second', r.ts, now64(3, 'UTC')) AS age_s, d.device_id AS device_id,
    d.device_type AS device_type, m.metric AS metric, m.unit AS unit, r.value AS value,
    if(q.quality = 0, r.quality, q.quality) AS quality,
    if(q.quality = 0, r.quality_reasons, q.quality_reasons) AS quality_reasons, r.ward_code AS ward_code,
    w.name AS ward_name, r.received_at AS received_at, r.device_num AS device_num
FROM cityfleet.latest AS r FINAL
LEFT JOIN (SELECT device_num, metric_num, ts, quality, quality_reasons FROM cityfleet.quality_latest FINAL) AS q
    ON q.device_num = r.device_num AND q.metric_num = r.metric_num AND q.ts = r.ts
LEFT JOIN (SELECT device_num, device_id, device_type FROM cityfleet.devices FINAL) AS d ON d.device_num = r.device_num
LEFT JOIN (SELECT metric_num, metric, unit FROM cityfleet.metrics FINAL) AS m ON m.metric_num = r.metric_num
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = r.ward_code
COMMENT 'The newest reading of every device and metric. Example: SELECT device_id, value, age_s FROM ioc.latest WHERE metric = ''water_level_m'' AND quality = 1 ORDER BY device_id';

-- As ioc.readings, written out once more: PREWHERE does not reach into a view. What changes there changes here.
CREATE OR REPLACE VIEW ioc.readings_of {on_cluster}
(
    ts DateTime64(3, 'UTC') COMMENT 'When it was measured, UTC',
    device_id String COMMENT 'Name of the device',
    device_type String COMMENT 'Type of the device',
    metric String COMMENT 'What was measured, with its unit in the name',
    unit String COMMENT 'Canonical unit of the metric, UCUM',
    value Float64 COMMENT 'The value in that unit, as it was sent, whatever its quality',
    quality UInt8 COMMENT 'QARTOD: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing',
    quality_reasons UInt16 COMMENT 'Bitmask of what the quality rests on, see ioc.quality_reasons',
    ward_code String COMMENT 'Ward of the device when it measured, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    received_at DateTime64(3, 'UTC') COMMENT 'When the platform took the reading, UTC',
    device_num UInt32 COMMENT 'Number of the device, see ioc.devices'
)
SQL SECURITY INVOKER
AS WITH
    -- Whoever may not see the device is told by the join.
    {number_of_device} AS asked_device
SELECT
    r.ts AS ts, d.device_id AS device_id, d.device_type AS device_type, m.metric AS metric, m.unit AS unit,
    r.value AS value, if(q.quality = 0, r.quality, q.quality) AS quality,
    if(q.quality = 0, r.quality_reasons, q.quality_reasons) AS quality_reasons, r.ward_code AS ward_code,
    w.name AS ward_name, r.received_at AS received_at, r.device_num AS device_num
FROM cityfleet.readings AS r FINAL
LEFT JOIN
(
    SELECT metric_num, ts, quality, quality_reasons FROM cityfleet.quality_flags FINAL PREWHERE device_num = asked_device
) AS q ON q.metric_num = r.metric_num AND q.ts = r.ts
INNER JOIN
(
    SELECT device_num, device_id, device_type FROM cityfleet.devices FINAL
    PREWHERE device_num = asked_device
    WHERE device_id = {device_id:String}
) AS d ON d.device_num = r.device_num
LEFT JOIN (SELECT metric_num, metric, unit FROM cityfleet.metrics FINAL) AS m ON m.metric_num = r.metric_num
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = r.ward_code
-- By the number that the table is sorted by, and before FINAL: other devices are neither read whole nor merged.
PREWHERE r.device_num = asked_device
COMMENT 'Every reading of one device, once: as ioc.readings, without reading the other devices. Example: SELECT ts, value FROM ioc.readings_of(device_id = ''wl-long-bien-01'') WHERE metric = ''water_level_m'' AND quality = 1 AND ts >= now(''UTC'') - INTERVAL 1 DAY ORDER BY ts';

-- One series without names: to join them, as above, costs about as much as to read a month of readings.
CREATE OR REPLACE VIEW ioc.series_of {on_cluster}
(
    ts DateTime64(3, 'UTC') COMMENT 'When it was measured, UTC',
    value Float64 COMMENT 'The value in the metric''s unit, as it was sent, whatever its quality',
    quality UInt8 COMMENT 'QARTOD: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing',
    quality_reasons UInt16 COMMENT 'Bitmask of what the quality rests on, see ioc.quality_reasons',
    ward_code String COMMENT 'Ward of the device when it measured, official code of five digits',
    received_at DateTime64(3, 'UTC') COMMENT 'When the platform took the reading, UTC'
)
SQL SECURITY INVOKER
AS WITH
    {number_of_device} AS asked_device,
    {number_of_metric} AS asked_metric
SELECT
    r.ts AS ts, r.value AS value, if(q.quality = 0, r.quality, q.quality) AS quality,
    if(q.quality = 0, r.quality_reasons, q.quality_reasons) AS quality_reasons, r.ward_code AS ward_code,
    r.received_at AS received_at
FROM cityfleet.readings AS r FINAL
LEFT JOIN
(
    SELECT ts, quality, quality_reasons FROM cityfleet.quality_flags FINAL
    PREWHERE device_num = asked_device AND metric_num = asked_metric
) AS q ON q.ts = r.ts
PREWHERE r.device_num = asked_device AND r.metric_num = asked_metric
COMMENT 'Every reading of one metric of one device, once: as ioc.readings_of without the columns that are the same in each row, with three quarters of its work. Example: SELECT ts, value FROM ioc.series_of(device_id = ''wl-long-bien-01'', metric = ''water_level_m'') WHERE quality = 1 AND ts >= now(''UTC'') - INTERVAL 30 DAY ORDER BY ts';

CREATE OR REPLACE VIEW ioc.readings_text {on_cluster}
(
    ts DateTime64(3, 'UTC') COMMENT 'When it was observed, UTC',
    device_id String COMMENT 'Name of the device',
    device_type String COMMENT 'Type of the device',
    metric String COMMENT 'What was observed',
    kind Enum8('string' = 1, 'boolean' = 2, 'data' = 3) COMMENT 'What the value is: a string, a boolean, or bytes',
    value String COMMENT 'The text, true or false, or the bytes as they were sent',
    quality UInt8 COMMENT 'QARTOD: 2 not evaluated',
    ward_code String COMMENT 'Ward of the device at that time, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    received_at DateTime64(3, 'UTC') COMMENT 'When the platform took the reading, UTC',
    device_num UInt32 COMMENT 'Number of the device, see ioc.devices'
)
SQL SECURITY INVOKER
AS SELECT
    r.ts AS ts, d.device_id AS device_id, d.device_type AS device_type, m.metric AS metric, r.kind AS kind,
    r.value AS value, r.quality AS quality, r.ward_code AS ward_code, w.name AS ward_name,
    r.received_at AS received_at, r.device_num AS device_num
FROM cityfleet.readings_text AS r FINAL
LEFT JOIN (SELECT device_num, device_id, device_type FROM cityfleet.devices FINAL) AS d ON d.device_num = r.device_num
LEFT JOIN (SELECT metric_num, metric FROM cityfleet.metrics FINAL) AS m ON m.metric_num = r.metric_num
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = r.ward_code
COMMENT 'Every observation that is no number, once, with the names of what it is of. Example: SELECT ts, value FROM ioc.readings_text WHERE metric = ''door_state'' AND ts >= now(''UTC'') - INTERVAL 1 DAY ORDER BY ts';
