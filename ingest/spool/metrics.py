"""What the spool counts beyond the ledger: what was lost to damage, what waits, how the disk does."""

from prometheus_client import Counter, Gauge

LOST_READINGS = Counter(
    "cityfleet_ingest_spool_lost_readings",
    "Readings whose record could not be read: damaged, or unfinished, that is written when the process or the power "
    "went, and as a rule not acknowledged.",
    labelnames=["kind"],
)
LOST_BYTES = Counter(
    "cityfleet_ingest_spool_lost_bytes", "Bytes of damage of which nothing tells how many readings they held."
)
FILES_SET_ASIDE = Counter(
    "cityfleet_ingest_spool_files_set_aside",
    "Files of the spool's folder that were not what they should be, renamed to *.aside or *.damaged.",
)
SEGMENT_FILES = Counter(
    "cityfleet_ingest_spool_segment_files", "Segments begun, in a new file or in a used one.", labelnames=["file"]
)
WAITING_SEGMENTS = Gauge("cityfleet_ingest_spool_waiting_segments", "Closed segments that the store does not have yet.")
WAITING_BYTES = Gauge("cityfleet_ingest_spool_waiting_bytes", "Bytes of those.")
OLDEST_AGE_SECONDS = Gauge("cityfleet_ingest_spool_oldest_age_seconds", "Age of the oldest of those; 0: none waits.")
FREE_BYTES = Gauge("cityfleet_ingest_spool_free_bytes", "What the spool's file system has left for it.")
for _kind in ("damaged", "unfinished"):
    LOST_READINGS.labels(_kind)
for _file in ("new", "used"):
    SEGMENT_FILES.labels(_file)
