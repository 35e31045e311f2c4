BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE device_labels (
	"key" VARCHAR(63) NOT NULL, 
	value VARCHAR(255) NOT NULL, 
	device_num INTEGER NOT NULL, 
	PRIMARY KEY ("key", value, device_num), 
	FOREIGN KEY(device_num) REFERENCES devices (device_num)
)
 WITHOUT ROWID

;
CREATE TABLE device_tokens (
	device_num INTEGER NOT NULL, 
	token_sha256 BLOB NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (device_num, token_sha256), 
	FOREIGN KEY(device_num) REFERENCES devices (device_num)
)
 WITHOUT ROWID

;
INSERT INTO "device_tokens" VALUES(1,X'A8F24829A1B8C512796520A593400F0EF191872C51DC01126CA844447B2327FF',1795231234534);
INSERT INTO "device_tokens" VALUES(2,X'2C991050D39845E9EF893435659F7D4BBA5380433BBC74EEE3A9AC42BF9B58A2',1795231234540);
INSERT INTO "device_tokens" VALUES(3,X'F8FEBE950BF834D654BC980E571E71B067FACADA06B14EAFF1E9ECBEC879FF20',1795231234544);
CREATE TABLE device_type_metrics (
	type_num INTEGER NOT NULL, 
	position SMALLINT NOT NULL, 
	metric_num INTEGER NOT NULL, 
	min_value FLOAT, 
	max_value FLOAT, 
	PRIMARY KEY (type_num, position), 
	FOREIGN KEY(type_num) REFERENCES device_types (type_num), 
	FOREIGN KEY(metric_num) REFERENCES metrics (metric_num)
);
INSERT INTO "device_type_metrics" VALUES(1,0,1,0.0,20.0);
INSERT INTO "device_type_metrics" VALUES(1,1,3,NULL,NULL);
INSERT INTO "device_type_metrics" VALUES(2,0,12,0.0,100.0);
CREATE TABLE device_types (
	type_num INTEGER NOT NULL, 
	type_id VARCHAR(63) NOT NULL, 
	display_name TEXT NOT NULL, 
	description TEXT NOT NULL, 
	is_gateway BOOLEAN NOT NULL, 
	default_encoding VARCHAR(31) NOT NULL, 
	expected_interval_s INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	dimension_revision BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	update_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (type_num), 
	UNIQUE (type_id), 
	UNIQUE (revision)
);
INSERT INTO "device_types" VALUES(1,'gauge','','',0,'senml-json',60,1,14,14,1795231234510,1795231234510);
INSERT INTO "device_types" VALUES(2,'gateway','','',1,'senml-json',60,1,15,15,1795231234517,1795231234517);
CREATE TABLE devices (
	device_num INTEGER NOT NULL, 
	device_id VARCHAR(63) NOT NULL, 
	type_num INTEGER NOT NULL, 
	gateway_num BIGINT NOT NULL, 
	display_name TEXT NOT NULL, 
	ward_code VARCHAR(5) NOT NULL, 
	site TEXT NOT NULL, 
	latitude FLOAT, 
	longitude FLOAT, 
	labels TEXT NOT NULL, 
	is_active BOOLEAN NOT NULL, 
	revision BIGINT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	update_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (device_num), 
	UNIQUE (device_id), 
	FOREIGN KEY(type_num) REFERENCES device_types (type_num), 
	UNIQUE (revision)
);
INSERT INTO "devices" VALUES(1,'wl-1',1,0,'','00070','',NULL,NULL,'{}',1,16,1795231234534,1795231234534);
INSERT INTO "devices" VALUES(2,'gw-1',2,0,'','','',NULL,NULL,'{}',1,17,1795231234540,1795231234540);
INSERT INTO "devices" VALUES(3,'wl-2',1,2,'','','',NULL,NULL,'{}',1,18,1795231234544,1795231234544);
CREATE TABLE metrics (
	metric_num INTEGER NOT NULL, 
	metric_id VARCHAR(63) NOT NULL, 
	unit VARCHAR(63) NOT NULL, 
	description TEXT NOT NULL, 
	revision BIGINT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	update_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (metric_num), 
	UNIQUE (metric_id), 
	UNIQUE (revision)
);
INSERT INTO "metrics" VALUES(1,'water_level_m','m','Water level above the station''s datum',1,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(2,'street_flood_depth_mm','mm','Depth of water on a street or underpass',2,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(3,'rain_mm','mm','Rain fallen since the reading before',3,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(4,'pm2_5_ug_m3','ug/m3','Mass concentration of particles below 2.5 µm',4,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(5,'pm10_ug_m3','ug/m3','Mass concentration of particles below 10 µm',5,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(6,'vehicle_count','1','Vehicles passed since the reading before',6,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(7,'speed_km_h','km/h','Mean speed of the vehicles passed',7,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(8,'occupancy_pct','%','Share of time in which a vehicle stood over the detector',8,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(9,'travel_time_s','s','Time that a vehicle takes along the measured stretch',9,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(10,'temperature_cel','Cel','Air temperature',10,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(11,'humidity_pct','%','Relative humidity',11,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(12,'battery_pct','%','Charge of the device''s battery',12,1795231234455,1795231234455);
INSERT INTO "metrics" VALUES(13,'rssi_dbm','dBm','Strength of the received radio signal',13,1795231234455,1795231234455);
CREATE TABLE registry_state (
	id INTEGER NOT NULL, 
	registry_id VARCHAR(32) NOT NULL, 
	revision BIGINT NOT NULL, 
	last_metric_num INTEGER NOT NULL, 
	last_type_num INTEGER NOT NULL, 
	last_device_num BIGINT NOT NULL, 
	has_starter_catalogue BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "registry_state" VALUES(1,'8a0f1f80d2874eedb2cba26659e10865',18,13,2,3,1);
CREATE TABLE sync_positions (
	consumer VARCHAR(31) NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (consumer)
);
CREATE INDEX ix_devices_type ON devices (type_num, device_num);
CREATE INDEX ix_devices_gateway ON devices (gateway_num, device_num);
CREATE INDEX ix_devices_ward ON devices (ward_code, device_num);
CREATE INDEX ix_devices_active ON devices (is_active, device_num);
CREATE INDEX ix_device_labels_device ON device_labels (device_num);
COMMIT;
