"""UTF-8 checks of the wire formats."""

def valid_utf8(data: bytes) -> bool:
    """RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF."""

def valid_mqtt_string(data: bytes) -> bool:
    """MQTT 5.0 section 1.5.4: UTF-8 without U+0000."""
