"""`make soak`: hold a load for long, and tell whether anything grows."""
