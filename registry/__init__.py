"""The device registry: the only writer of truth about devices."""
