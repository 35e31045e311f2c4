"""Pages of devices in bounded time, whatever the filter, the order and the number of devices.

An index that narrows the filter down to some thousands gives them all, to be sieved and sorted. Else the devices are
read in the order asked for, off an index, and sieved stretch by stretch until the page is full or its time is over:
then it is short, or empty, and the next one goes on where it ended.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, FromClause, Select, Subquery, and_, func, literal_column, select
from sqlalchemy.sql.util import ClauseAdapter

from registry.db import liveness
from registry.db.conditions import Clause
from registry.db.device_lanes import (
    WALKABLE,
    Key,
    Lane,
    Walk,
    has_more,
    lane_of,
    lane_walk,
    next_value,
    source_walk,
    stretch_between,
)
from registry.db.device_list import View
from registry.db.device_sources import ALL, Counted, Source, Times, smallest
from registry.db.keyset import SortKey, behind
from registry.db.label_keys import have_all
from registry.db.schema import devices
from registry.errors import InvalidError, Violation
from registry.filter.condition import All, Condition, Relation, Test
from registry.filter.fields import DEVICES, Type
from registry.filter.order import OrderKey

# Of the search; what it found is still to be read and sent.
_SEARCH_S = 0.015
# Sorted at once: where there is another way, and where there is none or none better.
_FEW = 300
_SORTED = 10_000
# Devices looked at between two looks at the clock: first, where a query ends as soon as it has enough, and where it is
# sorted before; and at most.
_FIRST, _LEAST, _MOST = 1_000, 200, 50_000
# Rows whose values are taken together when a list is ordered by several fields.
_TOGETHER = 400
# The same of values of which each has some devices, such as sites.
_FEW_OWNERS, _MOST_OWNERS = 4, 64

# Here every part of a query is small, or stops at its limit; read whole, and joined by a hash, a table is never the
# quicker way, but the planner thinks so as long as it does not know the tables yet. Nor is what another index gives,
# kept and looked through for each device of a stretch.
_BY_INDEX = [
    *(f"set_config('{name}', 'off', true)" for name in ("enable_seqscan", "enable_bitmapscan", "jit")),
    *(f"set_config('{name}', 'off', true)" for name in ("enable_hashjoin", "enable_mergejoin", "enable_material")),
    "set_config('plan_cache_mode', 'force_custom_plan', true)",
]
# What every search begins with, and the settings, by one statement.
_HEAD = (
    select(func.max(devices.c.device_num)).scalar_subquery(),
    liveness.SHORTEST_OFFLINE_S,
    liveness.SHORTEST_BAD_S,
)
_HEADS: dict[str, Select[Any]] = {
    "sqlite": select(*_HEAD),
    "postgresql": select(*_HEAD, *(literal_column(setting) for setting in _BY_INDEX)),
}


class Found(msgspec.Struct, frozen=True):
    """A device of a page, and its key in the list's order."""

    device_num: int
    key: Key


class Part(msgspec.Struct, frozen=True):
    """`end`: where to go on, None: there is no more. A key that is shorter than the order stands for all that begin
    with it."""

    found: list[Found]
    end: Key | None


def find_page(
    connection: Connection,
    condition: Condition,
    order: Sequence[OrderKey],
    after: Key | None,
    limit: int,
    now_ms: int,
) -> Part:
    """Up to `limit` devices that match; fewer, or none, do not mean that it is the end.

    Args:
        order: devices with equal keys come in the order of their numbers; empty: all in the order of their numbers.
        after: `end` of the page before; None: from the beginning.
        now_ms: what connectivity and health are judged by, UTC milliseconds.
    Raises: InvalidError if the order has no index and the filter finds too many to sort.
    """
    whole = tuple(order)
    if not whole or whole[-1].field.name != "device_num":
        # Backwards if all else is, so that one index serves the whole.
        is_backwards = bool(order) and all(key.descending for key in order)
        whole += (OrderKey(DEVICES.fields["device_num"], "", is_backwards),)
    search = _Search(connection, now_ms, time.monotonic() + _SEARCH_S)
    part = search.run(condition, whole, after, limit + 1)
    if len(part.found) > limit:
        return Part(part.found[:limit], part.found[limit - 1].key)
    return part


class _Search:
    """Orders here always end with the number of the device."""

    def __init__(self, connection: Connection, now_ms: int, deadline_s: float) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._deadline_s = deadline_s
        self._view = View(connection, now_ms, for_few=True)
        dialect = connection.dialect.name
        last_number, offline_s, bad_s = connection.execute(_HEADS[dialect]).one()[: len(_HEAD)]
        self._last_number: int = last_number or 0
        self._times = Times(
            liveness.offline_before_ms(offline_s, now_ms),
            liveness.bad_before_ms(bad_s, now_ms),
            liveness.late_before_ms(bad_s, now_ms),
        )
        # Only PostgreSQL knows that what it reads of a stretch is in order, and need not be sorted.
        self._is_lazy = dialect == "postgresql"
        self._owners = _FEW_OWNERS

    def run(self, condition: Condition, order: tuple[OrderKey, ...], after: Key | None, wanted: int) -> Part:
        by_number = len(order) == 1
        small = smallest(self._connection, condition, self._times, _FEW, _SORTED + 1, by_number=by_number)
        if small is None and self._last_number <= _SORTED:
            small = Counted(ALL, self._last_number, is_exact=True)
        if small is not None:
            # To be sorted devices must be read; by number, and by few values, the index has them in order already.
            if small.count <= (_FEW if by_number or order[0].field.type is Type.ENUM else _SORTED):
                return self._sorted(condition, order, after, wanted, small.source)
            if by_number and (small.source.is_ordered or small.count <= _SORTED):
                walk = source_walk(self._connection, small.source, descending=order[0].descending, limit=_SORTED)
                return self._walked(walk, condition, after, wanted, small)
        if by_number:
            return self._by_number(condition, order, after, wanted)
        lane = lane_of(order[0], self._connection.dialect.name)
        if lane is None:
            raise _too_many(order[0])
        if order[0].field.type is Type.MAP and have_all(self._connection, order[0].key):
            lane = msgspec.structs.replace(lane, absent=None)
        if lane.number is not None and len(order) == 2 and order[0].descending == order[1].descending:
            return self._by_lane(lane, condition, order, after, wanted)
        return self._by_groups(lane, condition, order, after, wanted)

    def _sorted(
        self, condition: Condition, order: tuple[OrderKey, ...], after: Key | None, wanted: int, source: Source
    ) -> Part:
        # PostgreSQL takes three times as long to read devices one by one, by their numbers, as all of an index.
        whole = source.whole(_SORTED) if self._is_lazy else None
        begin = source.few(_SORTED) if whole is None else None
        found = self._matching(condition, order, after, wanted, begin, whole=whole)
        return Part(found, found[-1].key if len(found) == wanted else None)

    def _walked(
        self, walk: Walk, condition: Condition, after: Key | None, wanted: int, counted: Counted | None = None
    ) -> Part:
        """Args: counted: what is walked through, if it was counted."""
        total = counted.count if counted is not None and counted.is_exact else None

        def stretch(after: Key | None, size: int, wanted: int) -> Part:
            found = self._along(walk, condition, after, size, wanted)
            if len(found) == wanted:
                return Part(found, found[-1].key)
            return Part(found, None if total is not None and size >= total else walk.end(after, size))

        first = _FIRST if self._is_lazy else max(2 * wanted, _LEAST)
        if self._is_lazy and counted is not None and not counted.source.is_ordered:
            first = _SORTED  # it is read whole and sorted each time
        return self._by_stretches(stretch, after, wanted, first)

    def _by_number(self, condition: Condition, order: tuple[OrderKey, ...], after: Key | None, wanted: int) -> Part:
        """Ranges of numbers, which have few gaps."""
        last, descending, number = self._last_number, order[0].descending, devices.c.device_num

        def stretch(after: Key | None, size: int, wanted: int) -> Part:
            if descending:
                upper = last + 1 if after is None else min(int(after[0]), last + 1)
                lower, end = upper - size, upper - size
                within = and_(number < upper, number >= lower)
                is_over = lower <= 1
            else:
                lower = 0 if after is None else max(int(after[0]), 0)
                end = lower + size
                within = and_(number > lower, number <= end)
                is_over = end >= last
            found = self._matching(condition, order, None, wanted, within=within)
            if len(found) == wanted:
                return Part(found, found[-1].key)
            return Part(found, None if is_over else (end,))

        return self._by_stretches(stretch, after, wanted, _FIRST)

    def _by_lane(
        self, lane: Lane, condition: Condition, order: tuple[OrderKey, ...], after: Key | None, wanted: int
    ) -> Part:
        """By one field and the number, as an index has them; devices without a value before or behind."""
        walk = lane_walk(self._connection, lane, descending=order[0].descending)
        value = lane.absent_value
        is_absent = after is not None and lane.absent is not None and after[0] == value
        part = Part([], None)
        if order[0].descending and not is_absent:
            part = self._walked(walk, condition, after, wanted)
        if part.end is None and lane.absent is not None and (after is None or is_absent or order[0].descending):
            rest = self._group(lane, condition, order, value, after if is_absent else None, wanted - len(part.found))
            part = Part(part.found + rest.found, rest.end)
        if part.end is None and not order[0].descending:
            rest = self._walked(walk, condition, None if is_absent else after, wanted - len(part.found))
            part = Part(part.found + rest.found, rest.end)
        return part

    def _by_groups(
        self, lane: Lane, condition: Condition, order: tuple[OrderKey, ...], after: Key | None, wanted: int
    ) -> Part:
        """One value of the first field after the other, and by the rest of the order within each."""
        found: list[Found] = []
        position = None
        if after is not None:
            position = after[0]
        if after is not None and len(after) > 1:
            part = self._group(lane, condition, order, after[0], after, wanted)
            found = part.found
            if part.end is not None or self._is_late():
                return Part(found, part.end or (after[0],))
        while (value := self._next(lane, order[0], position)) is not None:
            part, position = self._next_group(lane, condition, order, position, value, wanted - len(found))
            found += part.found
            if part.end is not None or self._is_late():
                return Part(found, part.end or (position,))
        return Part(found, None)

    def _next_group(
        self,
        lane: Lane,
        condition: Condition,
        order: tuple[OrderKey, ...],
        position: int | str | None,
        value: int | str,
        wanted: int,
    ) -> tuple[Part, int | str]:
        """The devices with `value`, or those with several values if they are few; and the last of these values."""
        key = order[0]
        many = _TOGETHER if lane.number is not None else self._owners
        if (lane.number is None and lane.owned is None) or (lane.absent is not None and value == lane.absent_value):
            return self._group(lane, condition, order, value, None, wanted), value
        known = None if lane.absent is not None and position == lane.absent_value else position
        end = next_value(self._connection, lane, key, known, many)
        if end != value:
            stretch = stretch_between(lane, key, value, end)
            if lane.owned is None or not has_more(self._connection, stretch, _SORTED):
                self._owners = min(2 * self._owners, _MOST_OWNERS)
                found = self._matching(condition, order, None, wanted, stretch)
                last = next_value(
                    self._connection, lane, msgspec.structs.replace(key, descending=not key.descending), end
                )
                assert last is not None
                return Part(found, found[-1].key if len(found) == wanted else None), last
            self._owners = max(1, self._owners // 4)
        return self._group(lane, condition, order, value, None, wanted), value

    def _group(
        self,
        lane: Lane,
        condition: Condition,
        order: tuple[OrderKey, ...],
        value: int | str,
        after: Key | None,
        wanted: int,
    ) -> Part:
        """The devices that have `value` in the first field."""
        if after is not None and len(after) == 1:
            return Part([], None)
        equal = _equal(lane, order[0], value)
        if equal is None:
            return Part([], None)
        part = self.run(All((condition, equal)), order[1:], after[1:] if after else None, wanted)
        found = [Found(each.device_num, (value, *each.key)) for each in part.found]
        return Part(found, None if part.end is None else (value, *part.end))

    def _next(self, lane: Lane, key: OrderKey, position: int | str | None) -> int | str | None:
        """The value behind `position`, None: the first. What is absent is the smallest."""
        if lane.absent is None:
            return next_value(self._connection, lane, key, position)
        if position is None and not key.descending:
            return lane.absent_value
        if position == lane.absent_value:
            return None if key.descending else next_value(self._connection, lane, key, None)
        found = next_value(self._connection, lane, key, position)
        return lane.absent_value if found is None and key.descending else found

    def _by_stretches(
        self, stretch: Callable[[Key | None, int, int], Part], after: Key | None, wanted: int, size: int
    ) -> Part:
        """Args: stretch: looks at so many devices behind a key for so many matches. size: of the first."""
        found: list[Found] = []
        while True:
            started_s = time.monotonic()
            part = stretch(after, size, wanted - len(found))
            found += part.found
            after = part.end
            left_s = self._deadline_s - time.monotonic()
            if after is None or len(found) == wanted or left_s <= 0:
                return Part(found, after)
            took_s = time.monotonic() - started_s
            size = max(_LEAST, min(size * 8, _MOST, int(size * left_s / took_s / 2)))

    def _matching(
        self,
        condition: Condition,
        order: tuple[OrderKey, ...],
        after: Key | None,
        wanted: int,
        begin: FromClause | None = None,
        *,
        within: Clause | None = None,
        whole: Subquery | None = None,
    ) -> list[Found]:
        """Args:
        begin: numbers of the only devices that are looked at, each once, as `device_num`.
        whole: what is read in place of the table of devices.
        """
        keys = [SortKey(self._view.sort_column(key), key.descending) for key in order]
        columns = [devices.c.device_num, *(key.column for key in keys)]
        query = self._view.select(columns, condition, order, begin)
        if within is not None:
            query = query.where(within)
        if after is not None:
            query = query.where(behind(keys, after))
        if begin is not None:
            # As expressions, which no index is in the order of: else one might be read for its order, to its end.
            keys = [
                SortKey(key.column.concat("") if one.kind is str else key.column + 0, key.descending)
                for one, key in zip(order, keys, strict=True)
            ]
        query = query.order_by(*(key.ordered() for key in keys)).limit(wanted)
        if whole is not None:
            query = ClauseAdapter(whole).traverse(query)
        return [Found(row[0], tuple(row[1:])) for row in self._connection.execute(query)]

    def _along(self, walk: Walk, condition: Condition, after: Key | None, size: int, wanted: int) -> list[Found]:
        """Those that match of `size` behind `after`, in the order of the walk."""
        begin, keys = walk.stretch(after, size)
        query = self._view.select([begin.c.device_num, *(key.column for key in keys)], condition, (), begin)
        rows = self._connection.execute(query.order_by(*(key.ordered() for key in keys)).limit(wanted))
        return [Found(row[0], tuple(row[1:])) for row in rows]

    def _is_late(self) -> bool:
        return time.monotonic() >= self._deadline_s


def _equal(lane: Lane, key: OrderKey, value: int | str) -> Condition | None:
    """That the field has the value; None: it never has."""
    if lane.absent is not None and value == lane.absent_value:
        return lane.absent
    if key.field.type is Type.ENUM:
        words = key.field.values
        return Test(key.field, "", Relation.EQUAL, words[int(value) - 1]) if 0 < int(value) <= len(words) else None
    return Test(key.field, key.key, Relation.EQUAL, value)


def _too_many(key: OrderKey) -> InvalidError:
    says = (
        f"more than {_SORTED} devices may match, too many to sort by {key.field.name}; narrow the filter, by a ward, a "
        f"site, a gateway, a label or a group, or order first by one of {', '.join(WALKABLE)}"
    )
    return InvalidError([Violation("order_by", "ORDER_NEEDS_FILTER", says)])
