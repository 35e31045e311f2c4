"""Resolve: names to numbers, by the device index that the registry feeds."""
