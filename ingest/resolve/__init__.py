"""Resolve: names to numbers, units to canonical units, event times against the window."""

from ingest.resolve.resolver import Resolver, TimeWindow

__all__ = ["Resolver", "TimeWindow"]
