"""Connectivity and health as SQL, for filters, orders and groups: nothing is written when a device falls silent.

The query has `devices` joined with `device_types`, and `device_state` by JOINED. Each expression gives the words of
registry.state.model; the functions there of the same names are the same rules in Python.
"""

from sqlalchemy import BigInteger, ColumnElement, String, and_, case, cast, literal, or_

from registry.db.schema import device_state, device_types, devices
from registry.state.model import (
    DEFAULT_INTERVAL_S,
    GRACE_MS,
    LATE_MS_PER_S,
    SILENT_MS_PER_S,
    Connectivity,
    Health,
)

# select_from(devices).outerjoin(device_state, JOINED)
JOINED = devices.c.device_num == device_state.c.device_num

_seen, _reading = device_state.c.last_seen_ms, device_state.c.last_reading_ms
_interval_s = cast(device_types.c.expected_interval_s, BigInteger)


def connectivity(now_ms: int) -> ColumnElement[str]:
    """A word of Connectivity."""
    interval_s = case((_interval_s > 0, _interval_s), else_=DEFAULT_INTERVAL_S)
    return case(
        (_seen.is_(None), _word(Connectivity.NEVER_SEEN)),
        (
            or_(device_state.c.is_connected, _seen >= now_ms - GRACE_MS - interval_s * LATE_MS_PER_S),
            _word(Connectivity.ONLINE),
        ),
        else_=_word(Connectivity.OFFLINE),
    )


def health(now_ms: int) -> ColumnElement[str]:
    """A word of Health."""
    return case(
        (or_(_seen.is_(None), _interval_s == 0), _word(Health.UNKNOWN)),
        (_reading.is_(None), _word(Health.DEGRADED)),
        (_reading >= now_ms - GRACE_MS - _interval_s * LATE_MS_PER_S, _word(Health.GOOD)),
        (_reading >= now_ms - GRACE_MS - _interval_s * SILENT_MS_PER_S, _word(Health.DEGRADED)),
        else_=_word(Health.BAD),
    )


def connectivity_is(value: Connectivity, now_ms: int) -> ColumnElement[bool]:
    """As `connectivity(now_ms) = value`, with what an index can be used for said beside it."""
    exact = connectivity(now_ms) == _word(value)
    if value is Connectivity.OFFLINE:
        return and_(_seen < now_ms - GRACE_MS, exact)
    return _seen.is_(None) if value is Connectivity.NEVER_SEEN else exact


def health_is(value: Health, now_ms: int) -> ColumnElement[bool]:
    """As `health(now_ms) = value`, with what an index can be used for said beside it."""
    exact = health(now_ms) == _word(value)
    return and_(_reading < now_ms - GRACE_MS, exact) if value is Health.BAD else exact


def _word(value: Connectivity | Health) -> ColumnElement[str]:
    return literal(value.value, String)
