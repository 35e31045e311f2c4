"""Devices, their types and what they measure: the rules, free of SQL and gRPC."""
