"""Connectivity and health of devices as SQL, computed as they are read: going silent writes nothing. The numbers are
those of the enums of the same names in device.proto."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, case, literal, or_

from registry.db.schema import device_state, device_types

UNKNOWN, GOOD, DEGRADED, BAD = 1, 2, 3, 4
NEVER_SEEN, ONLINE, OFFLINE = 1, 2, 3
# A device behind a gateway whose type says no interval is online for so long after its last message.
_LONGEST_MS = 15 * 60 * 1000


def connectivity(now_ms: int) -> ColumnElement[Any]:
    """Of rows of devices, with device_types and (outer) device_state joined."""
    state, interval_s = device_state.c, device_types.c.expected_interval_s
    quiet_ms = case((interval_s == 0, _wide(_LONGEST_MS)), else_=interval_s * _wide(5000))
    return case(
        (state.last_seen_ms.is_(None), NEVER_SEEN),
        (state.is_connected.is_(True), ONLINE),
        (and_(state.connect_time_ms.is_(None), state.last_seen_ms >= _wide(now_ms) - quiet_ms), ONLINE),
        else_=OFFLINE,
    )


def health(now_ms: int) -> ColumnElement[Any]:
    """Of rows of devices, with device_types and (outer) device_state joined."""
    state, interval_s = device_state.c, device_types.c.expected_interval_s
    return case(
        (or_(interval_s == 0, state.last_seen_ms.is_(None)), UNKNOWN),
        (or_(state.last_reading_ms.is_(None), state.last_reading_ms < _wide(now_ms) - interval_s * _wide(5000)), BAD),
        (state.last_reading_ms < _wide(now_ms) - interval_s * _wide(1500), DEGRADED),
        else_=GOOD,
    )


def _wide(number: int) -> ColumnElement[Any]:
    """As 64 bits: milliseconds do not fit into what PostgreSQL takes a number for."""
    return literal(number, BigInteger())
