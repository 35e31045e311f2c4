-- An id for every row of quarantine, by which copies of a row collapse and a person can name it. It is a UUID of version 7
-- of the time that the payload came in, so that the row with an id is found in the table's order. Ingest gives ids that
-- follow from the segment (ext/clickhouse/quarantine_ids.pyx); rows of before, and of who inserts past ingest, get one here.
-- No TTL any more: what is too old or too much is dropped part by part, and counted (store/quarantine_limit.py).
-- A run that broke off begins anew: what has the second name is a draft, or the table of before.

DROP TABLE IF EXISTS cityfleet.quarantine_draft {on_cluster} SYNC;

CREATE TABLE IF NOT EXISTS cityfleet.quarantine_draft {on_cluster}
(
    id UUID DEFAULT toUUID(concat(
        substring(leftPad(lower(hex(toUInt64(toUnixTimestamp64Milli(received_at)))), 16, '0'), 5, 8), '-',
        substring(leftPad(lower(hex(toUInt64(toUnixTimestamp64Milli(received_at)))), 16, '0'), 13, 4), '-7',
        substring(leftPad(lower(hex(rand64(1))), 16, '0'), 1, 3), '-8',
        substring(leftPad(lower(hex(rand64(1))), 16, '0'), 4, 3), '-',
        substring(leftPad(lower(hex(rand64(2))), 16, '0'), 1, 12)
    )) COMMENT 'The same when the same payload is inserted again',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the platform took it',
    device_id String COMMENT 'Who sent it, as far as known',
    topic String,
    transport LowCardinality(String),
    encoding LowCardinality(String) COMMENT 'That it was decoded as',
    reason LowCardinality(String) COMMENT 'Of the first reading that was refused',
    detail String COMMENT 'What was found, and at which byte',
    readings UInt32 COMMENT 'How many readings this row stands for',
    payload String CODEC(ZSTD(3)) COMMENT 'The bytes as they came'
)
ENGINE = {replacing}
ORDER BY (received_at, id)
SETTINGS {durable};

INSERT INTO cityfleet.quarantine_draft
(received_at, device_id, topic, transport, encoding, reason, detail, readings, payload)
SELECT received_at, device_id, topic, transport, encoding, reason, detail, readings, payload
FROM cityfleet.quarantine;

EXCHANGE TABLES cityfleet.quarantine AND cityfleet.quarantine_draft {on_cluster};

DROP TABLE cityfleet.quarantine_draft {on_cluster} SYNC;
