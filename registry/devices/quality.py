"""Quality tests of a metric of a device type: the plain data that a person writes. Fields as in quality.proto."""

import math
from collections.abc import Iterator

import msgspec

from registry.errors import Violation

MONTHS = range(1, 13)
# A window that is longer would make every late reading dear: the store looks as far back, and ahead, as this.
MAX_WINDOW_S = 7 * 86_400


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Both bounds belong to it; None: open."""

    min: float | None = None
    max: float | None = None

    @property
    def bounds(self) -> list[float]:
        return [bound for bound in (self.min, self.max) if bound is not None]

    def has(self, value: float) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def is_within(self, other: "Span") -> bool:
        """An open end lies within a closed one: the closed one counts there."""
        low = self.min is None or other.min is None or self.min >= other.min
        return low and (self.max is None or other.max is None or self.max <= other.max)


class MonthlySpan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    months: tuple[int, ...] = ()
    suspect: Span = Span()
    fail: Span = Span()


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    suspect: float | None = None
    fail: float | None = None


class FlatLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`fail_s` 0: it never fails."""

    tolerance: float = 0.0
    suspect_s: int = 0
    fail_s: int = 0


class QualityTests(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Units: the metric's; per second; seconds. What is at its default is not tested."""

    suspect: Span = Span()
    climatology: tuple[MonthlySpan, ...] = ()
    spike: Threshold = Threshold()
    rate_per_s: Threshold = Threshold()
    flat_line: FlatLine = FlatLine()
    gap_s: Threshold = Threshold()

    @property
    def compares(self) -> bool:
        """Whether a reading is compared with those before and after it, which is the store's work."""
        thresholds = (self.spike, self.rate_per_s, self.gap_s)
        return self.flat_line != FlatLine() or any(threshold != Threshold() for threshold in thresholds)


def flag(tests: QualityTests, sensor: Span, value: float, month: int) -> str:
    """What ingest finds: good, suspect, fail or not evaluated. Args: month: of local time, 1 to 12."""
    spans = [(sensor, tests.suspect)]
    spans += [(entry.fail, entry.suspect) for entry in tests.climatology if month in entry.months]
    if not all(fail.has(value) for fail, _ in spans):
        return "fail"
    if not all(suspect.has(value) for _, suspect in spans):
        return "suspect"
    return "good" if any(span.bounds for pair in spans for span in pair) else "not evaluated"


def check_tests(tests: QualityTests, sensor: Span, interval_s: int, field: str) -> list[Violation]:
    """Args: sensor: min_value, max_value of the metric; interval_s: its own or the type's; field: where they stand."""
    if tests == QualityTests():
        return []
    found = list(_check_spans(tests, sensor, field))
    if not sensor.bounds and not tests.suspect.bounds:
        text = "give min_value, max_value or tests.suspect: a reading that no test has failed is good by these"
        found.append(Violation(field, "TESTS_WITHOUT_RANGE", text))
    if tests.compares and interval_s == 0:
        text = "spike, rate_per_s, flat_line and gap_s compare readings with others: give expected_interval_s"
        found.append(Violation(field, "TESTS_WITHOUT_INTERVAL", text))
    for name in ("spike", "rate_per_s", "gap_s"):
        found += _check_threshold(getattr(tests, name), f"{field}.{name}")
    if max(tests.gap_s.suspect or 0, tests.gap_s.fail or 0) > MAX_WINDOW_S:
        found.append(Violation(f"{field}.gap_s", "WINDOW_TOO_LONG", f"at most {MAX_WINDOW_S} s"))
    return found + list(_check_flat_line(tests.flat_line, interval_s, f"{field}.flat_line"))


def _check_spans(tests: QualityTests, sensor: Span, field: str) -> Iterator[Violation]:
    yield from _check_span(tests.suspect, sensor, f"{field}.suspect", "min_value and max_value")
    seen: set[int] = set()
    for at, entry in enumerate(tests.climatology):
        where = f"{field}.climatology[{at}]"
        if not entry.months or any(month not in MONTHS for month in entry.months):
            yield Violation(f"{where}.months", "MONTHS_INVALID", "months are 1 to 12, at least one")
        for month in entry.months:
            if month in seen:
                yield Violation(f"{where}.months", "MONTH_TWICE", f"{month} is named twice")
            seen.add(month)
        if not entry.suspect.bounds and not entry.fail.bounds:
            yield Violation(where, "SPAN_MISSING", "give the span `suspect` or `fail`, with min or max")
        yield from _check_span(entry.fail, Span(), f"{where}.fail", "")
        yield from _check_span(entry.suspect, entry.fail, f"{where}.suspect", "`fail`")


def _check_span(span: Span, outer: Span, field: str, outer_name: str) -> Iterator[Violation]:
    if not all(map(math.isfinite, span.bounds)):
        yield Violation(field, "RANGE_NOT_FINITE", "min and max are finite numbers")
    elif span.min is not None and span.max is not None and span.min > span.max:
        yield Violation(field, "RANGE_EMPTY", f"min {span.min:g} is above max {span.max:g}")
    elif not span.is_within(outer):
        yield Violation(field, "SPAN_OUTSIDE", f"what is suspect lies within what fails: within {outer_name}")


def _check_threshold(threshold: Threshold, field: str) -> Iterator[Violation]:
    given = [value for value in (threshold.suspect, threshold.fail) if value is not None]
    if not all(math.isfinite(value) and value > 0 for value in given):
        yield Violation(field, "THRESHOLD_INVALID", "suspect and fail are finite numbers above 0")
    elif len(given) == 2 and given[0] > given[1]:
        yield Violation(field, "THRESHOLD_INVALID", "suspect is not above fail")


def _check_flat_line(flat: FlatLine, interval_s: int, field: str) -> Iterator[Violation]:
    if flat == FlatLine():
        return
    if not (math.isfinite(flat.tolerance) and flat.tolerance > 0):
        yield Violation(f"{field}.tolerance", "THRESHOLD_INVALID", "the difference from which on readings are not flat")
    windows = [window_s for window_s in (flat.suspect_s, flat.fail_s) if window_s]
    if not windows or windows != sorted(windows) or windows[-1] > MAX_WINDOW_S:
        text = f"give suspect_s or fail_s, at most {MAX_WINDOW_S} s; fail_s is not below suspect_s"
        yield Violation(field, "WINDOW_INVALID", text)
    elif windows[0] < 2 * interval_s:
        text = f"{windows[0]} s are less than two intervals of {interval_s} s: no line can be seen in that"
        yield Violation(field, "WINDOW_TOO_SHORT", text)
