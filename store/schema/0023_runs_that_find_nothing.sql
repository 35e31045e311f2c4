-- A step of "now" gives rows of the run itself too: where nothing is left, what was found before must not be taken for now.

ALTER TABLE cityfleet.rain_now {on_cluster}
    COMMENT COLUMN device_num 'Number of the gauge, see cityfleet.devices; 0: no gauge, the run itself';

ALTER TABLE cityfleet.river_now {on_cluster}
    COMMENT COLUMN device_num 'See alarm_gauges; 0: no gauge, the run itself';

ALTER TABLE cityfleet.ward_rain {on_cluster}
    COMMENT COLUMN in_ward_code 'Ward of the gauges; -: no ward, the run itself';

-- Of a device that is listed: how much of it came lately.
ALTER TABLE cityfleet.fleet_now {on_cluster}
    ADD COLUMN IF NOT EXISTS coverage Nullable(Float64) CODEC(ZSTD(1))
        COMMENT 'Metrics of its type heard within 24 hours / those with an interval; NULL: none has one' AFTER newest_of_all,
    COMMENT COLUMN firmware 'As the device reported, else its label `firmware`, or empty';
