"""The HTTP request that opens a WebSocket: what is taken, and what is answered to what is not."""

import pytest

from ext.mqtt.upgrade import RefusedError, accept
from tests.support.websocket_frames import ACCEPT, request


def test_the_example_of_the_rfc_is_accepted():
    answer = accept(request())
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Accept: " + ACCEPT + b"\r\n" in answer
    assert b"\r\nSec-WebSocket-Protocol: mqtt\r\n" in answer


def test_names_and_tokens_are_compared_without_case_and_queries_ignored():
    text = request(path=b"/mqtt?x=1", upgrade=b"WebSocket", connection=b"upgrade", sec_websocket_protocol=b"MQTT")
    assert accept(text.replace(b"host", b"HOST")).startswith(b"HTTP/1.1 101 ")


def test_a_protocol_header_in_two_lines_is_one_list():
    text = (
        request(sec_websocket_protocol=b"")[:-2] + b"Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    assert accept(text).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        (request(path=b"/"), 404, b"/mqtt"),
        (request(path=b"/mqtt/"), 404, b"/mqtt"),
        (request(method=b"POST"), 405, b"Allow: GET"),
        (request(version=b"HTTP/1.0"), 505, b"HTTP/1.1"),
        (request(upgrade=b""), 426, b"Upgrade: websocket"),
        (request(upgrade=b"h2c"), 426, b"Upgrade: websocket"),
        (request(connection=b"close"), 426, b"Connection: Upgrade"),
        (request(sec_websocket_version=b"8"), 426, b"Sec-WebSocket-Version: 13"),
        (request(sec_websocket_version=b""), 426, b"Sec-WebSocket-Version: 13"),
        (request(host=b""), 400, b"Host"),
        (request(sec_websocket_key=b""), 400, b"Sec-WebSocket-Key"),
        (request(sec_websocket_key=b"c2hvcnQ="), 400, b"Sec-WebSocket-Key"),
        (request(sec_websocket_key=b"\xff" * 24), 400, b"Sec-WebSocket-Key"),
        (request(sec_websocket_protocol=b""), 400, b"Sec-WebSocket-Protocol: mqtt"),
        (request(sec_websocket_protocol=b"mqttv3.1"), 400, b"Sec-WebSocket-Protocol: mqtt"),
        (request(content_length=b"3"), 400, b"no body"),
        (b"\r\n\r\n", 400, b"not an HTTP request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, b"not an HTTP request"),
        (request()[:-2] + b"no colon\r\n\r\n", 400, b"header"),
        (request()[:-2] + b" folded: x\r\n\r\n", 400, b"header"),
        (request()[:-2] + b"Name : x\r\n\r\n", 400, b"header"),
    ],
)
def test_what_is_wrong_is_said(text, status, says):
    with pytest.raises(RefusedError) as refused:
        accept(text)
    head, _, body = refused.value.answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Length: %d" % len(body) in head
    assert says in refused.value.answer
