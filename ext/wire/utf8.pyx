# cython: language_level=3
"""UTF-8 checks of the wire formats, as Python functions for tests; C code uses the inline ones of the .pxd."""


def valid_utf8(bytes data not None) -> bool:
    """RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF."""
    return bool(is_utf8(data, len(data)))


def valid_mqtt_string(bytes data not None) -> bool:
    """MQTT 5.0 section 1.5.4: UTF-8 without U+0000."""
    return bool(is_mqtt_string(data, len(data)))
