"""The ClickHouse schema, the IOC views and the embedded engine: what the writer and the readers share."""
