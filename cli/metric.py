"""`cityfleet metric`: the metric catalogue."""

from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from cityfleet.registry.v1 import metric_pb2 as pb
from cli.completion import metric_ids
from cli.connected import connected
from cli.options import DryRunOption, EtagOption, LimitOption, request_id_of
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import row_of
from cli.registry_client import CALL_S, RegistryClient

app = typer.Typer(help="The metric catalogue: what can be measured, each with one unit.", no_args_is_help=True)
COLUMNS = ("metric", "unit", "description")
WIDE = ("metric_num", "update_time", "etag")


@app.command()
@connected
def create(
    client: RegistryClient,
    metric: Annotated[str, typer.Argument(help="Its name, unit included: lowercase letters, digits and `_`.")],
    unit: Annotated[str, typer.Option("--unit", "-u", help="UCUM unit that readings are stored in: m, ug/m3, %, 1.")],
    description: Annotated[str, typer.Option("--description", help="What it is, in a sentence.")] = "",
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Add a metric. Its unit is for ever.

    Example:
        cityfleet metric create wind_speed_m_s --unit m/s --description "Mean wind speed over 10 minutes"
    """
    request = pb.CreateMetricRequest(
        metric_id=metric,
        metric=pb.Metric(unit=unit, description=description),
        validate_only=dry_run,
        request_id=request_id_of(""),
    )
    created = client.metrics.CreateMetric(request, timeout=CALL_S)
    _show_one(created, output)


@app.command()
@connected
def get(
    client: RegistryClient,
    metric: Annotated[str, typer.Argument(help="Its name.", autocompletion=metric_ids)],
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show one metric.

    Example:
        cityfleet metric get water_level_m -o yaml
    """
    found = client.metrics.GetMetric(pb.GetMetricRequest(name=f"metrics/{metric}"), timeout=CALL_S)
    _show_one(found, output)


@app.command()
@connected
def update(
    client: RegistryClient,
    metric: Annotated[str, typer.Argument(help="Its name.", autocompletion=metric_ids)],
    description: Annotated[str, typer.Option("--description", help="What it is, in a sentence.")],
    etag: EtagOption = "",
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Describe a metric anew. Its unit stays.

    Example:
        cityfleet metric update wind_speed_m_s --description "Mean wind speed over 2 minutes"
    """
    request = pb.UpdateMetricRequest(
        metric=pb.Metric(name=f"metrics/{metric}", description=description, etag=etag),
        update_mask=FieldMask(paths=["description"]),
        validate_only=dry_run,
        request_id=request_id_of(""),
    )
    updated = client.metrics.UpdateMetric(request, timeout=CALL_S)
    _show_one(updated, output)


@app.command("list")
@connected
def list_metrics(client: RegistryClient, limit: LimitOption = 0, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show the whole catalogue.

    Example:
        cityfleet metric list
    """
    found = pages(client.metrics.ListMetrics, pb.ListMetricsRequest(), "metrics", limit)
    show(
        (row_of(metric, "metric") for metric in found),
        COLUMNS,
        output,
        name="metric",
        wide=WIDE,
        csv_columns=COLUMNS,
    )


def _show_one(metric: pb.Metric, output: OutputFormat) -> None:
    show_one(row_of(metric, "metric"), COLUMNS, output, name="metric", wide=WIDE, csv_columns=COLUMNS)
