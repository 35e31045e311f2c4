"""Metrics of several workers as one page that Prometheus takes."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingest.workers.exposition import merge


def page(value: int) -> str:
    registry = CollectorRegistry()
    Gauge("plain", "No labels.", registry=registry).set(value)
    events = Counter("events", "Some labels.", ["event", "text"], registry=registry)
    events.labels("a", 'quote " brace { } and\nline').inc(value)
    events.labels("b", "").inc(value + 1)
    Histogram("seconds", "Buckets.", registry=registry, buckets=(1, 2)).observe(value)
    if value == 2:
        Gauge("only_here", "Of one worker.", registry=registry).set(7)
    return generate_latest(registry).decode()


def test_every_sample_has_its_worker_and_every_family_stands_once():
    pages = {"0": page(1), "1": page(2)}
    merged = merge(pages)
    families = list(text_string_to_metric_families(merged))
    assert len({family.name for family in families}) == len(families)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    for worker in ("0", "1"):
        own = {
            (name, tuple(pair for pair in labels if pair[0] != "worker")): value
            for (name, labels), value in samples.items()
            if ("worker", worker) in labels
        }
        expected = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(pages[worker])
            for sample in family.samples
        }
        assert own == expected
    assert {family.name: family.type for family in families}["seconds"] == "histogram"


def test_no_workers_make_an_empty_page():
    assert merge({}) == ""
