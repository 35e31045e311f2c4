"""Write: closed segments into ClickHouse, each one insert per table under the segment's token."""
