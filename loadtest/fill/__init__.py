"""A large city's readings, made inside the store's engine: a billion in minutes. `python -m loadtest.fill --help`."""
