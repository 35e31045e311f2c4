"""How many devices of each kind, how often they report and how far back, so that it comes to so many readings."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from loadtest.fill.kinds import KINDS, Kind

LONG_DAYS = 31
_DAY_S = 86_400
# Devices report so many times less often at most, or the rollups would have a row for each reading.
_SLOWEST = 2.0
# Readings of one INSERT: what is sorted and written as one part for each month.
_SLICE = 4_000_000


@dataclass(frozen=True, slots=True)
class Group:
    """The devices of a kind: numbers from `first` on, `count` of them."""

    kind: Kind
    first: int
    count: int
    interval_s: int
    days: float

    def intervals_s(self) -> list[int]:
        """Of each metric."""
        return [max(measured.interval_s, self.interval_s) for measured in self.kind.measured]

    def readings(self, seconds: float) -> float:
        return self.count * sum(seconds / interval for interval in self.intervals_s())


@dataclass(frozen=True, slots=True)
class Slice:
    """One INSERT: `count` devices from `first` on, event times in [from_s, to_s)."""

    group: Group
    first: int
    count: int
    from_s: int
    to_s: int


def groups(readings: int, devices: int, days: float) -> list[Group]:
    """The kinds' devices. Those that report each minute do so less often, or for fewer days, until it fits.

    Raises: ValueError for less than a thousand devices, or readings or days that are not positive.
    """
    if devices < 1000 or readings < 1 or days <= 0:
        raise ValueError("at least 1,000 devices, a reading and some days are needed")
    shares = sum(kind.share for kind in KINDS)
    made = []
    first = 1
    for kind in KINDS:
        count = devices * kind.share // shares
        made.append(Group(kind, first, count, kind.interval_s, LONG_DAYS if kind.long else days))
        first += count
    total = _total(made)
    if total < readings:
        # More than the devices say in that time: they have said it for longer.
        few = _total([group for group in made if group.kind.long])
        longer = days * (readings - few) / (total - few)
        return [Group(g.kind, g.first, g.count, g.interval_s, max(g.days, longer)) for g in made]
    low, high = 1.0, _SLOWEST
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _total(_slower(made, middle)) > readings else (low, middle)
    made = _slower(made, high)
    total, few = _total(made), _total([group for group in made if group.kind.long])
    if 2 * few > readings:
        shorter = min(1.0, readings / total)
        return [Group(g.kind, g.first, g.count, g.interval_s, g.days * shorter) for g in made]
    shorter = min(1.0, (readings - few) / (total - few))
    return [Group(g.kind, g.first, g.count, g.interval_s, g.days if g.kind.long else g.days * shorter) for g in made]


def slices(made: list[Group], until_s: int, from_s: int = 0) -> Iterator[Slice]:
    """What is to be inserted up to `until_s`: from `from_s` on, or as far back as each group goes."""
    for group in made:
        begin_s = from_s or until_s - int(group.days * _DAY_S)
        per_device = sum((until_s - begin_s) / interval for interval in group.intervals_s())
        step = max(1, int(_SLICE / max(per_device, 1)))
        for at in range(0, group.count, step):
            yield Slice(group, group.first + at, min(step, group.count - at), begin_s, until_s)


def _slower(made: list[Group], factor: float) -> list[Group]:
    return [
        Group(
            g.kind, g.first, g.count, math.ceil(g.interval_s * factor) if g.interval_s < 300 else g.interval_s, g.days
        )
        for g in made
    ]


def _total(made: list[Group]) -> float:
    return sum(group.readings(group.days * _DAY_S) for group in made)
