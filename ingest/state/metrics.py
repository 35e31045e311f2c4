"""What is told to the registry of devices, read when Prometheus asks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ext.telemetry.device_states import DeviceStates
from ingest.state.reporter import StateReporter


class StateCollector(Collector):
    def __init__(self, states: DeviceStates, reporter: StateReporter) -> None:
        self._states = states
        self._reporter = reporter

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        counters, reporter = self._states.counters(), self._reporter
        yield CounterMetricFamily(
            "cityfleet_ingest_state_reports", "Reports of devices that the registry took.", reporter.accepted
        )
        yield CounterMetricFamily(
            "cityfleet_ingest_state_requests_refused",
            "Requests with reports that the registry would never take and that were dropped.",
            reporter.requests_refused,
        )
        yield CounterMetricFamily(
            "cityfleet_ingest_state_documents", "State documents taken from devices.", counters["documents"]
        )
        refused = CounterMetricFamily(
            "cityfleet_ingest_state_documents_refused",
            "State documents not kept: `no_room` are in quarantine, `registry` were refused by it.",
            labels=["reason"],
        )
        refused.add_metric(["no_room"], counters["documents_refused"])
        refused.add_metric(["registry"], reporter.documents_refused)
        yield refused
        yield GaugeMetricFamily(
            "cityfleet_ingest_state_waiting", "Devices with news that the registry was not told.", counters["waiting"]
        )
        yield GaugeMetricFamily(
            "cityfleet_ingest_state_document_bytes",
            "Memory of state documents that wait for it.",
            counters["document_bytes"],
        )
        yield GaugeMetricFamily(
            "cityfleet_ingest_state_answer_age_seconds", "Since the registry last took reports.", reporter.answer_age_s
        )
