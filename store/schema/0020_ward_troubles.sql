-- What is open of traffic and devices, ward by ward, made each minute by steps: the page of a ward reads it, and it says the
-- same to the ward as to the city, whose views see more devices.
CREATE TABLE IF NOT EXISTS cityfleet.ward_troubles {on_cluster}
(
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward that it is for',
    domain LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'traffic or devices',
    object_id String CODEC(ZSTD(1)) COMMENT 'Segment; device, gateway, type/NAME or ward/CODE',
    severity UInt8 CODEC(ZSTD(1)) COMMENT '1 to 3, 3 is the worst',
    title String CODEC(ZSTD(1)) COMMENT 'What is the matter, for people',
    value Nullable(Float64) CODEC(ZSTD(1)),
    threshold Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'What it has passed, in the same unit',
    unit LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Of value and threshold',
    source String CODEC(ZSTD(1)) COMMENT 'Where the threshold comes from',
    since_ts DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'When it began; stays as long as it goes on',
    last_ts Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'Newest reading used',
    good_n UInt64 CODEC(ZSTD(1)),
    suspect_n UInt64 CODEC(ZSTD(1)),
    fail_n UInt64 CODEC(ZSTD(1)),
    coverage Nullable(Float64) CODEC(ZSTD(1)) COMMENT '0 to 1; NULL: no expectation',
    method LowCardinality(String) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed, ms since 1970; the highest counts',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: it is over'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (ward_code, domain, object_id)
SETTINGS {durable};
