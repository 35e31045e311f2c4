-- Devices, metrics, wards and the like are looked up in most answers. A table that has come to rest is merged into one part, of
-- which no copies have to be looked for.
ALTER TABLE cityfleet.devices {on_cluster}
    MODIFY SETTING min_age_to_force_merge_seconds = 300, min_age_to_force_merge_on_partition_only = 1;
ALTER TABLE cityfleet.device_types {on_cluster}
    MODIFY SETTING min_age_to_force_merge_seconds = 300, min_age_to_force_merge_on_partition_only = 1;
ALTER TABLE cityfleet.metrics {on_cluster}
    MODIFY SETTING min_age_to_force_merge_seconds = 300, min_age_to_force_merge_on_partition_only = 1;
ALTER TABLE cityfleet.sites {on_cluster}
    MODIFY SETTING min_age_to_force_merge_seconds = 300, min_age_to_force_merge_on_partition_only = 1;
ALTER TABLE cityfleet.wards {on_cluster}
    MODIFY SETTING min_age_to_force_merge_seconds = 300, min_age_to_force_merge_on_partition_only = 1;
