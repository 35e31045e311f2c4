"""Fuzzing uplinks: any bytes, taken for each network server's, are refused or give readings of the one device."""

import json

from tests.property.test_uplinks_agree_with_twin import INDEX, event_of
from tests.support.declared import EUI, GATEWAY, NOW_MS, Answer

_UPLINK = {
    "eui": EUI,
    "f_port": 5,
    "f_cnt": 7,
    "payload": b"\x01\x67\x00\xff",
    "object": {"level": 1.5, "list": [0.0, {"h": True}], "state": {"mode": "on"}, "at": 1767312000.0},
    "time": NOW_MS,
    "links": [{"time": NOW_MS - 5, "rssi": -110, "snr": 2.5}, {"rssi": -90}],
}
CORPUS = [
    b'{"end_device_ids":{"device_id":"x","dev_eui":"70B3D57ED0051234"},"received_at":"2023-11-14T22:13:20.123456Z",'
    b'"uplink_message":{"f_port":2,"f_cnt":1,"frm_payload":"C7gLuA==","rx_metadata":[{"time":"2023-11-14T22:13:20Z",'
    b'"rssi":-97,"snr":8.25}],"decoded_payload":{"level":3}}}',
    b'{"deviceInfo":{"devEui":"70b3d57ed0051234"},"time":"2023-11-14T22:13:20+00:00","fPort":3,"data":"AWcBEA==",'
    b'"rxInfo":[{"gwTime":null,"rssi":-97,"snr":"NaN"}],"object":{"state":{"mode":"a"}}}',
    *(event_of({**_UPLINK, "f_port": port}).SerializeToString() for port in (0, 2, 3, 5, 9)),
]


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if readings come of what is no uplink, or of another device."""
    if not data:
        return
    for encoding in ("tts", "chirpstack"):
        answer = Answer(INDEX, data, encoding, GATEWAY)
        assert all(row[0] == EUI for row in answer.rows + answer.texts)
        assert answer.rows or answer.texts or answer.refusals
        if data[0] == ord("{") and answer.reason != "malformed_payload":
            json.loads(data)
