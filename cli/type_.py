"""`cityfleet type`: device types."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cityfleet.registry.v1 import device_type_pb2 as pb
from cli.output import OutputFormat, OutputOption, show, show_document
from cli.registry_client import CALL_S, RegistryClient, RegistryOption, connect
from cli.settings import ConfigOption, DataOption
from cli.type_file import read_types

app = typer.Typer(
    help="Device types: what a kind of device measures, how often, and how it talks.", no_args_is_help=True
)
COLUMNS = ("device_type", "is_gateway", "expected_interval_s", "default_encoding", "metrics", "version")
_OUTCOMES = {
    pb.ApplyDeviceTypeResponse.OUTCOME_CREATED: "created",
    pb.ApplyDeviceTypeResponse.OUTCOME_UPDATED: "updated",
    pb.ApplyDeviceTypeResponse.OUTCOME_UNCHANGED: "unchanged",
}


@app.command()
def apply(
    files: Annotated[
        list[str],
        typer.Option("--file", "-f", metavar="FILE", help="YAML, TOML or JSON; a folder of them; `-` for stdin."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and say what would happen.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Create device types or bring them to the state in files. The same again changes nothing.

    Examples:
        cityfleet type apply -f ops/types/gauge-river.yaml
        cityfleet type apply -f ops/types --dry-run
        cityfleet type get gauge-river -o yaml | sed s/300/60/ | cityfleet type apply -f -

    A file:
        device_type: gauge-river
        expected_interval_s: 300
        metrics:
          - {metric: water_level_m, min_value: -2, max_value: 20}
          - battery_pct
    """
    rows = []
    types = read_types(files)
    with connect(registry, config, data) as client:
        for where, kind in types:
            request = pb.ApplyDeviceTypeRequest(device_type=kind, validate_only=dry_run)
            applied = client.types.ApplyDeviceType(request, timeout=CALL_S)
            rows.append(
                {
                    "device_type": _id(applied.device_type),
                    "outcome": _OUTCOMES[applied.outcome],
                    "changed": ", ".join(applied.changed_fields),
                    "version": applied.device_type.version,
                    "file": where,
                }
            )
    title = "Dry run: nothing was changed." if dry_run else ""
    show(rows, ("device_type", "outcome", "changed", "version"), output, name="device_type", title=title)


@app.command()
def get(
    device_type: Annotated[str, typer.Argument(help="Its name.")],
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show one device type; as yaml or json it can be edited and applied again.

    Example:
        cityfleet type get gauge-river -o yaml
    """
    with connect(registry, config, data) as client:
        found = client.types.GetDeviceType(pb.GetDeviceTypeRequest(name=f"deviceTypes/{device_type}"), timeout=CALL_S)
    if output in (OutputFormat.JSON, OutputFormat.YAML):
        show_document(_document(found), output)
    else:
        show([_row(found)], COLUMNS, output, name="device_type")


@app.command("list")
def list_types(
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show all device types.

    Example:
        cityfleet type list
    """
    with connect(registry, config, data) as client:
        types = list(_pages(client))
    if output in (OutputFormat.JSON, OutputFormat.YAML):
        show_document([_document(kind) for kind in types], output)
    else:
        show([_row(kind) for kind in types], COLUMNS, output, name="device_type")


def _pages(client: RegistryClient) -> Iterator[pb.DeviceType]:
    request = pb.ListDeviceTypesRequest(page_size=1000)
    while True:
        page = client.types.ListDeviceTypes(request, timeout=CALL_S)
        yield from page.device_types
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _id(kind: pb.DeviceType) -> str:
    return kind.name.removeprefix("deviceTypes/")


def _document(kind: pb.DeviceType) -> dict[str, Any]:
    metrics = []
    for entry in kind.metrics:
        metric: dict[str, Any] = {"metric": entry.metric}
        if entry.HasField("min_value"):
            metric["min_value"] = entry.min_value
        if entry.HasField("max_value"):
            metric["max_value"] = entry.max_value
        metrics.append(metric)
    return {
        "device_type": _id(kind),
        "display_name": kind.display_name,
        "description": kind.description,
        "is_gateway": kind.is_gateway,
        "default_encoding": kind.default_encoding,
        "expected_interval_s": kind.expected_interval_s,
        "metrics": metrics,
        "type_num": kind.type_num,
        "version": kind.version,
        "etag": kind.etag,
        "create_time": kind.create_time.ToJsonString(),
        "update_time": kind.update_time.ToJsonString(),
    }


def _row(kind: pb.DeviceType) -> dict[str, Any]:
    return _document(kind) | {"metrics": " ".join(entry.metric for entry in kind.metrics)}
