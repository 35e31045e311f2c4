"""Who may publish and subscribe where; the Python face is for tests."""

def covers_filter(allowed: bytes, wanted: bytes) -> bool:
    """Whether every topic that `wanted` matches is matched by `allowed` too. Both must be valid filters."""
