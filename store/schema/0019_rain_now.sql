-- Rain of the last hours, gauge by gauge, made each minute by a step: the questions of now would sum a million rows each time.

CREATE TABLE IF NOT EXISTS cityfleet.rain_now {on_cluster}
(
    device_num UInt32 CODEC(ZSTD(1)) COMMENT 'Number of the gauge, see cityfleet.devices',
    ward_code LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ward in which it stands, or in which it rained there then',
    device_id String CODEC(ZSTD(1)) COMMENT 'Name of the gauge; empty: it stands here no longer',
    interval_s UInt32 CODEC(ZSTD(1)) COMMENT 'Expected seconds between its readings; 0: no expectation',
    t10 DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Start of the running ten minutes, with which the windows end',
    r1 Float64 CODEC(ZSTD(1)) COMMENT 'Good rain of the last hour, mm',
    r2 Float64 CODEC(ZSTD(1)) COMMENT 'Of 2 hours',
    r3 Float64 CODEC(ZSTD(1)) COMMENT 'Of 3 hours',
    r12 Float64 CODEC(ZSTD(1)) COMMENT 'Of 12 hours',
    r24 Float64 CODEC(ZSTD(1)) COMMENT 'Of 24 hours',
    r48 Float64 CODEC(ZSTD(1)) COMMENT 'Of 48 hours',
    n1 UInt64 CODEC(ZSTD(1)) COMMENT 'Good readings of the last hour',
    n2 UInt64 CODEC(ZSTD(1)) COMMENT 'Of 2 hours',
    n3 UInt64 CODEC(ZSTD(1)) COMMENT 'Of 3 hours',
    n12 UInt64 CODEC(ZSTD(1)) COMMENT 'Of 12 hours',
    n24 UInt64 CODEC(ZSTD(1)) COMMENT 'Of 24 hours',
    n48 UInt64 CODEC(ZSTD(1)) COMMENT 'Of 48 hours',
    all24 UInt64 CODEC(ZSTD(1)) COMMENT 'Readings of the last 24 hours, of any quality',
    suspect24 UInt64 CODEC(ZSTD(1)) COMMENT 'Of these, of quality 3',
    fail24 UInt64 CODEC(ZSTD(1)) COMMENT 'Of these, of quality 4',
    s07 Float64 CODEC(ZSTD(1)) COMMENT 'Good rain since 07:00 local time, mm',
    s19 Float64 CODEC(ZSTD(1)) COMMENT 'Since 19:00 local time',
    newest DateTime64(3, 'UTC') CODEC(ZSTD(1)) COMMENT 'Of the newest good reading; 1970-01-01 without one',
    version UInt64 CODEC(ZSTD(1)) COMMENT 'When it was computed; all that is true now has the highest',
    is_deleted UInt8 CODEC(ZSTD(1)) COMMENT '1: there is no such row any more'
)
ENGINE = {replacing}(version, is_deleted)
ORDER BY (device_num, ward_code)
SETTINGS {durable};
