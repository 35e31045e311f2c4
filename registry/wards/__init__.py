"""Boundaries of the city's wards, and in which of them a place is."""
