"""Sums by time and what follows from them, computed from closed windows and redone for late data."""
