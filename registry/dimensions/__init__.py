"""The copy of devices, metrics and wards that ClickHouse joins readings with."""
