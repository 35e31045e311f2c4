"""The `cityfleet` command: one file per noun. Talks to services only through their public API."""
