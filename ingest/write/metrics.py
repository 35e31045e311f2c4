"""What the write stage tells about the store and about what it does with what the store refuses."""

from prometheus_client import Counter, Gauge

BREAKER = Gauge(
    "cityfleet_ingest_write_breaker",
    "0: inserts go to the store. 1: it answers again and one insert is tried. 2: it is away, only probes go.",
)
HUNTS = Counter(
    "cityfleet_ingest_write_hunts",
    "Inserts that the store refused for what is in them, and that were cut up to find the rows.",
    labelnames=["table"],
)
ROWS_REFUSED = Counter(
    "cityfleet_ingest_write_rows_refused",
    "Rows that the store does not take. They are in quarantine, but those of `latest`, which are copies.",
    labelnames=["table"],
)
HELD = Gauge(
    "cityfleet_ingest_write_segments_held",
    "Segments of which the store took no row; they are tried again when it took rows of others.",
)
PARTS = Gauge(
    "cityfleet_ingest_write_store_parts",
    "Active parts of the partition that has most, of the tables that inserts reach.",
)
PAUSED = Counter(
    "cityfleet_ingest_write_paused_seconds", "Time for which inserts waited because the store had too many parts."
)
COMPARED = Counter(
    "cityfleet_ingest_write_compared",
    "Segments compared with the store before they were sent again: `there` were not sent.",
    labelnames=["outcome"],
)
WITHOUT_WINDOW = Gauge(
    "cityfleet_ingest_write_tables_without_window",
    "Tables that inserts reach and that would store a repeated insert twice.",
)
