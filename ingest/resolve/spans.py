"""The quality tests that ingest carries out, as the device index takes them."""

from cityfleet.registry.v1 import quality_pb2 as pb

Span = tuple[float | None, float | None]


def spans_of(tests: pb.QualityTests) -> tuple[Span, dict[int, tuple[Span, Span]]]:
    """Returns: what is suspect all year, and by month (1 to 12) what fails and what is suspect."""
    months = {month: (_span(entry.fail), _span(entry.suspect)) for entry in tests.climatology for month in entry.months}
    return _span(tests.suspect), months


def _span(span: pb.Span) -> Span:
    return span.min if span.HasField("min") else None, span.max if span.HasField("max") else None
