"""Open formats over HTTP, read-only: SensorThings and NGSI-LD. The store is asked as the caller: its rules count."""
