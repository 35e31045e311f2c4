-- Readings that are no numbers: strings, booleans and blobs.

CREATE TABLE IF NOT EXISTS cityfleet.readings_text {on_cluster}
(
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the device, see cityfleet.devices',
    metric_num UInt16 CODEC(ZSTD(1)) COMMENT 'Number of the metric, see cityfleet.metrics',
    ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Event time',
    kind Enum8('string' = 1, 'boolean' = 2, 'data' = 3) CODEC(ZSTD(1)) COMMENT 'What the value is',
    value String CODEC(ZSTD(1)) COMMENT 'The text, true or false, or the bytes as they were sent',
    quality UInt8 CODEC(ZSTD(1)) COMMENT 'QARTOD: 2 not evaluated',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward of the device at that time',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the platform took it; the later copy wins',
    INDEX ward ward_code TYPE set(16) GRANULARITY 1
)
ENGINE = {replacing}(received_at)
PARTITION BY toYYYYMM(ts)
ORDER BY (device_num, metric_num, ts)
SETTINGS {durable};

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
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = r.ward_code;
