"""Open formats over HTTP, read-only: OGC SensorThings. The store is asked as the caller, so its rules count."""
