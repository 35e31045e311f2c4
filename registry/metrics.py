"""Metrics of the registry."""

from prometheus_client import Counter, Gauge, Histogram

requests = Counter(
    "cityfleet_registry_api_requests_total", "Calls answered, streams when they end.", ["method", "code"]
)
request_seconds = Histogram("cityfleet_registry_api_request_seconds", "Time to answer a unary call.", ["method"])
import_rows = Counter("cityfleet_registry_import_rows_total", "Rows of imports.", ["outcome"])
devices = Gauge("cityfleet_registry_devices", "Registered devices.", ["state"])
revision = Gauge("cityfleet_registry_revision", "Newest committed revision: grows with every change of any row.")
index_watchers = Gauge("cityfleet_registry_index_watchers", "Ingest nodes that watch the device index now.")
operations_running = Gauge("cityfleet_registry_operations_running", "Operations that this process works on now.")
operation_items = Counter(
    "cityfleet_registry_operation_items_total",
    "Devices, or rows, that operations are done with; of streams at their end.",
    ["method", "outcome"],
)
operation_seconds = Histogram(
    "cityfleet_registry_operation_seconds",
    "From the beginning to the end of an operation.",
    ["method", "result"],
    buckets=(0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400),
)
operation_retries = Counter(
    "cityfleet_registry_operation_retries_total", "Chunks that the database did not take; they are tried again."
)
device_watchers = Gauge("cityfleet_registry_device_watchers", "Streams of WatchDevices that are open now.")
index_rows = Counter("cityfleet_registry_index_rows_total", "Rows sent to watchers of the device index.", ["phase"])
state_reports = Counter("cityfleet_registry_state_reports_total", "States of devices that ingest reported.")
state_documents_refused = Counter(
    "cityfleet_registry_state_documents_refused_total", "Documents of devices that are no JSON objects or too large."
)
dimension_rows = Counter("cityfleet_registry_dimension_rows_total", "Rows written to ClickHouse.", ["table"])
dimension_failures = Counter("cityfleet_registry_dimension_failures_total", "Attempts to reach ClickHouse that failed.")
dimension_lag_revisions = Gauge(
    "cityfleet_registry_dimension_lag_revisions", "Changes that ClickHouse has not got yet."
)
dimension_lag_seconds = Gauge(
    "cityfleet_registry_dimension_lag_seconds", "Time since ClickHouse last had every change; 0 when it has."
)
