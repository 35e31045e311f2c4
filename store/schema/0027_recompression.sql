-- What old parts are compressed with in the end (RECOMPRESS) is taken by columns without a codec of their own only: so far
-- nothing became smaller by it. Until then it is ZSTD(1), as before. Parts that are there follow when they are merged.

ALTER TABLE cityfleet.readings {on_cluster}
    MODIFY SETTING default_compression_codec = 'ZSTD(1)';
ALTER TABLE cityfleet.readings {on_cluster}
    MODIFY COLUMN device_num CODEC(Default),
    MODIFY COLUMN metric_num CODEC(Default),
    MODIFY COLUMN ts CODEC(Delta, Default),
    MODIFY COLUMN value CODEC(Default),
    MODIFY COLUMN quality CODEC(Default),
    MODIFY COLUMN quality_reasons CODEC(Default),
    MODIFY COLUMN ward_code CODEC(Default),
    MODIFY COLUMN received_at CODEC(Delta, Default);
ALTER TABLE cityfleet.readings_text {on_cluster}
    MODIFY SETTING default_compression_codec = 'ZSTD(1)';
ALTER TABLE cityfleet.readings_text {on_cluster}
    MODIFY COLUMN device_num CODEC(Default),
    MODIFY COLUMN metric_num CODEC(Default),
    MODIFY COLUMN ts CODEC(Delta, Default),
    MODIFY COLUMN kind CODEC(Default),
    MODIFY COLUMN value CODEC(Default),
    MODIFY COLUMN quality CODEC(Default),
    MODIFY COLUMN ward_code CODEC(Default),
    MODIFY COLUMN received_at CODEC(Delta, Default);
