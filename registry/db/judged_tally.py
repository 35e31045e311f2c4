"""How many of all devices are online, and how many are well, off indices alone: a pass through all devices, each with
its state and its type, takes several times as long.

What is judged is a time, by limits that follow from the interval of the type; from one limit of any type to the next
all devices of a type are judged alike. Most are well, and are what is left when the others are counted.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, func, literal, select, true, union_all

from registry.db import label_keys, liveness
from registry.db.conditions import Clause
from registry.db.schema import device_state, device_types, devices, unheard_devices
from registry.devices.model import State
from registry.state.model import DEFAULT_INTERVAL_S, Connectivity, Health, late_after_ms, silent_after_ms

# Seconds by the number of the type; 0: it says none.
Intervals: TypeAlias = Mapping[int, int]
# A query of one row, with a number for each verdict.
CountRow: TypeAlias = Any
# With more of them the statement takes longer than it saves.
_MOST_INTERVALS = 32

_state = device_state.c
_COUNT = func.count()
_NONE = literal(0)


def intervals_of(connection: Connection) -> Intervals | None:
    """None: there are too many different ones."""
    rows = connection.execute(select(device_types.c.type_num, device_types.c.expected_interval_s))
    found: dict[int, int] = {row.type_num: row.expected_interval_s for row in rows}
    return found if len(set(found.values())) <= _MOST_INTERVALS else None


def by_connectivity(connection: Connection, intervals: Intervals, now_ms: int) -> dict[int, int]:
    """Devices that are not deleted, by the number of their Connectivity."""
    late = {kind: now_ms - late_after_ms(told_s or DEFAULT_INTERVAL_S) for kind, told_s in intervals.items()}
    parts: list[CountRow] = [
        select(_COUNT, _NONE).select_from(unheard_devices),
        select(_COUNT, _NONE).select_from(device_state).where(_state.last_seen_ms.is_(None)),
    ]
    for is_within, end_ms in _stretches(_state.last_seen_ms, late.values()):
        kinds = {kind for kind, limit_ms in late.items() if end_ms <= limit_ms}
        offline = _COUNT.filter(_state.is_connected.is_(False), *_is_of(_state.type_num, kinds, intervals))
        parts.append(select(_NONE, offline).where(is_within))
    found = _sums(connection, parts, (Connectivity.NEVER_SEEN, Connectivity.OFFLINE))
    return _with_the_rest(connection, found, Connectivity.ONLINE, liveness.connectivity(now_ms))


def by_health(connection: Connection, intervals: Intervals, now_ms: int) -> dict[int, int]:
    """Devices that are not deleted, by the number of their Health."""
    told = {kind: told_s for kind, told_s in intervals.items() if told_s}
    late = {kind: now_ms - late_after_ms(told_s) for kind, told_s in told.items()}
    silent = {kind: now_ms - silent_after_ms(told_s) for kind, told_s in told.items()}
    is_told = _is_of(_state.type_num, told, intervals)
    untold = [kind for kind, told_s in intervals.items() if not told_s]
    never = select(_COUNT, _NONE, _NONE).select_from(unheard_devices)
    parts: list[CountRow] = [
        select(_COUNT, _NONE, _NONE).select_from(devices).where(devices.c.type_num.in_(untold)),
        never.where(*_is_of(unheard_devices.c.type_num, told, intervals)),
        # Whoever sent a reading was seen: of those who sent none, these are to be taken away.
        select(_COUNT, -_COUNT, _NONE).select_from(device_state).where(_state.last_seen_ms.is_(None), *is_told),
        select(_NONE, _COUNT, _NONE).select_from(device_state).where(_state.last_reading_ms.is_(None), *is_told),
    ]
    for is_within, end_ms in _stretches(_state.last_reading_ms, {*late.values(), *silent.values()}):
        gone = {kind for kind, limit_ms in silent.items() if end_ms <= limit_ms}
        slow = {kind for kind, limit_ms in late.items() if end_ms <= limit_ms} - gone
        # Of both in one pass.
        counts = [
            _COUNT.filter(*_is_of(_state.type_num, kinds, intervals)) if kinds else _NONE for kinds in (slow, gone)
        ]
        parts.append(select(_NONE, *counts).select_from(device_state).where(is_within))
    found = _sums(connection, parts, (Health.UNKNOWN, Health.DEGRADED, Health.BAD))
    return _with_the_rest(connection, found, Health.GOOD, liveness.health(now_ms))


def _stretches(time: ColumnElement[Any], limits: Iterable[int]) -> Iterator[tuple[Clause, int]]:
    """The times before the last limit, from each limit to the next: the condition, and where it ends."""
    start: Clause = true()
    for limit_ms in sorted(set(limits)):
        yield and_(start, time < limit_ms), limit_ms
        start = time >= limit_ms


def _is_of(column: ColumnElement[Any], kinds: Collection[int], intervals: Intervals) -> list[Clause]:
    """Nothing if all types are meant: so it is not asked of each."""
    return [] if len(kinds) == len(intervals) else [column.in_(sorted(kinds))]


def _sums(connection: Connection, parts: Sequence[CountRow], verdicts: Sequence[int]) -> dict[int, int]:
    """Args: parts: each with a number for each of `verdicts`."""
    rows = connection.execute(union_all(*parts)).all()
    return {int(verdict): sum(column) for verdict, column in zip(verdicts, zip(*rows, strict=True), strict=True)}


def _with_the_rest(
    connection: Connection, counted: dict[int, int], rest: int, verdict: ColumnElement[Any]
) -> dict[int, int]:
    """Args: verdict: of a device with its state and type, by which those that are deleted are taken away again."""
    found = {**counted, int(rest): label_keys.all_devices(connection) - sum(counted.values())}
    deleted = (
        select(verdict, _COUNT)
        .select_from(devices)
        .outerjoin(device_state, device_state.c.device_num == devices.c.device_num)
        .outerjoin(device_types, device_types.c.type_num == device_state.c.type_num)
        .where(devices.c.state == State.DELETED)
        .group_by(verdict)
    )
    for judged, count in connection.execute(deleted):
        found[judged] -= count
    return {judged: count for judged, count in found.items() if count}
