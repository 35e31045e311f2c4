"""What the rollups count."""

from prometheus_client import Counter, Gauge

seconds = Counter("cityfleet_store_rollup_seconds", "Time that steps took, by step.", ["step"])
cells = Counter(
    "cityfleet_store_rollup_cells", "Cells (bucket of time by block of devices) that were computed.", ["step"]
)
failures = Counter("cityfleet_store_rollup_failures", "Passes over the steps in which one broke off with an error.")
due = Gauge("cityfleet_store_rollup_due_cells", "Closed cells that waited at the last look.", ["step"])
newest_done = Gauge(
    "cityfleet_store_rollup_computed_until_seconds", "End of the newest window that was computed, Unix time.", ["step"]
)
