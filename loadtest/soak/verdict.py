"""Whether a series of samples is flat: the slope that half of all pairs of samples exceed, over the time looked at."""

import statistics
from collections.abc import Sequence
from itertools import combinations

import msgspec

# Pairs grow with the square: so many samples are enough, evenly chosen.
_MOST = 400


class Allowed(msgspec.Struct, frozen=True):
    """Growth that is no growth: the larger of a share of the median and an amount, whichever way the unit is."""

    share: float
    amount: float


class Verdict(msgspec.Struct, frozen=True):
    """`growth`: of the fitted line from the first to the last sample. `per_hour`: its slope."""

    name: str
    unit: str
    samples: int
    median: float
    largest: float
    growth: float
    per_hour: float
    allowed: float
    is_flat: bool


def judge(name: str, unit: str, samples: Sequence[tuple[float, float]], allowed: Allowed) -> Verdict:
    """Judge samples of (seconds, value), two at least, in the order of time.

    Theil and Sen's slope: single peaks (a merge, a pause of another process) do not bend it. What falls is flat.
    """
    median = statistics.median(value for _, value in samples)
    slope = _slope(samples)
    growth = slope * (samples[-1][0] - samples[0][0])
    limit = max(allowed.share * abs(median), allowed.amount)
    largest = max(value for _, value in samples)
    return Verdict(name, unit, len(samples), median, largest, growth, slope * 3600, limit, growth <= limit)


def _slope(samples: Sequence[tuple[float, float]]) -> float:
    step = -(-len(samples) // _MOST)
    chosen = samples[::step]
    return statistics.median(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in combinations(chosen, 2)
        if later[0] > earlier[0]
    )
