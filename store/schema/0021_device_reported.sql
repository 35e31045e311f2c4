-- What devices say of themselves, by the registry. Apart from cityfleet.devices: a city that updates its firmware must not
-- write a million wide rows.
CREATE TABLE IF NOT EXISTS cityfleet.device_reported {on_cluster}
(
    device_num UInt32 COMMENT 'Number of the device',
    ward_code LowCardinality(String) COMMENT 'Ward it stands in now',
    firmware_version LowCardinality(String) COMMENT 'As it reported; empty: it did not say',
    config_version UInt64 COMMENT 'Of the configuration that it has; 0: it did not say',
    last_calibration Date COMMENT 'As it reported; 1970-01-01: it did not say',
    version UInt64 COMMENT 'The highest counts'
)
ENGINE = {replacing}(version)
ORDER BY (device_num)
SETTINGS {durable};
