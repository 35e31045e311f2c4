-- Who and what there is: devices, sites, what devices measure. The columns are an API: they may be added to, never changed.

CREATE OR REPLACE VIEW ioc.devices {on_cluster}
(
    device_num UInt32 COMMENT 'Number of the device inside the store, never reused',
    device_id String COMMENT 'Name of the device',
    device_type String COMMENT 'Its type',
    display_name String COMMENT 'Name for people',
    state String COMMENT 'active, decommissioned or deleted',
    ward_code String COMMENT 'Ward it stands in now, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    site String COMMENT 'Where it is mounted, in words',
    gateway_id String COMMENT 'Gateway that speaks for it, or empty',
    latitude Nullable(Float64) COMMENT 'WGS 84, degrees; its own or its site''s',
    longitude Nullable(Float64) COMMENT 'WGS 84, degrees; its own or its site''s',
    labels Map(String, String) COMMENT 'Labels the engineers gave it',
    expected_interval_s UInt32 COMMENT 'How often it should report, seconds; 0: no expectation',
    create_time DateTime64(3, 'UTC') COMMENT 'Registered at, UTC',
    update_time DateTime64(3, 'UTC') COMMENT 'Last changed at, UTC',
    site_id String COMMENT 'Site it is mounted at, see ioc.sites, or empty',
    site_name String COMMENT 'Name of that site for people',
    hardware_revision String COMMENT 'Revision of its hardware, or empty'
)
SQL SECURITY INVOKER
AS SELECT
    d.device_num AS device_num, d.device_id AS device_id, d.device_type AS device_type, d.display_name AS display_name,
    d.state AS state, d.ward_code AS ward_code, w.name AS ward_name, d.site AS site, d.gateway_id AS gateway_id,
    d.latitude AS latitude, d.longitude AS longitude, d.labels AS labels, d.expected_interval_s AS expected_interval_s,
    d.create_time AS create_time, d.update_time AS update_time, d.site_id AS site_id, s.display_name AS site_name,
    d.hardware_revision AS hardware_revision
FROM (SELECT * FROM cityfleet.devices FINAL) AS d
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = d.ward_code
LEFT JOIN (SELECT site_id, display_name FROM cityfleet.sites FINAL) AS s ON s.site_id = d.site_id
COMMENT 'Devices of the registry: who they are and where they are. Deleted ones stay, with their state. Example: SELECT device_id, site_name, latitude, longitude FROM ioc.devices WHERE ward_code = ''00025'' AND state = ''active'' ORDER BY device_id';

CREATE OR REPLACE VIEW ioc.sites {on_cluster}
(
    site_id String COMMENT 'Name of the site',
    display_name String COMMENT 'Name for people',
    kind String COMMENT 'bts, pole, bridge, building, river, road or other',
    state String COMMENT 'active or deleted',
    ward_code String COMMENT 'Ward it stands in now, official code of five digits',
    ward_name String COMMENT 'Name of that ward',
    latitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    longitude Nullable(Float64) COMMENT 'WGS 84, degrees',
    labels Map(String, String) COMMENT 'Labels the engineers gave it',
    create_time DateTime64(3, 'UTC') COMMENT 'Registered at, UTC',
    update_time DateTime64(3, 'UTC') COMMENT 'Last changed at, UTC'
)
SQL SECURITY INVOKER
AS SELECT
    s.site_id AS site_id, s.display_name AS display_name, s.kind AS kind, s.state AS state, s.ward_code AS ward_code,
    w.name AS ward_name, s.latitude AS latitude, s.longitude AS longitude, s.labels AS labels,
    s.create_time AS create_time, s.update_time AS update_time
FROM (SELECT * FROM cityfleet.sites FINAL) AS s
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = s.ward_code
COMMENT 'Sites that devices are mounted at. Example: SELECT site_id, display_name, kind, latitude, longitude FROM ioc.sites WHERE state = ''active'' ORDER BY site_id';

CREATE OR REPLACE VIEW ioc.device_metrics {on_cluster}
(
    device_id String COMMENT 'Name of the device',
    device_type String COMMENT 'Its type',
    metric String COMMENT 'What it measures, with its unit in the name',
    unit String COMMENT 'Canonical unit of the metric, UCUM',
    expected_interval_s UInt32 COMMENT 'How often a reading of it should come, seconds; 0: no expectation',
    min_value Nullable(Float64) COMMENT 'Gross range of the sensor in that unit; a reading below has quality 4',
    max_value Nullable(Float64) COMMENT 'A reading above has quality 4',
    resolution Float64 COMMENT 'Smallest step of the sensor in that unit; 0: not known',
    ward_code String COMMENT 'Ward the device stands in now, official code of five digits',
    state String COMMENT 'Of the device: active, decommissioned or deleted',
    device_num UInt32 COMMENT 'Number of the device, see ioc.devices'
)
SQL SECURITY INVOKER
AS SELECT
    d.device_id AS device_id, d.device_type AS device_type, m.metric AS metric, m.unit AS unit,
    t.expected_interval_s AS expected_interval_s, t.min_value AS min_value, t.max_value AS max_value,
    t.resolution AS resolution, d.ward_code AS ward_code, d.state AS state, d.device_num AS device_num
FROM (SELECT device_num, device_id, device_type, ward_code, state FROM cityfleet.devices FINAL) AS d
INNER JOIN
(
    SELECT
        device_type, metric_num, if(interval_s > 0, interval_s, expected_interval_s) AS expected_interval_s, min_value,
        max_value, resolution
    FROM (SELECT * FROM cityfleet.device_types FINAL)
    ARRAY JOIN
        metric_nums AS metric_num, metric_intervals_s AS interval_s, metric_min_values AS min_value,
        metric_max_values AS max_value, metric_resolutions AS resolution
) AS t ON t.device_type = d.device_type
INNER JOIN (SELECT metric_num, metric, unit FROM cityfleet.metrics FINAL) AS m ON m.metric_num = t.metric_num
COMMENT 'What each device measures, how often and in which range, as its type says. Example: SELECT device_id, metric, unit, expected_interval_s FROM ioc.device_metrics WHERE metric = ''rain_mm'' ORDER BY device_id';

CREATE OR REPLACE VIEW ioc.device_reports {on_cluster}
(
    device_num UInt32 COMMENT 'Number of the device, see ioc.devices',
    device_id String COMMENT 'Name of the device',
    device_type String COMMENT 'Its type',
    ward_code String COMMENT 'Ward it stands in now, official code of five digits',
    firmware String COMMENT 'Version of its firmware as it reported; empty: it did not say',
    config_version UInt64 COMMENT 'Version of the configuration that it has; 0: it did not say',
    last_calibration Nullable(Date) COMMENT 'Day of its last calibration as it reported; NULL: it did not say'
)
SQL SECURITY INVOKER
AS SELECT
    d.device_num AS device_num, d.device_id AS device_id, d.device_type AS device_type, d.ward_code AS ward_code,
    r.firmware_version AS firmware, r.config_version AS config_version,
    nullIf(r.last_calibration, toDate('1970-01-01')) AS last_calibration
FROM (SELECT device_num, firmware_version, config_version, last_calibration FROM cityfleet.device_reported FINAL) AS r
INNER JOIN (SELECT device_num, device_id, device_type, ward_code FROM cityfleet.devices FINAL) AS d USING (device_num)
COMMENT 'What devices say of themselves in their documents of state, see docs/device-state.md. Devices that never did are not in it. Example: SELECT device_type, firmware, count() AS devices FROM ioc.device_reports GROUP BY device_type, firmware ORDER BY devices DESC';
