-- The views of the IOC modules. Their columns are an API: they may be added to, never changed.
-- Times are UTC; toTimeZone(ts, 'Asia/Ho_Chi_Minh') shows them in local time.

CREATE DATABASE IF NOT EXISTS ioc {on_cluster};

CREATE OR REPLACE VIEW ioc.devices {on_cluster}
(
    device_num UInt32 COMMENT 'Number of the device inside the store, never reused',
    device_id String COMMENT 'Name of the device',
    device_type String COMMENT 'Its type',
    display_name String COMMENT 'Name for people',
    state String COMMENT 'active or decommissioned',
    ward_code String COMMENT 'Ward it stands in now, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    site String COMMENT 'Where it is mounted',
    gateway_id String COMMENT 'Gateway that speaks for it, or empty',
    latitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    longitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    labels Map(String, String) COMMENT 'Labels the engineers gave it',
    expected_interval_s UInt32 COMMENT 'How often it should report, seconds; 0: no expectation',
    create_time DateTime64(3, 'UTC') COMMENT 'Registered at, UTC',
    update_time DateTime64(3, 'UTC') COMMENT 'Last changed at, UTC'
)
SQL SECURITY INVOKER
AS SELECT
    d.device_num AS device_num, d.device_id AS device_id, d.device_type AS device_type, d.display_name AS display_name,
    d.state AS state, d.ward_code AS ward_code, w.name AS ward_name, d.site AS site, d.gateway_id AS gateway_id,
    d.latitude AS latitude, d.longitude AS longitude, d.labels AS labels, d.expected_interval_s AS expected_interval_s,
    d.create_time AS create_time, d.update_time AS update_time
FROM (SELECT * FROM cityfleet.devices FINAL) AS d
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = d.ward_code;

CREATE OR REPLACE VIEW ioc.readings {on_cluster}
(
    ts DateTime64(3, 'UTC') COMMENT 'When it was measured, UTC',
    device_id String COMMENT 'Name of the device',
    device_type String COMMENT 'Type of the device',
    metric String COMMENT 'What was measured, with its unit in the name',
    unit String COMMENT 'Canonical unit of the metric, UCUM',
    value Float64 COMMENT 'The value in that unit',
    quality UInt8 COMMENT 'QARTOD: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing',
    quality_reasons UInt16 COMMENT 'Bitmask of what the quality rests on: 1 gross range',
    ward_code String COMMENT 'Ward of the device when it measured, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    received_at DateTime64(3, 'UTC') COMMENT 'When the platform took the reading, UTC',
    device_num UInt32 COMMENT 'Number of the device, see ioc.devices'
)
SQL SECURITY INVOKER
AS SELECT
    r.ts AS ts, d.device_id AS device_id, d.device_type AS device_type, m.metric AS metric, m.unit AS unit,
    r.value AS value, r.quality AS quality, r.quality_reasons AS quality_reasons, r.ward_code AS ward_code,
    w.name AS ward_name, r.received_at AS received_at, r.device_num AS device_num
FROM cityfleet.readings AS r FINAL
LEFT JOIN (SELECT device_num, device_id, device_type FROM cityfleet.devices FINAL) AS d ON d.device_num = r.device_num
LEFT JOIN (SELECT metric_num, metric, unit FROM cityfleet.metrics FINAL) AS m ON m.metric_num = r.metric_num
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = r.ward_code;

CREATE OR REPLACE VIEW ioc.latest {on_cluster}
(
    ts DateTime64(3, 'UTC') COMMENT 'When it was measured, UTC',
    age_s Int64 COMMENT 'Seconds since then',
    device_id String COMMENT 'Name of the device',
    device_type String COMMENT 'Type of the device',
    metric String COMMENT 'What was measured, with its unit in the name',
    unit String COMMENT 'Canonical unit of the metric, UCUM',
    value Float64 COMMENT 'The value in that unit',
    quality UInt8 COMMENT 'QARTOD: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing',
    quality_reasons UInt16 COMMENT 'Bitmask of what the quality rests on: 1 gross range',
    ward_code String COMMENT 'Ward of the device when it measured, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    received_at DateTime64(3, 'UTC') COMMENT 'When the platform took the reading, UTC',
    device_num UInt32 COMMENT 'Number of the device, see ioc.devices'
)
SQL SECURITY INVOKER
AS SELECT
    r.ts AS ts, dateDiff('second', r.ts, now64(3, 'UTC')) AS age_s, d.device_id AS device_id,
    d.device_type AS device_type, m.metric AS metric, m.unit AS unit, r.value AS value, r.quality AS quality,
    r.quality_reasons AS quality_reasons, r.ward_code AS ward_code, w.name AS ward_name, r.received_at AS received_at,
    r.device_num AS device_num
FROM cityfleet.latest AS r FINAL
LEFT JOIN (SELECT device_num, device_id, device_type FROM cityfleet.devices FINAL) AS d ON d.device_num = r.device_num
LEFT JOIN (SELECT metric_num, metric, unit FROM cityfleet.metrics FINAL) AS m ON m.metric_num = r.metric_num
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = r.ward_code;
