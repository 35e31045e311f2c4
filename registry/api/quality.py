"""Quality tests between protobuf and the registry: the same fields on both sides."""

from cityfleet.registry.v1 import quality_pb2 as pb
from registry.devices.quality import FlatLine, MonthlySpan, QualityTests, Span, Threshold


def tests_of(given: pb.QualityTests) -> QualityTests:
    return QualityTests(
        suspect=_span_of(given.suspect),
        climatology=tuple(
            MonthlySpan(tuple(entry.months), _span_of(entry.suspect), _span_of(entry.fail))
            for entry in given.climatology
        ),
        spike=_threshold_of(given.spike),
        rate_per_s=_threshold_of(given.rate_per_s),
        flat_line=FlatLine(given.flat_line.tolerance, given.flat_line.suspect_s, given.flat_line.fail_s),
        gap_s=_threshold_of(given.gap_s),
    )


def tests_message(tests: QualityTests) -> pb.QualityTests | None:
    """None: there are none."""
    if tests == QualityTests():
        return None
    flat = tests.flat_line
    return pb.QualityTests(
        suspect=_span(tests.suspect),
        climatology=[
            pb.MonthlySpan(months=entry.months, suspect=_span(entry.suspect), fail=_span(entry.fail))
            for entry in tests.climatology
        ],
        spike=_threshold(tests.spike),
        rate_per_s=_threshold(tests.rate_per_s),
        flat_line=None
        if flat == FlatLine()
        else pb.FlatLine(tolerance=flat.tolerance, suspect_s=flat.suspect_s, fail_s=flat.fail_s),
        gap_s=_threshold(tests.gap_s),
    )


def _span_of(given: pb.Span) -> Span:
    return Span(given.min if given.HasField("min") else None, given.max if given.HasField("max") else None)


def _span(span: Span) -> pb.Span | None:
    return None if span == Span() else pb.Span(min=span.min, max=span.max)


def _threshold_of(given: pb.Threshold) -> Threshold:
    suspect = given.suspect if given.HasField("suspect") else None
    return Threshold(suspect, given.fail if given.HasField("fail") else None)


def _threshold(threshold: Threshold) -> pb.Threshold | None:
    return None if threshold == Threshold() else pb.Threshold(suspect=threshold.suspect, fail=threshold.fail)
