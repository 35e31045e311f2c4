"""One figure of the table in build/bench.json, and percentiles of counted latencies."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.bench.processes import Stolen

_stolen = Stolen()


def figure(
    id_: str, runs: Sequence[float], unit: str, baseline: float | None, *, less_is_better: bool = False, **detail: Any
) -> dict[str, Any]:
    """A line of the report.

    Args:
        runs: the value of each round; the line's value is their median.
        baseline: the same measured of the baseline, None where there is none.
    Returns: `ratio` above 1 says how many times better than the baseline; `spread` is (largest - smallest) / median.
    """
    value = statistics.median(runs)
    ratio = None
    if baseline:
        ratio = baseline / value if less_is_better else value / baseline
    spread = (max(runs) - min(runs)) / value if value else 0.0
    return {
        "id": id_, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio, "runs": list(runs),
        "spread": spread, **detail,
    }  # fmt: skip


def say(line: Mapping[str, Any]) -> None:
    """Hand a line to `make bench`, with the share of CPU time that the host has taken from this machine meanwhile."""
    print(json.dumps({**line, "stolen": round(_stolen.share(), 3)}), flush=True)


def percentiles(counts: Mapping[float, int], wanted: Sequence[float] = (50, 90, 99, 99.9, 100)) -> dict[str, float]:
    """Of values with how often they came; `p99` and so on, `max`."""
    total = sum(counts.values())
    found: dict[str, float] = {}
    left = sorted(wanted)
    seen = 0
    for value, count in sorted(counts.items()):
        seen += count
        while left and seen >= total * left[0] / 100:
            found["max" if left[0] == 100 else f"p{left[0]:g}"] = value
            left.pop(0)
    return found
