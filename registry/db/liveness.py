"""Connectivity and health of devices as SQL, computed as they are read: going silent writes nothing. The numbers are
those of the enums of the same names in device.proto; registry.state.model has the same rules in Python.

Of rows of devices, with device_types and (outer, by JOINED) device_state joined.
"""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, FromClause, case, cast, func, or_, select

from registry.db.schema import device_state, device_types, devices
from registry.state.model import (
    DEFAULT_INTERVAL_S,
    GRACE_MS,
    LATE_MS_PER_S,
    SILENT_MS_PER_S,
    Connectivity,
    Health,
)

JOINED = devices.c.device_num == device_state.c.device_num

_seen, _reading = device_state.c.last_seen_ms, device_state.c.last_reading_ms
_interval_s = cast(device_types.c.expected_interval_s, BigInteger)


def connectivity(
    now_ms: int | ColumnElement[int], types: FromClause = device_types, state: FromClause = device_state
) -> ColumnElement[Any]:
    """A number of Connectivity."""
    told_s, seen_ms = cast(types.c.expected_interval_s, BigInteger), state.c.last_seen_ms
    interval_s = case((told_s > 0, told_s), else_=DEFAULT_INTERVAL_S)
    return case(
        (seen_ms.is_(None), Connectivity.NEVER_SEEN.value),
        (
            or_(state.c.is_connected, seen_ms >= now_ms - GRACE_MS - interval_s * LATE_MS_PER_S),
            Connectivity.ONLINE.value,
        ),
        else_=Connectivity.OFFLINE.value,
    )


def health(now_ms: int) -> ColumnElement[Any]:
    """A number of Health."""
    return case(
        (or_(_seen.is_(None), _interval_s == 0), Health.UNKNOWN.value),
        (_reading.is_(None), Health.DEGRADED.value),
        (_reading >= now_ms - GRACE_MS - _interval_s * LATE_MS_PER_S, Health.GOOD.value),
        (_reading >= now_ms - GRACE_MS - _interval_s * SILENT_MS_PER_S, Health.DEGRADED.value),
        else_=Health.BAD.value,
    )


# The shortest that any type has, first of those that count as offline, then of those that may be bad; NULL: none.
SHORTEST_OFFLINE_S = select(func.min(case((_interval_s > 0, _interval_s), else_=DEFAULT_INTERVAL_S))).scalar_subquery()
SHORTEST_BAD_S = select(func.min(_interval_s)).where(_interval_s > 0).scalar_subquery()


def offline_before_ms(shortest_s: int | None, now_ms: int) -> int:
    """Every device that is offline was last seen before this; many that are not, too.

    Args: shortest_s: SHORTEST_OFFLINE_S.
    """
    return now_ms - GRACE_MS - (shortest_s or DEFAULT_INTERVAL_S) * LATE_MS_PER_S


def bad_before_ms(shortest_s: int | None, now_ms: int) -> int:
    """Every device whose health is bad read something last before this; many others, too.

    Args: shortest_s: SHORTEST_BAD_S.
    """
    return now_ms - GRACE_MS - (shortest_s or 0) * SILENT_MS_PER_S


def late_before_ms(shortest_s: int | None, now_ms: int) -> int:
    """As bad_before_ms, of every device that read something and whose health is degraded or bad."""
    return now_ms - GRACE_MS - (shortest_s or 0) * LATE_MS_PER_S
