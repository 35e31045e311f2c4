-- Thresholds, indices and places that answers rest on. The rows that come with cityfleet are store/reference/*.csv, loaded at
-- start; `cityfleet store reference apply` adds the operator's own. See docs/reference.md.

-- Levels and limits with their time of validity and their source.
CREATE TABLE IF NOT EXISTS cityfleet.thresholds {on_cluster}
(
    scheme LowCardinality(String) COMMENT 'bao_dong, qcvn_05_2023, rain_class, rain_flood, los_*, sla ...',
    object String COMMENT 'What it holds for: a station, a kind of site; empty: everything',
    parameter String COMMENT 'A metric, or a pollutant without its unit: pm2_5, o3',
    averaging LowCardinality(String) COMMENT '1h, 8h, 24h, year ...; empty: as measured',
    level UInt8 COMMENT 'The higher, the worse',
    level_name String,
    low Nullable(Float64) COMMENT 'From here on',
    high Nullable(Float64) COMMENT 'Up to here; of a limit: the limit',
    unit String COMMENT 'UCUM',
    valid_from Date COMMENT 'First day',
    valid_to Date COMMENT 'Last day; 2149-06-06: no end is known',
    source String COMMENT 'Where it is written',
    confidence LowCardinality(String) COMMENT 'stated, derived, implied or own',
    origin LowCardinality(String) DEFAULT 'operator' COMMENT 'cityfleet: came with it; operator: applied here, and wins',
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3)) COMMENT 'The highest counts',
    is_deleted UInt8 DEFAULT 0 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (scheme, object, parameter, averaging, level, valid_from)
SETTINGS {durable};

-- Official gauging stations.
CREATE TABLE IF NOT EXISTS cityfleet.stations {on_cluster}
(
    station_id String COMMENT 'Label `station` of the gauge that stands there',
    name String COMMENT 'Official name',
    river String,
    origin LowCardinality(String) DEFAULT 'operator' COMMENT 'cityfleet: came with it; operator: applied here, and wins',
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3)) COMMENT 'The highest counts',
    is_deleted UInt8 DEFAULT 0 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (station_id)
SETTINGS {durable};

-- Wards that orders of alarm on a river name.
CREATE TABLE IF NOT EXISTS cityfleet.river_wards {on_cluster}
(
    river String,
    station_id String COMMENT 'That the order goes by; empty: any of the river',
    ward_code String COMMENT 'Official code of five digits',
    valid_from Date COMMENT 'First day',
    valid_to Date COMMENT 'Last day; 2149-06-06: no end is known',
    source String COMMENT 'Where it is written',
    origin LowCardinality(String) DEFAULT 'operator' COMMENT 'cityfleet: came with it; operator: applied here, and wins',
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3)) COMMENT 'The highest counts',
    is_deleted UInt8 DEFAULT 0 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (river, station_id, ward_code, valid_from)
SETTINGS {durable};

-- Orders of alarm as they were declared.
CREATE TABLE IF NOT EXISTS cityfleet.alarm_orders {on_cluster}
(
    order_ref String COMMENT 'Number of the order',
    river String,
    ward_code String COMMENT 'Empty: all wards of the river',
    level UInt8 COMMENT '1 to 3',
    issued_at DateTime64(3, 'UTC'),
    withdrawn_at Nullable(DateTime64(3, 'UTC')) COMMENT 'NULL: in force',
    source String COMMENT 'Where it is written',
    origin LowCardinality(String) DEFAULT 'operator' COMMENT 'cityfleet: came with it; operator: applied here, and wins',
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3)) COMMENT 'The highest counts',
    is_deleted UInt8 DEFAULT 0 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (order_ref, river, ward_code)
SETTINGS {durable};

-- Segments by which a concentration becomes an index.
CREATE TABLE IF NOT EXISTS cityfleet.aqi_breakpoints {on_cluster}
(
    scheme LowCardinality(String) COMMENT 'vn_aqi or us_aqi',
    parameter LowCardinality(String) COMMENT 'pm2_5, pm10, o3, no2, so2, co',
    averaging LowCardinality(String) COMMENT '1h, 8h, 24h',
    unit String COMMENT 'Of the concentrations, UCUM',
    c_low Float64,
    c_high Float64,
    i_low UInt16,
    i_high UInt16,
    valid_from Date COMMENT 'First day',
    valid_to Date COMMENT 'Last day; 2149-06-06: no end is known',
    source String COMMENT 'Where it is written',
    origin LowCardinality(String) DEFAULT 'operator' COMMENT 'cityfleet: came with it; operator: applied here, and wins',
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3)) COMMENT 'The highest counts',
    is_deleted UInt8 DEFAULT 0 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (scheme, parameter, averaging, valid_from, c_low)
SETTINGS {durable};

-- Names and colours of an index.
CREATE TABLE IF NOT EXISTS cityfleet.aqi_categories {on_cluster}
(
    scheme LowCardinality(String) COMMENT 'vn_aqi or us_aqi',
    aqi_low UInt16,
    aqi_high UInt16,
    name_vi String,
    name_en String,
    colour_vi String,
    hex LowCardinality(String) COMMENT '#RRGGBB',
    advice_vi String COMMENT 'Empty where the text is not at hand',
    source String COMMENT 'Where it is written',
    origin LowCardinality(String) DEFAULT 'operator' COMMENT 'cityfleet: came with it; operator: applied here, and wins',
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3)) COMMENT 'The highest counts',
    is_deleted UInt8 DEFAULT 0 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (scheme, aqi_low)
SETTINGS {durable};

-- Road segments that counters stand on.
CREATE TABLE IF NOT EXISTS cityfleet.road_segments {on_cluster}
(
    segment_id String COMMENT 'Label `segment` of its counters; else their site, else the device itself',
    name String,
    ward_code String COMMENT 'Official code of five digits',
    length_m Float64,
    lanes UInt8,
    free_flow_km_h Nullable(Float64) COMMENT 'NULL: from the speeds of the nights',
    los_scheme LowCardinality(String) COMMENT 'A scheme los_* of thresholds',
    origin LowCardinality(String) DEFAULT 'operator' COMMENT 'cityfleet: came with it; operator: applied here, and wins',
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3)) COMMENT 'The highest counts',
    is_deleted UInt8 DEFAULT 0 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (segment_id)
SETTINGS {durable};

-- Codes of wards and when they meant what.
CREATE TABLE IF NOT EXISTS cityfleet.ward_codes {on_cluster}
(
    code String COMMENT 'Official code of five digits; used again for other wards, so (code, valid_from) is the key',
    name String,
    valid_from Date COMMENT 'First day',
    valid_to Date COMMENT 'Last day; 2149-06-06: no end is known',
    successors Array(String) COMMENT 'Codes of the wards that its area went to; empty: in force, or not known',
    source String COMMENT 'Where it is written',
    origin LowCardinality(String) DEFAULT 'operator' COMMENT 'cityfleet: came with it; operator: applied here, and wins',
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3)) COMMENT 'The highest counts',
    is_deleted UInt8 DEFAULT 0 COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (code, valid_from)
SETTINGS {durable};

-- What was loaded from the files that come with cityfleet.
CREATE TABLE IF NOT EXISTS cityfleet.reference_files {on_cluster}
(
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = {replacing}(applied_at)
ORDER BY name
SETTINGS {durable};
