-- The readings of one device. `WHERE device_id = ...` on ioc.readings compares names after the join, so the engine reads
-- the whole table (its time range, that is); here the name becomes the number that the table is sorted by.

CREATE OR REPLACE VIEW ioc.readings_of {on_cluster}
SQL SECURITY INVOKER
AS SELECT *
FROM ioc.readings
WHERE device_num IN (SELECT device_num FROM cityfleet.devices FINAL WHERE device_id = {device_id:String});
