"""UTF-8 checks agree with Python's own decoder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext.wire.utf8 import valid_mqtt_string, valid_utf8


def python_says(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_agrees_with_python(data):
    assert valid_utf8(data) == python_says(data)
    assert valid_mqtt_string(data) == (python_says(data) and b"\0" not in data)


@pytest.mark.parametrize("lead", range(0x80, 0x100))
def test_every_two_byte_start_agrees_with_python(lead):
    for second in range(0x100):
        for tail in (b"", b"\x80", b"\x80\x80", b"x" * 9):
            data = bytes((lead, second)) + tail
            assert valid_utf8(data) == python_says(data), data
