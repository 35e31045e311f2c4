-- The history of one device is asked for by its name, which the table is not sorted by: without an index all devices are read.

ALTER TABLE cityfleet.devices {on_cluster}
    ADD INDEX IF NOT EXISTS device_id device_id TYPE bloom_filter(0.001) GRANULARITY 1;

ALTER TABLE cityfleet.devices {on_cluster}
    MATERIALIZE INDEX device_id;
