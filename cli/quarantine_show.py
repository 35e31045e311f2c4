"""One payload in quarantine as a person reads it: what it is, its bytes round the place of the fault, what to do."""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

_AT_BYTE = re.compile(r", byte (\d+)$")
_LINE = 16
# Shown of a payload larger than this: so many bytes of its beginning, and of what is round the fault.
_WHOLE_BYTES = 2_048
_HEAD_BYTES = 256
_ROUND_BYTES = 256
_TEXT_CHARACTERS = 4_096

_REPLAY = "Then `cityfleet quarantine replay`."
# What a person can do about each reason; {device} is the row's.
ADVICE = {
    "unknown_device": "Register the device (`cityfleet device create`), or give the one meant the external id that the "
    "payload names (`cityfleet device update ID --external-id`). " + _REPLAY,
    "not_behind_gateway": "Say who speaks for the device: `cityfleet device update ID --gateway {device}`. " + _REPLAY,
    "unsupported_topic": "Nothing here takes this topic: have {device} publish to cf/v1/d/{device}/telemetry.",
    "unknown_encoding": "The topic's last level, or the Content Type, names no encoding of docs/encodings.md: correct "
    "the device's configuration.",
    "empty_payload": "Nothing to recover: see why {device} sends nothing.",
    "malformed_payload": "The bytes are not what their encoding says. If {device} sends another one, correct its type "
    "(`cityfleet type apply`), else the device. " + _REPLAY,
    "unknown_metric": "Add the metric to the type of the device, or name it in the type's decoder "
    "(`cityfleet type apply`). " + _REPLAY,
    "unknown_unit": "The unit cannot be converted to the metric's: correct the unit in the type's decoder "
    "(`cityfleet type apply`) or in the device. " + _REPLAY,
    "time_out_of_range": "The clock of {device} is wrong, or ingest.time.earliest and max_ahead_s are too narrow: "
    "correct them and restart ingest. " + _REPLAY,
    "value_not_finite": "NaN or infinity, maybe after the conversion to the canonical unit: correct the device.",
    "value_not_numeric": "The value is neither a number nor a text: correct the type's decoder or the device. "
    + _REPLAY,
    "sum_without_value": "SenML's sum without a value is not stored: have {device} send values.",
    "payload_too_large": "Only the beginning was kept: raise ingest.broker.max_packet_bytes; this one is lost.",
    "unknown_alias": "The edge node's birth was not there or did not name the alias; what came after its next birth is "
    "stored. This one is not to be recovered.",
    "unsupported_datatype": "Data sets, templates and files of Sparkplug are not stored: have the edge node send plain "
    "values.",
    "type_mismatch": "The value is not of the datatype that was sent with it: correct the edge node.",
    "refused_by_store": "ClickHouse refused this row, for the reason above; the payload is the row as JSON. Correct "
    "the table. " + _REPLAY,
}


def fault_at(detail: str) -> int | None:
    """The byte that the detail names, counted from 0."""
    found = _AT_BYTE.search(detail)
    return int(found[1]) if found else None


def advice(reason: str, device_id: str) -> str:
    return ADVICE.get(reason, "").format(device=device_id or "the device")


def document(row: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
    """For json and yaml: `text` is None where the bytes are no UTF-8."""
    try:
        text: str | None = payload.decode()
    except UnicodeDecodeError:
        text = None
    return {
        **row,
        "fault_at_byte": fault_at(row["detail"]),
        "advice": advice(row["reason"], row["device_id"]),
        "text": text,
        "base64": base64.b64encode(payload).decode(),
    }


def printable(text: str) -> str:
    """Without characters that a terminal would obey: they become their escapes."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def write_document(row: Mapping[str, Any], payload: bytes, *, whole: bool) -> None:
    """Print it for a person. `row` holds nothing that a terminal would obey."""
    labels = {"readings": "stands for", "size_bytes": "size", "received_at": "came in", "device_id": "device"}
    for name, value in row.items():
        text = f"{value:,} readings" if name == "readings" else f"{value:,} bytes" if name == "size_bytes" else value
        print(f"{labels.get(name, name):<11}{text}")
    what = advice(row["reason"], row["device_id"])
    if what:
        print(f"\n{what}")
    if not payload:
        return
    fault = fault_at(row["detail"])
    text = _text(payload)
    if text is not None:
        cut = len(text) > _TEXT_CHARACTERS and not whole
        print("\n" + (text[:_TEXT_CHARACTERS] + " ..." if cut else text))
    print()
    for line in hex_lines(payload, fault, whole=whole):
        print(line)


def _text(payload: bytes) -> str | None:
    """The payload as text, line by line; None if it is none."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    lines = text.splitlines()
    return "\n".join(map(printable, lines)) if all(map(_is_text, lines)) else None


def _is_text(line: str) -> bool:
    return line.replace("\t", " ").isprintable()


def hex_lines(payload: bytes, fault: int | None, *, whole: bool = False) -> Iterator[str]:
    """Offset, bytes and characters; an arrow below the byte where the fault is. Large payloads in parts."""
    last = 0
    for start, end in _ranges(len(payload), fault, whole=whole):
        if start > last:
            yield f"          ... {start - last:,} bytes ..."
        for at in range(start, end, _LINE):
            part = payload[at : min(at + _LINE, end)]
            codes = " ".join(f"{byte:02x}" for byte in part)
            characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
            yield f"{at:08x}  {codes:<{_LINE * 3}} {characters}"
            if fault is not None and at <= fault < at + _LINE and fault < end:
                yield " " * (10 + 3 * (fault - at)) + f"^^ byte {fault}"
        last = end
    if last < len(payload):
        yield f"          ... {len(payload) - last:,} bytes ... (--all shows them)"
    if fault is not None and fault >= len(payload):
        yield f"          ^^ byte {fault}: the end"


def _ranges(size: int, fault: int | None, *, whole: bool) -> list[tuple[int, int]]:
    """What to show, in whole lines."""
    if whole or size <= _WHOLE_BYTES:
        return [(0, size)]
    if fault is None:
        return [(0, _HEAD_BYTES)]
    start = max(0, (min(fault, size) - _ROUND_BYTES // 2) // _LINE * _LINE)
    end = min(size, start + _ROUND_BYTES)
    if start <= _HEAD_BYTES:
        return [(0, max(end, _HEAD_BYTES))]
    return [(0, _HEAD_BYTES), (start, end)]
