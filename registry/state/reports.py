"""What ingest reports: documents are read here, the rest is written as it came. In one write transaction."""

from collections.abc import Sequence
from datetime import date

import msgspec
from sqlalchemy import Connection

from registry.db import sequence
from registry.db import states as db
from registry.state.model import Document, Report

MAX_DOCUMENT_BYTES = 16_384
MAX_TEXT = 63
# A node that was silent for so long is gone, and its connections with it.
NODE_LOST_MS = 60_000
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class NotAnObjectError(ValueError):
    """The document is no JSON object, or too large."""


def read_document(raw: bytes, time_ms: int) -> Document:
    """The facts of a `state` document. One of another type than it should be is as if it were not there.

    Raises: NotAnObjectError.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise NotAnObjectError
    try:
        found, text = _decoder.decode(raw), raw.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise NotAnObjectError from exc
    if "\x00" in text:
        raise NotAnObjectError  # PostgreSQL has no such text
    return Document(
        text,
        time_ms,
        firmware_version=_text(found.get("firmware_version")),
        config_version=_version(found.get("config_version")),
        hardware_revision=_text(found.get("hardware_revision")),
        last_calibration=_day(found.get("last_calibration")),
    )


def take_reports(connection: Connection, node: str, run: str, reports: Sequence[Report]) -> int:
    """Returns how many devices were never heard before.

    Args: reports: at most some thousands, each device once; none: the node only says that it is there.
    """
    now_ms = sequence.now_ms()
    db.hear(connection, node, run, now_ms)
    return db.store(connection, node, reports, now_ms) if reports else 0


def forget_lost_nodes(connection: Connection) -> list[str]:
    now_ms = sequence.now_ms()
    return db.forget_unheard(connection, now_ms - NODE_LOST_MS, now_ms)


def has_lost_nodes(connection: Connection) -> bool:
    return bool(db.unheard_nodes(connection, sequence.now_ms() - NODE_LOST_MS))


def _text(value: msgspec.Raw | None) -> str:
    found = _plain(value)
    return found if isinstance(found, str) and len(found) <= MAX_TEXT and found.isprintable() else ""


def _version(value: msgspec.Raw | None) -> int:
    found = _plain(value)
    return found if type(found) is int and 0 <= found < 1 << 63 else 0


def _day(value: msgspec.Raw | None) -> str:
    """The day of a date or a time of RFC 3339, as it is written there; no other text, no year before 1970."""
    day = _text(value)[:10]
    try:
        found = date.fromisoformat(day)
    except ValueError:
        return ""
    # What a column Date of the store can hold; Python takes other forms too.
    return day if found.isoformat() == day and date(1970, 1, 2) <= found <= date(2149, 6, 6) else ""


def _plain(value: msgspec.Raw | None) -> object:
    return None if value is None else msgspec.json.decode(value)
