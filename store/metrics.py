"""What the store counts."""

from prometheus_client import Counter, Gauge, Histogram

queries = Counter("cityfleet_store_queries_total", "Queries answered.", ["account", "outcome"])
query_seconds = Histogram(
    "cityfleet_store_query_seconds",
    "From a request's arrival to the end of its answer.",
    ["account", "kind"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
running = Gauge("cityfleet_store_queries_running", "Queries being run.", ["account"])
rows_inserted = Counter("cityfleet_store_rows_inserted_total", "Rows written, those of materialized views included.")
bytes_inserted = Counter("cityfleet_store_bytes_inserted_total", "Bytes written, uncompressed.")
rows_read = Counter("cityfleet_store_rows_read_total", "Rows read from tables by queries.", ["account"])
cancelled = Counter(
    "cityfleet_store_queries_cancelled_total", "Queries stopped because their client left.", ["account"]
)
active_parts_max = Gauge("cityfleet_store_active_parts_max", "Most active parts in any one partition.")
disk_bytes = Gauge("cityfleet_store_disk_bytes", "Bytes on disk of all active parts.")
