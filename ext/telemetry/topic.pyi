"""Topics of cityfleet: cf/v1/d/{device}/... and cf/v1/g/{gateway}/... ."""

def parse(topic: bytes) -> tuple[int, bytes, bool, int] | None:
    """Parts of a topic: (scope, id, is_telemetry, encoding) as in FrameChunk; None if it is not of ours."""

def content_type_encoding(content_type: bytes) -> int:
    """The encoding of an MQTT 5 Content Type: 0 (the device type's default) if empty, 255 if none of ours."""

def foreign(topic: bytes) -> int:
    """The family of a foreign topic as an encoding: 7, 8 or 9; 255 if nothing here consumes it."""
