"""Moments as text: RFC 3339 section 5.6, years 1 to 9999."""

def rfc3339_ms(text: bytes) -> int | None:
    """Milliseconds since 1970 UTC, further digits cut off; None: not RFC 3339."""
