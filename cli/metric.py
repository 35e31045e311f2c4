"""`cityfleet metric`: the metric catalogue."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cityfleet.registry.v1 import metric_pb2 as pb
from cli.output import OutputFormat, OutputOption, show
from cli.registry_client import CALL_S, RegistryClient, RegistryOption, connect
from cli.settings import ConfigOption, DataOption

app = typer.Typer(help="The metric catalogue: what can be measured, each with one unit.", no_args_is_help=True)
COLUMNS = ("metric", "unit", "description")


@app.command()
def create(
    metric: Annotated[str, typer.Argument(help="Its name, unit included: lowercase letters, digits and `_`.")],
    unit: Annotated[str, typer.Option("--unit", "-u", help="UCUM unit that readings are stored in: m, ug/m3, %, 1.")],
    description: Annotated[str, typer.Option("--description", help="What it is, in a sentence.")] = "",
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Add a metric. Its unit is for ever.

    Example:
        cityfleet metric create wind_speed_m_s --unit m/s --description "Mean wind speed over 10 minutes"
    """
    with connect(registry, config, data) as client:
        request = pb.CreateMetricRequest(metric_id=metric, metric=pb.Metric(unit=unit, description=description))
        created = client.metrics.CreateMetric(request, timeout=CALL_S)
    show([_row(created)], COLUMNS, output, name="metric")


@app.command()
def get(
    metric: Annotated[str, typer.Argument(help="Its name.")],
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show one metric.

    Example:
        cityfleet metric get water_level_m -o yaml
    """
    with connect(registry, config, data) as client:
        found = client.metrics.GetMetric(pb.GetMetricRequest(name=f"metrics/{metric}"), timeout=CALL_S)
    show([_row(found)], COLUMNS, output, name="metric")


@app.command()
def update(
    metric: Annotated[str, typer.Argument(help="Its name.")],
    description: Annotated[str, typer.Option("--description", help="What it is, in a sentence.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show, but change nothing.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Describe a metric anew. Its unit stays.

    Example:
        cityfleet metric update wind_speed_m_s --description "Mean wind speed over 2 minutes"
    """
    given = pb.Metric(name=f"metrics/{metric}", description=description)
    with connect(registry, config, data) as client:
        request = pb.UpdateMetricRequest(metric=given, update_mask={"paths": ["description"]}, validate_only=dry_run)
        updated = client.metrics.UpdateMetric(request, timeout=CALL_S)
    show([_row(updated)], COLUMNS, output, name="metric")


@app.command("list")
def list_metrics(
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show the whole catalogue.

    Example:
        cityfleet metric list
    """
    with connect(registry, config, data) as client:
        show([_row(metric) for metric in _pages(client)], COLUMNS, output, name="metric")


def _pages(client: RegistryClient) -> Iterator[pb.Metric]:
    request = pb.ListMetricsRequest(page_size=1000)
    while True:
        page = client.metrics.ListMetrics(request, timeout=CALL_S)
        yield from page.metrics
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _row(metric: pb.Metric) -> dict[str, Any]:
    return {
        "metric": metric.name.removeprefix("metrics/"),
        "metric_num": metric.metric_num,
        "unit": metric.unit,
        "description": metric.description,
        "etag": metric.etag,
        "create_time": metric.create_time.ToJsonString(),
        "update_time": metric.update_time.ToJsonString(),
    }
