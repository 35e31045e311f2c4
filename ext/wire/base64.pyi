"""base64 with padding (RFC 4648 section 4): no other characters, no line ends, no bits left over."""

def decode(text: bytes) -> bytes:
    """At most 512 bytes. Raises ValueError if it is not base64."""
