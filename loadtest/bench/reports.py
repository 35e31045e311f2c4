"""Reports of modules that say more than one figure, as lines of build/bench.json."""

from typing import Any

from loadtest.bench.result import figure

Report = dict[str, Any]


def figures_of(report: Report) -> list[Report]:
    """The lines of a JSON line that a module printed: itself if it is one, none for a report that nobody knows."""
    if "id" in report:
        return [report]
    make = {"broker": _broker, "grpc_stream": _grpc_stream}.get(report.get("bench", ""))
    return [make(report)] if make else []


def _broker(report: Report) -> Report:
    """CPU of the consumer for a `ReadingBatch` of one reading; the share of what mosquitto delivers beside it."""
    one = report["batch"]
    key = "consumer_cpu_us_per_message"
    return figure(
        "broker_cpu_us",
        [each[key] for each in one["ours"]["rounds"]],
        "us a message",
        one["baseline"]["median"][key],
        less_is_better=True,
        messages_per_s=one["ours"]["median"]["messages_per_s"],
        share_of_what_the_broker_delivers=one["limit_share"],
        report=report,
    )


def _grpc_stream(report: Report) -> Report:
    key = "readings_per_s"
    runs = [each[key] for each in report["ours"]["rounds"]]
    return figure("grpc_500", runs, "readings/s", report["baseline"]["median"][key], report=report)
