BEGIN TRANSACTION;
CREATE TABLE access_tokens (
	token_id VARCHAR(63) NOT NULL, 
	account_id VARCHAR(63) NOT NULL, 
	token_sha256 BLOB NOT NULL, 
	display_name TEXT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	expire_time_ms BIGINT NOT NULL, 
	last_use_time_ms BIGINT, 
	PRIMARY KEY (token_id), 
	FOREIGN KEY(account_id) REFERENCES accounts (account_id), 
	UNIQUE (token_sha256)
);
CREATE TABLE accounts (
	account_id VARCHAR(63) NOT NULL, 
	display_name TEXT NOT NULL, 
	is_service BOOLEAN NOT NULL, 
	grants TEXT NOT NULL, 
	is_disabled BOOLEAN NOT NULL, 
	revision BIGINT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	update_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (account_id), 
	UNIQUE (revision)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0011');
CREATE TABLE audit_events (
	event_num INTEGER NOT NULL, 
	event_time_ms BIGINT NOT NULL, 
	actor VARCHAR(127) NOT NULL, 
	peer TEXT NOT NULL, 
	method VARCHAR(127) NOT NULL, 
	request_id VARCHAR(63) NOT NULL, 
	resource VARCHAR(191) NOT NULL, 
	"before" TEXT NOT NULL, 
	"after" TEXT NOT NULL, 
	result VARCHAR(127) NOT NULL, 
	chain_sha256 BLOB NOT NULL, 
	PRIMARY KEY (event_num)
);
INSERT INTO "audit_events" VALUES(1,1795303488905,'accounts/admin','','dump','','deviceTypes/gateway','','{"is_gateway":true,"type_id":"gateway"}','OK',X'50108ED920AB6C8267AE9EC768071F965136332A983445BD572228EE2C7A3F0B');
INSERT INTO "audit_events" VALUES(2,1795303488914,'accounts/admin','','dump','','deviceTypes/gauge','','{"metrics":[{"max_value":20.0,"metric":"water_level_m","min_value":-5.0}],"type_id":"gauge"}','OK',X'024E450A0773CEAD401F0BB42D59756D05690D3C2AED83E9CE4E6262AEAEB8A6');
INSERT INTO "audit_events" VALUES(3,1795303488993,'accounts/admin','','dump','','devices/wl-1','','{"device_id":"wl-1","device_type":"gauge","display_name":"","external_id":"","gateway":"","hardware_revision":"","labels":{"owner":"tnmt"},"latitude":21.03,"longitude":105.85,"site":"","site_id":"","state":"active","ward_code":"00070"}','OK',X'6B142E89E8A672B08DF48CCCE1D6ED89654114E986D389B957B8749AFBD9A48F');
INSERT INTO "audit_events" VALUES(4,1795303489003,'accounts/admin','','dump','','devices/gw-1','','{"device_id":"gw-1","device_type":"gateway","display_name":"","external_id":"","gateway":"","hardware_revision":"","labels":{},"latitude":null,"longitude":null,"site":"","site_id":"","state":"active","ward_code":""}','OK',X'65AEF022DA1B090336187C7981D680B2E678E80465806F91A8A2F63C6C38BAE0');
INSERT INTO "audit_events" VALUES(5,1795303489020,'accounts/admin','','dump','','devices/wl-2','','{"device_id":"wl-2","device_type":"gauge","display_name":"","external_id":"0004a30b001c0530","gateway":"gw-1","hardware_revision":"","labels":{},"latitude":null,"longitude":null,"site":"","site_id":"","state":"active","ward_code":""}','OK',X'68AE3EB0694EFB5421AC4DBD18D1C812003D8044F4F54D52C9C4005E3C8B160D');
INSERT INTO "audit_events" VALUES(6,1795303489079,'accounts/admin','','dump','','devices/old-1','','{"device_id":"old-1","device_type":"gauge","display_name":"","external_id":"","gateway":"","hardware_revision":"","labels":{},"latitude":null,"longitude":null,"site":"","site_id":"","state":"active","ward_code":""}','OK',X'12DEB8BECD1CBBA7FE5804F0ABC114FF9DCD75B6F76039831DA0568A7D270C6A');
INSERT INTO "audit_events" VALUES(7,1795303489098,'accounts/admin','','dump','','devices/old-1','{"device_id":"old-1","device_type":"gauge","display_name":"","external_id":"","gateway":"","hardware_revision":"","labels":{},"latitude":null,"longitude":null,"site":"","site_id":"","state":"active","ward_code":""}','{"device_id":"old-1","device_type":"gauge","display_name":"","external_id":"","gateway":"","hardware_revision":"","labels":{},"latitude":null,"longitude":null,"site":"","site_id":"","state":"decommissioned","ward_code":""}','OK',X'0459407B345A6A31128A1BF7F1A74AF10CD39B9AE5D5DC7F314880C7E9CF2A40');
CREATE TABLE device_connections (
	device_num INTEGER NOT NULL, 
	node VARCHAR(63) NOT NULL, 
	connect_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (device_num, node)
);
CREATE TABLE device_labels (
	"key" VARCHAR(63) NOT NULL, 
	value VARCHAR(255) NOT NULL, 
	device_num INTEGER NOT NULL, 
	PRIMARY KEY ("key", value, device_num), 
	FOREIGN KEY(device_num) REFERENCES devices (device_num)
)
 WITHOUT ROWID

;
INSERT INTO "device_labels" VALUES('owner','tnmt',1);
CREATE TABLE device_placements (
	device_num INTEGER NOT NULL, 
	revision BIGINT NOT NULL, 
	start_time_ms BIGINT NOT NULL, 
	end_time_ms BIGINT NOT NULL, 
	gateway_id VARCHAR(63) NOT NULL, 
	site_id VARCHAR(63) NOT NULL, 
	ward_code VARCHAR(5) NOT NULL, 
	latitude FLOAT, 
	longitude FLOAT, 
	PRIMARY KEY (device_num, revision)
)
 WITHOUT ROWID

;
CREATE TABLE device_state (
	device_num INTEGER NOT NULL, 
	is_connected BOOLEAN NOT NULL, 
	connect_time_ms BIGINT, 
	disconnect_time_ms BIGINT, 
	disconnect_reason VARCHAR(63) NOT NULL, 
	node VARCHAR(63) NOT NULL, 
	last_seen_ms BIGINT, 
	last_reading_ms BIGINT, 
	firmware_version VARCHAR(63) NOT NULL, 
	config_version BIGINT NOT NULL, 
	hardware_revision VARCHAR(63) NOT NULL, 
	revision BIGINT NOT NULL, type_num INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (device_num)
);
CREATE TABLE device_state_documents (
	device_num INTEGER NOT NULL, 
	document TEXT NOT NULL, 
	document_time_ms BIGINT NOT NULL, last_calibration VARCHAR(10) DEFAULT '' NOT NULL, reported_revision BIGINT DEFAULT '1' NOT NULL, 
	PRIMARY KEY (device_num)
);
CREATE TABLE device_tokens (
	device_num INTEGER NOT NULL, 
	token_sha256 BLOB NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (device_num, token_sha256), 
	FOREIGN KEY(device_num) REFERENCES devices (device_num)
)
 WITHOUT ROWID

;
INSERT INTO "device_tokens" VALUES(1,X'6943DC33E7ED00B240FBB3D9E487183B10787722757FEB5DFE79DEF12A1FAFF7',1795303488990);
INSERT INTO "device_tokens" VALUES(2,X'605C54E033C4FBE62BB1C52C42819586FF983F62F8CB661FCCC23A157868A67C',1795303488998);
INSERT INTO "device_tokens" VALUES(3,X'8A35B01E8FC585552850CDCCCF244FF6A7872061650D3F217FD2B1C9719950E2',1795303489018);
CREATE TABLE device_type_metrics (
	type_num INTEGER NOT NULL, 
	position SMALLINT NOT NULL, 
	metric_num INTEGER NOT NULL, 
	min_value FLOAT, 
	max_value FLOAT, source VARCHAR(127) DEFAULT '' NOT NULL, source_unit VARCHAR(63) DEFAULT '' NOT NULL, resolution FLOAT DEFAULT '0' NOT NULL, expected_interval_s INTEGER DEFAULT '0' NOT NULL, tests TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (type_num, position), 
	FOREIGN KEY(type_num) REFERENCES device_types (type_num), 
	FOREIGN KEY(metric_num) REFERENCES metrics (metric_num)
);
INSERT INTO "device_type_metrics" VALUES(2,0,1,-5.0,20.0,'','',0.0,0,'');
CREATE TABLE device_type_revisions (
	type_num INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	spec TEXT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (type_num, version), 
	FOREIGN KEY(type_num) REFERENCES device_types (type_num)
);
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
	update_time_ms BIGINT NOT NULL, decoder TEXT DEFAULT '' NOT NULL, vectors TEXT DEFAULT '' NOT NULL, config_schema TEXT DEFAULT '' NOT NULL, commands TEXT DEFAULT '' NOT NULL, hardware_revisions TEXT DEFAULT '' NOT NULL, is_deleted BOOLEAN DEFAULT 0 NOT NULL, 
	PRIMARY KEY (type_num), 
	UNIQUE (type_id), 
	UNIQUE (revision)
);
INSERT INTO "device_types" VALUES(1,'gateway','','',1,'senml-json',0,1,21,21,1795303488882,1795303488882,'','','','','',0);
INSERT INTO "device_types" VALUES(2,'gauge','','',0,'senml-json',0,1,22,22,1795303488911,1795303488911,'','','','','',0);
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
	revision BIGINT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	update_time_ms BIGINT NOT NULL, external_id VARCHAR(191), site_num BIGINT DEFAULT '0' NOT NULL, is_ward_derived BOOLEAN DEFAULT 0 NOT NULL, is_place_derived BOOLEAN DEFAULT 0 NOT NULL, placed_time_ms BIGINT DEFAULT '0' NOT NULL, hardware_revision VARCHAR(63) DEFAULT '' NOT NULL, state SMALLINT DEFAULT '1' NOT NULL, deleted_state SMALLINT, delete_time_ms BIGINT, purge_time_ms BIGINT, 
	PRIMARY KEY (device_num), 
	UNIQUE (device_id), 
	FOREIGN KEY(type_num) REFERENCES device_types (type_num), 
	UNIQUE (revision)
);
INSERT INTO "devices" VALUES(1,'wl-1',2,0,'','00070','',21.03,105.85,'{"owner":"tnmt"}',23,1795303488990,1795303488990,NULL,0,0,0,1795303488990,'',1,NULL,NULL,NULL);
INSERT INTO "devices" VALUES(2,'gw-1',1,0,'','','',NULL,NULL,'{}',24,1795303488998,1795303488998,NULL,0,0,0,1795303488998,'',1,NULL,NULL,NULL);
INSERT INTO "devices" VALUES(3,'wl-2',2,2,'','','',NULL,NULL,'{}',25,1795303489018,1795303489018,'0004a30b001c0530',0,0,0,1795303489018,'',1,NULL,NULL,NULL);
INSERT INTO "devices" VALUES(4,'old-1',2,0,'','','',NULL,NULL,'{}',27,1795303489075,1795303489091,NULL,0,0,0,1795303489075,'',2,NULL,NULL,NULL);
CREATE TABLE group_members (
	group_num INTEGER NOT NULL, 
	device_num INTEGER NOT NULL, 
	PRIMARY KEY (group_num, device_num), 
	FOREIGN KEY(group_num) REFERENCES groups (group_num), 
	FOREIGN KEY(device_num) REFERENCES devices (device_num)
)
 WITHOUT ROWID

;
CREATE TABLE groups (
	group_num INTEGER NOT NULL, 
	group_id VARCHAR(63) NOT NULL, 
	display_name TEXT NOT NULL, 
	description TEXT NOT NULL, 
	revision BIGINT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	update_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (group_num), 
	UNIQUE (group_id), 
	UNIQUE (revision)
);
CREATE TABLE ingest_nodes (
	node VARCHAR(63) NOT NULL, 
	run VARCHAR(20) NOT NULL, 
	heard_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (node)
);
CREATE TABLE label_keys (
	"key" VARCHAR(63) NOT NULL, 
	devices BIGINT NOT NULL, 
	PRIMARY KEY ("key")
)
 WITHOUT ROWID

;
INSERT INTO "label_keys" VALUES('',4);
INSERT INTO "label_keys" VALUES('owner',1);
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
INSERT INTO "metrics" VALUES(1,'water_level_m','m','Water level above the station''s datum',1,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(2,'street_flood_depth_mm','mm','Depth of water on a street or underpass',2,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(3,'rain_mm','mm','Rain fallen since the reading before',3,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(4,'pm2_5_ug_m3','ug/m3','Mass concentration of particles below 2.5 µm',4,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(5,'pm10_ug_m3','ug/m3','Mass concentration of particles below 10 µm',5,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(6,'vehicle_count','1','Vehicles passed since the reading before',6,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(7,'speed_km_h','km/h','Mean speed of the vehicles passed',7,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(8,'occupancy_pct','%','Share of time in which a vehicle stood over the detector',8,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(9,'travel_time_s','s','Time that a vehicle takes along the measured stretch',9,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(10,'temperature_cel','Cel','Air temperature',10,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(11,'humidity_pct','%','Relative humidity',11,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(12,'battery_pct','%','Charge of the device''s battery',12,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(13,'rssi_dbm','dBm','Strength of the received radio signal',13,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(14,'snr_db','dB','Signal-to-noise ratio of the received radio signal',14,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(15,'so2_ug_m3','ug/m3','Mass concentration of sulphur dioxide at 25 °C and 760 mmHg',15,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(16,'no2_ug_m3','ug/m3','Mass concentration of nitrogen dioxide at 25 °C and 760 mmHg',16,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(17,'o3_ug_m3','ug/m3','Mass concentration of ozone at 25 °C and 760 mmHg',17,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(18,'co_ug_m3','ug/m3','Mass concentration of carbon monoxide at 25 °C and 760 mmHg',18,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(19,'tsp_ug_m3','ug/m3','Mass concentration of all suspended particles',19,1795303488861,1795303488861);
INSERT INTO "metrics" VALUES(20,'wind_m_s','m/s','Mean wind speed',20,1795303488861,1795303488861);
CREATE TABLE operations (
	operation_num INTEGER NOT NULL, 
	operation_id VARCHAR(63) NOT NULL, 
	actor VARCHAR(127) NOT NULL, 
	method VARCHAR(127) NOT NULL, 
	request BLOB NOT NULL, 
	progress BLOB NOT NULL, 
	response BLOB, 
	error BLOB, 
	is_done BOOLEAN NOT NULL, 
	is_cancel_requested BOOLEAN NOT NULL, 
	position BIGINT NOT NULL, 
	worker VARCHAR(63) NOT NULL, 
	worker_time_ms BIGINT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	update_time_ms BIGINT NOT NULL, failures BLOB, 
	PRIMARY KEY (operation_num), 
	UNIQUE (operation_id)
);
INSERT INTO "operations" VALUES(1,'bulk-update-1','accounts/admin','cityfleet.registry.v1.DeviceService/BulkUpdateDevices',X'',X'86A5746F74616C03A970726F63657373656403A973756363656564656402A9756E6368616E67656400A66661696C656401A86661696C7572657390',NULL,NULL,1,0,3,'',4000000000000,1795291241932,4000000000000,X'9184A46E616D65AC646576696365732F776C2D32A56572726F72B1507265636F6E646974696F6E4572726F72A6726561736F6EB54445564943455F4445434F4D4D495353494F4E4544A76D657373616765B6776C2D32206973206465636F6D6D697373696F6E6564');
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
CREATE TABLE purged_devices (
	device_num INTEGER NOT NULL, 
	device_id VARCHAR(63) NOT NULL, 
	type_num INTEGER NOT NULL, 
	ward_code VARCHAR(5) NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	purge_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (device_num), 
	UNIQUE (device_id), 
	FOREIGN KEY(type_num) REFERENCES device_types (type_num), 
	UNIQUE (revision)
);
CREATE TABLE registry_state (
	id INTEGER NOT NULL, 
	registry_id VARCHAR(32) NOT NULL, 
	revision BIGINT NOT NULL, 
	last_metric_num INTEGER NOT NULL, 
	last_type_num INTEGER NOT NULL, 
	last_device_num BIGINT NOT NULL, 
	has_starter_catalogue BOOLEAN NOT NULL, last_site_num BIGINT DEFAULT '0' NOT NULL, last_group_num BIGINT DEFAULT '0' NOT NULL, last_operation_num BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "registry_state" VALUES(1,'f1720e75b4704757a5ba29382f27c7d1',27,20,2,4,1,0,0,1);
CREATE TABLE request_ids (
	actor VARCHAR(127) NOT NULL, 
	request_id VARCHAR(63) NOT NULL, 
	method VARCHAR(127) NOT NULL, 
	request_sha256 BLOB NOT NULL, 
	answer BLOB NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (actor, request_id)
);
CREATE TABLE saved_queries (
	saved_query_id VARCHAR(63) NOT NULL, 
	display_name TEXT NOT NULL, 
	filter TEXT NOT NULL, 
	revision BIGINT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	update_time_ms BIGINT NOT NULL, 
	PRIMARY KEY (saved_query_id), 
	UNIQUE (revision)
);
CREATE TABLE site_labels (
	"key" VARCHAR(63) NOT NULL, 
	value VARCHAR(255) NOT NULL, 
	site_num INTEGER NOT NULL, 
	PRIMARY KEY ("key", value, site_num), 
	FOREIGN KEY(site_num) REFERENCES sites (site_num)
)
 WITHOUT ROWID

;
CREATE TABLE sites (
	site_num INTEGER NOT NULL, 
	site_id VARCHAR(63) NOT NULL, 
	display_name TEXT NOT NULL, 
	kind VARCHAR(31) NOT NULL, 
	latitude FLOAT, 
	longitude FLOAT, 
	ward_code VARCHAR(5) NOT NULL, 
	is_ward_derived BOOLEAN NOT NULL, 
	labels TEXT NOT NULL, 
	revision BIGINT NOT NULL, 
	create_time_ms BIGINT NOT NULL, 
	update_time_ms BIGINT NOT NULL, 
	delete_time_ms BIGINT, 
	purge_time_ms BIGINT, 
	PRIMARY KEY (site_num), 
	UNIQUE (site_id), 
	UNIQUE (revision)
);
CREATE TABLE sync_positions (
	consumer VARCHAR(31) NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (consumer)
);
CREATE TABLE unheard_devices (
	device_num INTEGER NOT NULL, 
	type_num INTEGER NOT NULL, 
	PRIMARY KEY (device_num)
);
INSERT INTO "unheard_devices" VALUES(1,2);
INSERT INTO "unheard_devices" VALUES(2,1);
INSERT INTO "unheard_devices" VALUES(3,2);
INSERT INTO "unheard_devices" VALUES(4,2);
CREATE TABLE ward_boundaries (
	ward_code VARCHAR(5) NOT NULL, 
	boundary BLOB NOT NULL, 
	source TEXT NOT NULL, 
	load_time_ms BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (ward_code)
);
CREATE UNIQUE INDEX ux_devices_external_id ON devices (external_id);
CREATE INDEX ix_devices_type ON devices (type_num, device_num, state);
CREATE INDEX ix_devices_gateway ON devices (gateway_num, device_num, state);
CREATE INDEX ix_devices_ward ON devices (ward_code, device_num, state);
CREATE INDEX ix_devices_site ON devices (site_num, device_num, state);
CREATE INDEX ix_devices_state ON devices (state, device_num);
CREATE INDEX ix_devices_name ON devices (display_name, device_num);
CREATE INDEX ix_devices_create ON devices (create_time_ms, device_num);
CREATE INDEX ix_devices_update ON devices (update_time_ms, device_num);
CREATE INDEX ix_devices_purge ON devices (purge_time_ms) WHERE purge_time_ms IS NOT NULL;
CREATE INDEX ix_device_labels_device ON device_labels (device_num, "key");
CREATE INDEX ix_sites_kind ON sites (kind, site_num);
CREATE INDEX ix_sites_ward ON sites (ward_code, site_num);
CREATE INDEX ix_site_labels_site ON site_labels (site_num);
CREATE INDEX ix_device_state_firmware ON device_state (firmware_version, device_num);
CREATE INDEX ix_device_state_revision ON device_state (revision, device_num);
CREATE INDEX ix_device_state_node ON device_state (node) WHERE is_connected;
CREATE INDEX ix_group_members_device ON group_members (device_num);
CREATE INDEX ix_access_tokens_account_id ON access_tokens (account_id);
CREATE INDEX ix_audit_events_resource ON audit_events (resource, event_num);
CREATE INDEX ix_audit_events_actor ON audit_events (actor, event_num);
CREATE INDEX ix_audit_events_time ON audit_events (event_time_ms);
CREATE INDEX ix_request_ids_create_time_ms ON request_ids (create_time_ms);
CREATE INDEX ix_operations_open ON operations (operation_num) WHERE NOT is_done;
CREATE INDEX ix_audit_events_method ON audit_events (method, event_num);
CREATE INDEX ix_audit_events_request ON audit_events (request_id, event_num);
CREATE INDEX ix_device_connections_node ON device_connections (node);
CREATE INDEX ix_device_state_documents_reported ON device_state_documents (reported_revision, device_num);
CREATE INDEX ix_device_state_seen ON device_state (last_seen_ms, device_num, type_num, is_connected);
CREATE INDEX ix_device_state_reading ON device_state (last_reading_ms, device_num, type_num);
CREATE INDEX ix_audit_events_refused ON audit_events (event_num) WHERE result <> 'OK';
CREATE INDEX ix_devices_place ON devices ((CAST(latitude * 200 AS INTEGER)), longitude, latitude, device_num);
COMMIT;
