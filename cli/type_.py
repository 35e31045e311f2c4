"""`cityfleet type`: device types."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cityfleet.registry.v1 import device_type_pb2 as pb
from cityfleet.registry.v1 import metric_pb2
from cli.completion import type_ids
from cli.connected import connected
from cli.errors import CommandError, ExitCode
from cli.options import DryRunOption, EtagOption, LimitOption, request_id_of
from cli.output import OutputFormat, OutputOption, show, show_document
from cli.paging import pages
from cli.registry_client import CALL_S, RegistryClient
from cli.type_file import hex_bytes, read_types, type_document

if TYPE_CHECKING:
    from cli.type_trial import Trial

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
@connected
def apply(
    client: RegistryClient,
    files: Annotated[
        list[str],
        typer.Option("--file", "-f", metavar="FILE", help="YAML, TOML or JSON; a folder of them; `-` for stdin."),
    ],
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
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
    for where, kind in types:
        request = pb.ApplyDeviceTypeRequest(device_type=kind, validate_only=dry_run, request_id=request_id_of(""))
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
@connected
def get(
    client: RegistryClient,
    device_type: Annotated[str, typer.Argument(help="Its name, or with its version: NAME@3.", autocompletion=type_ids)],
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show one device type; as yaml or json it can be edited and applied again.

    Examples:
        cityfleet type get gauge-river -o yaml
        cityfleet type get gauge-river@3 -o yaml                               # as it was in version 3
        cityfleet type get gauge-river@3 -o yaml | cityfleet type apply -f -   # and back to it
    """
    found = client.types.GetDeviceType(pb.GetDeviceTypeRequest(name=f"deviceTypes/{device_type}"), timeout=CALL_S)
    if output in (OutputFormat.JSON, OutputFormat.YAML, OutputFormat.NDJSON):
        show_document(_document(found), output)
    else:
        show([_row(found)], COLUMNS, output, name="device_type")


@app.command()
@connected
def revisions(
    client: RegistryClient,
    device_type: Annotated[str, typer.Argument(help="Its name.", autocompletion=type_ids)],
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show every version of a device type, the newest first, and what each changed.

    Examples:
        cityfleet type revisions gauge-river
        cityfleet type revisions gauge-river -o yaml
    """
    request = pb.ListDeviceTypeRevisionsRequest(name=f"deviceTypes/{device_type}")
    found = list(pages(client.types.ListDeviceTypeRevisions, request, "device_types"))
    if output in (OutputFormat.JSON, OutputFormat.YAML):
        show_document([_document(kind) for kind in found], output)
        return
    rows = []
    for kind, before in zip(found, [*found[1:], None], strict=True):
        changed = ", ".join(_changed(before, kind)) if before is not None else ""
        begin_time = kind.update_time.ToJsonString()
        rows.append({"version": kind.version, "begin_time": begin_time, "changed": changed, "name": _id(kind)})
    show(rows, ("version", "begin_time", "changed"), output, name="name")


@app.command()
@connected
def delete(
    client: RegistryClient,
    device_type: Annotated[str, typer.Argument(help="Its name.", autocompletion=type_ids)],
    etag: EtagOption = "",
    dry_run: DryRunOption = False,
) -> None:
    """Delete a device type that no device has. Its versions are kept: applied again, it is there as the next one.

    Example:
        cityfleet type delete gauge-river
    """
    request = pb.DeleteDeviceTypeRequest(
        name=f"deviceTypes/{device_type}", etag=etag, validate_only=dry_run, request_id=request_id_of("")
    )
    client.types.DeleteDeviceType(request, timeout=CALL_S)
    print(f"{device_type} is deleted", file=sys.stderr)


@app.command("test")
@connected
def try_out(
    client: RegistryClient,
    device_type: Annotated[str, typer.Argument(help="Its name; with -f only needed if there are several.")] = "",
    file: Annotated[
        str, typer.Option("--file", "-f", metavar="FILE", help="Take it from a file that is not applied yet.")
    ] = "",
    payload: Annotated[str, typer.Option(metavar="HEX", help="Decode this payload instead of the test vectors.")] = "",
    json_text: Annotated[
        str, typer.Option("--json", metavar="TEXT", help="The same with a JSON document; `-` for stdin.")
    ] = "",
    f_port: Annotated[int | None, typer.Option(min=1, max=255, help="LoRaWAN port that it comes on.")] = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Decode a payload as ingest will, or run the test vectors of a type.

    Examples:
        cityfleet type test level-lorawan
        cityfleet type test level-lorawan --payload 0bb8011364 --f-port 2
        cityfleet type test -f ops/types/level-lorawan.yaml --payload "0bb8 0113 64" --f-port 2
    """
    from cli.type_trial import trial_of

    kind = _type_to_test(client, device_type, file)
    trial = trial_of(kind, _units(client))
    if payload or json_text:
        _show_decoded(trial, payload, json_text, f_port, output)
        return
    outcomes = trial.run_vectors()
    if not outcomes:
        raise CommandError(
            f"{_id(kind)} has no test vectors", ExitCode.ERROR, remedy="decode a payload with --payload HEX"
        )
    rows = [{"vector": name, "outcome": problem or "passes"} for name, problem in outcomes]
    show(rows, ("vector", "outcome"), output, name="vector")
    if any(problem for _, problem in outcomes):
        raise CommandError(f"test vectors of {_id(kind)} fail")


def _type_to_test(client: RegistryClient, device_type: str, file: str) -> pb.DeviceType:
    if not file:
        if not device_type:
            raise CommandError("name a device type, or a file with -f", ExitCode.USAGE)
        stored: pb.DeviceType = client.types.GetDeviceType(
            pb.GetDeviceTypeRequest(name=f"deviceTypes/{device_type}"), timeout=CALL_S
        )
        return stored
    found = [kind for _, kind in read_types([file]) if device_type in ("", _id(kind))]
    if len(found) != 1:
        known = f"named {device_type}" if device_type else "to choose from"
        raise CommandError(f"{file} has {len(found)} types {known}; name one", ExitCode.USAGE)
    return found[0]


def _units(client: RegistryClient) -> dict[str, str]:
    """Canonical units by metric."""
    found = pages(client.metrics.ListMetrics, metric_pb2.ListMetricsRequest(), "metrics")
    return {metric.name.removeprefix("metrics/"): metric.unit for metric in found}


def _show_decoded(trial: "Trial", payload: str, json_text: str, f_port: int | None, output: OutputFormat) -> None:
    text = sys.stdin.read() if json_text == "-" else json_text
    try:
        given = hex_bytes(payload, "--payload") if payload else text.encode()
    except ValueError as exc:
        raise CommandError(str(exc), ExitCode.USAGE) from exc
    rows, refused = trial.decode(given, f_port, is_json=not payload)
    if rows or not refused:
        columns = ("metric", "value", "unit", "quality", "source", "sent", "sent_unit", "time")
        show(rows, columns, output, name="metric")
    if refused:
        raise CommandError(refused, ExitCode.PARTIAL if rows else ExitCode.ERROR)


@app.command("list")
@connected
def list_types(client: RegistryClient, limit: LimitOption = 0, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show all device types.

    Example:
        cityfleet type list
    """
    found = pages(client.types.ListDeviceTypes, pb.ListDeviceTypesRequest(), "device_types", limit)
    is_text = output not in (OutputFormat.JSON, OutputFormat.YAML, OutputFormat.NDJSON)
    rows = (_row(kind) if is_text else _document(kind) for kind in found)
    show(rows, COLUMNS, output, name="device_type")


def _changed(before: pb.DeviceType, after: pb.DeviceType) -> list[str]:
    """Names of the fields in which two versions differ."""
    fields = (field.name for field in pb.DeviceType.DESCRIPTOR.fields)
    given = (name for name in fields if name not in ("name", "version", "update_time"))
    return [name for name in given if getattr(before, name) != getattr(after, name)]


def _id(kind: pb.DeviceType) -> str:
    return kind.name.removeprefix("deviceTypes/")


def _document(kind: pb.DeviceType) -> dict[str, Any]:
    return type_document(kind) | {
        "type_num": kind.type_num,
        "version": kind.version,
        "etag": kind.etag,
        "create_time": kind.create_time.ToJsonString(),
        "update_time": kind.update_time.ToJsonString(),
    }


def _row(kind: pb.DeviceType) -> dict[str, Any]:
    return _document(kind) | {"metrics": " ".join(entry.metric for entry in kind.metrics)}
