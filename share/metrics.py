"""What the share role counts."""

from prometheus_client import Counter, Gauge, Histogram

requests = Counter("cityfleet_share_requests_total", "Requests answered.", ["api", "status"])
request_seconds = Histogram(
    "cityfleet_share_request_seconds",
    "From a request's arrival to its answer.",
    ["api"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
running = Gauge("cityfleet_share_requests_running", "Requests that ask the store now.")
