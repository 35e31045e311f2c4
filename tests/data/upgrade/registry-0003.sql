BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE device_labels (
	"key" VARCHAR(63) NOT NULL, 
	value VARCHAR(255) NOT NULL, 
	device_num INTEGER NOT NULL, 
	PRIMARY KEY ("key", value, device_num), 
	FOREIGN KEY(device_num) REFERENCES devices (device_num)
)
 WITHOUT ROWID

;
INSERT INTO "device_labels" VALUES('river','to-lich',1);
CREATE TABLE device_tokens (
	device_num INTEGER NOT NULL, 
	token_sha256 BLOB NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (device_num, token_sha256), 
	FOREIGN KEY(device_num) REFERENCES devices (device_num)
)
 WITHOUT ROWID

;
INSERT INTO "device_tokens" VALUES(1,X'34C95CC613658391D0BF25105109E6D22B60CA5E4DC48F67959C13944F7605C6',1795243712854);
INSERT INTO "device_tokens" VALUES(2,X'B8DB610D478FA6403518E66FE2EF771431FEDC75E3DC09CCE0061EFAD6870656',1795243713004);
INSERT INTO "device_tokens" VALUES(3,X'478180747A2F46647BF02E7DA56ED9321C5B9DDB181EB0032D7AFB4308138061',1795243713172);
CREATE TABLE device_type_metrics (
	type_num INTEGER NOT NULL, 
	position SMALLINT NOT NULL, 
	metric_num INTEGER NOT NULL, 
	min_value FLOAT, 
	max_value FLOAT, source VARCHAR(127) DEFAULT '' NOT NULL, source_unit VARCHAR(63) DEFAULT '' NOT NULL, 
	PRIMARY KEY (type_num, position), 
	FOREIGN KEY(type_num) REFERENCES device_types (type_num), 
	FOREIGN KEY(metric_num) REFERENCES metrics (metric_num)
);
INSERT INTO "device_type_metrics" VALUES(1,0,1,0.0,20.0,'','');
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
	update_time_ms BIGINT NOT NULL, decoder TEXT DEFAULT '' NOT NULL, vectors TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (type_num), 
	UNIQUE (type_id), 
	UNIQUE (revision)
);
INSERT INTO "device_types" VALUES(1,'gauge','','',0,'senml-json',60,1,15,15,1795243712227,1795243712227,'','');
INSERT INTO "device_types" VALUES(2,'gateway','','',1,'senml-json',60,1,16,16,1795243712603,1795243712603,'','');
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
	update_time_ms BIGINT NOT NULL, external_id VARCHAR(191), 
	PRIMARY KEY (device_num), 
	UNIQUE (device_id), 
	FOREIGN KEY(type_num) REFERENCES device_types (type_num), 
	UNIQUE (revision)
);
INSERT INTO "devices" VALUES(1,'wl-1',1,0,'','00070','pump house',21.01,105.83,'{"river":"to-lich"}',1,17,1795243712854,1795243712854,NULL);
INSERT INTO "devices" VALUES(2,'gw-1',2,0,'','00070','',NULL,NULL,'{}',1,18,1795243713004,1795243713004,NULL);
INSERT INTO "devices" VALUES(3,'wl-2',1,2,'','','',NULL,NULL,'{}',1,19,1795243713172,1795243713172,'eui-2');
INSERT INTO "devices" VALUES(4,'old-1',1,0,'','00070','',NULL,NULL,'{}',0,21,1795243713312,1795243713581,NULL);
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
INSERT INTO "metrics" VALUES(1,'water_level_m','m','Water level above the station''s datum',1,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(2,'street_flood_depth_mm','mm','Depth of water on a street or underpass',2,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(3,'rain_mm','mm','Rain fallen since the reading before',3,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(4,'pm2_5_ug_m3','ug/m3','Mass concentration of particles below 2.5 µm',4,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(5,'pm10_ug_m3','ug/m3','Mass concentration of particles below 10 µm',5,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(6,'vehicle_count','1','Vehicles passed since the reading before',6,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(7,'speed_km_h','km/h','Mean speed of the vehicles passed',7,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(8,'occupancy_pct','%','Share of time in which a vehicle stood over the detector',8,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(9,'travel_time_s','s','Time that a vehicle takes along the measured stretch',9,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(10,'temperature_cel','Cel','Air temperature',10,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(11,'humidity_pct','%','Relative humidity',11,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(12,'battery_pct','%','Charge of the device''s battery',12,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(13,'rssi_dbm','dBm','Strength of the received radio signal',13,1795243711628,1795243711628);
INSERT INTO "metrics" VALUES(14,'snr_db','dB','Signal-to-noise ratio of the received radio signal',14,1795243711628,1795243711628);
CREATE TABLE operators (
	operator_num INTEGER NOT NULL, 
	operator_id VARCHAR(63) NOT NULL, 
	display_name TEXT NOT NULL, 
	subscribe_filters TEXT NOT NULL, 
	publish_filters TEXT NOT NULL, 
	token_sha256 BLOB NOT NULL, 
	is_disabled BOOLEAN NOT NULL, 
	is_deleted BOOLEAN NOT NULL, 
	revision BIGINT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	update_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (operator_num), 
	UNIQUE (operator_id), 
	UNIQUE (revision)
);
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
INSERT INTO "registry_state" VALUES(1,'d1d1a94f693c4487836caca503619e40',21,14,2,4,1);
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
CREATE UNIQUE INDEX ux_devices_external_id ON devices (external_id);
COMMIT;
