"""`cityfleet device`: sensors and gateways."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cityfleet.registry.v1 import device_pb2 as pb
from cli import device_end, device_many
from cli.completion import device_ids, site_ids, type_ids, ward_codes
from cli.confirm import confirm
from cli.connected import connected
from cli.device_many import IdsArgument, show_done
from cli.device_rows import COLUMNS, WIDE, show_device, show_devices
from cli.device_watch import watch as watch_devices
from cli.errors import CommandError, ExitCode
from cli.options import (
    DeletedOption,
    DryRunOption,
    EtagOption,
    FilterOption,
    LabelOption,
    LimitOption,
    NameOption,
    OrderOption,
    RemoveLabelOption,
    RequestIdOption,
    TimeoutOption,
    WaitOption,
    YesOption,
    joined,
    labels_of,
    request_id_of,
)
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import row_of
from cli.registry_client import CALL_S, RegistryClient

app = typer.Typer(help="Devices: identity, place and token of every sensor and gateway.", no_args_is_help=True)
IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Lowercase letters, digits and `-`.", autocompletion=device_ids)
]
TypeOption = Annotated[str | None, typer.Option("--type", "-t", help="Device type.", autocompletion=type_ids)]
WardOption = Annotated[
    str | None, typer.Option("--ward", "-w", help="5-digit ward code, as in 00070.", autocompletion=ward_codes)
]
GatewayOption = Annotated[
    str | None, typer.Option("--gateway", "-g", help="Id of the gateway that speaks for it.", autocompletion=device_ids)
]
SiteOption = Annotated[str | None, typer.Option("--site", help="Where it stands, in words.")]
LatOption = Annotated[float | None, typer.Option("--lat", help="Latitude, WGS 84 degrees.")]
LonOption = Annotated[float | None, typer.Option("--lon", help="Longitude, WGS 84 degrees.")]
ExternalOption = Annotated[
    str | None,
    typer.Option(
        "--external-id", "-x", help="What others call it: a DevEUI in lowercase, GROUP/EDGE/DEVICE of Sparkplug."
    ),
]
SiteIdOption = Annotated[
    str | None, typer.Option("--site-id", help="Id of the site it is mounted at.", autocompletion=site_ids)
]
HardwareOption = Annotated[str | None, typer.Option("--hardware", help="Hardware revision, one of its type's.")]
# In the order of a device's fields that can be set by name.
SETTABLE = (
    "display_name",
    "device_type",
    "gateway",
    "ward_code",
    "site",
    "site_id",
    "latitude",
    "longitude",
    "external_id",
    "hardware_revision",
)


@app.command()
@connected
def create(
    client: RegistryClient,
    device_id: IdArgument,
    device_type: Annotated[str, typer.Option("--type", "-t", help="Device type.", autocompletion=type_ids)],
    ward: WardOption = None,
    gateway: GatewayOption = None,
    site_id: SiteIdOption = None,
    site: SiteOption = None,
    lat: LatOption = None,
    lon: LonOption = None,
    external_id: ExternalOption = None,
    hardware: HardwareOption = None,
    label: LabelOption = None,
    name: NameOption = None,
    dry_run: DryRunOption = False,
    request_id: RequestIdOption = "",
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Register a device and print its token, once.

    Examples:
        cityfleet device create wl-long-bien-01 --type gauge-river --ward 00097 --site "Cầu Long Biên"
        cityfleet device create rain-07 -t gauge-rain --site-id bts-0042 -g gw-0042 -l owner=tnmt
        cityfleet device create aq-12 -t air-monitor --lat 21.0287 --lon 105.8525 --external-id 0004a30b001c0530
    """
    values = (name, device_type, gateway, ward, site, site_id, lat, lon, external_id, hardware)
    device = _message(dict(zip(SETTABLE, values, strict=True)), labels_of(label))
    request = pb.CreateDeviceRequest(
        device_id=device_id, device=device, validate_only=dry_run, request_id=request_id_of(request_id)
    )
    created = client.devices.CreateDevice(request, timeout=CALL_S)
    _show_with_token(created.device, created.token, output)


@app.command()
@connected
def get(client: RegistryClient, device_id: IdArgument, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show one device.

    Example:
        cityfleet device get wl-long-bien-01 -o yaml
    """
    found = client.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{device_id}"), timeout=CALL_S)
    show_device(found, output)


@app.command("list")
@connected
def list_devices(
    client: RegistryClient,
    filter_text: FilterOption = "",
    device_type: TypeOption = None,
    ward: WardOption = None,
    gateway: GatewayOption = None,
    site_id: SiteIdOption = None,
    external_id: ExternalOption = None,
    state: Annotated[str | None, typer.Option("--state", help="active, decommissioned or deleted.")] = None,
    label: LabelOption = None,
    order_by: OrderOption = "",
    limit: LimitOption = 0,
    show_deleted: DeletedOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Then every change as it happens, until Ctrl-C.")] = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show devices, all or those that match, in the order of their registration.

    Examples:
        cityfleet device list --ward 00070 --state active
        cityfleet device list --filter 'health = bad OR connectivity = offline' --order-by ward_code -o wide
        cityfleet device list --filter 'labels.owner = "tnmt" AND NOT device_id = "test-*"' -o csv > mine.csv
        cityfleet device list --filter 'near(21.0287, 105.8525, 500)' -o name
        cityfleet device list -g bts-0042 --watch -o ndjson

    Fields: device_id device_num display_name device_type external_id gateway site_id site ward_code hardware_revision
    labels.KEY state create_time update_time connectivity health reported.firmware_version reported.config_version
    reported.last_seen_time reported.last_reading_time; in_group("id"), in_query("id"), near(lat, lon, radius_m),
    ago("1h").
    """
    given = {"device_type": device_type, "ward_code": ward, "gateway": gateway, "site_id": site_id}
    given |= {"external_id": external_id, "state": state}
    text = joined(filter_text, given | {f"labels.{key}": value for key, value in labels_of(label).items()})
    if watch:
        _watch(client, text, order_by, limit, output)
        return
    request = pb.ListDevicesRequest(filter=text, order_by=order_by, show_deleted=show_deleted)
    found = pages(client.devices.ListDevices, request, "devices", limit)
    show_devices(found, output)


@app.command()
@connected
def update(
    client: RegistryClient,
    device_ids: IdsArgument = None,
    filter_text: FilterOption = "",
    device_type: TypeOption = None,
    ward: WardOption = None,
    gateway: GatewayOption = None,
    site_id: SiteIdOption = None,
    site: SiteOption = None,
    lat: LatOption = None,
    lon: LonOption = None,
    external_id: ExternalOption = None,
    hardware: HardwareOption = None,
    label: LabelOption = None,
    remove_label: RemoveLabelOption = None,
    name: NameOption = None,
    etag: EtagOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = 0,
    request_id: RequestIdOption = "",
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Change what is named and nothing else; an empty text clears a field. Devices named one by one: all or none.

    Examples:
        cityfleet device update rain-07 --ward 00004 --lat 21.03 --lon 105.84
        cityfleet device update rain-07 rain-08 --gateway "" --label owner=cepa --remove-label pilot
        cityfleet device update --filter 'ward_code = "00070" AND device_type = "gauge-rain"' --label season=wet
    """
    device_many.ids_or_filter(device_ids, filter_text)
    values = (name, device_type, gateway, ward, site, site_id, lat, lon, external_id, hardware)
    given, labels = dict(zip(SETTABLE, values, strict=True)), labels_of(label)
    paths = [field for field, value in given.items() if value is not None]
    paths += [f"labels.{key}" for key in (*labels, *(remove_label or ()))]
    if not paths:
        raise CommandError("nothing to change", ExitCode.USAGE, "name a field, as in --ward 00070")
    if etag and len(device_ids or ()) != 1:
        raise CommandError("an etag is of one device", ExitCode.USAGE, "name that device alone")
    device, made_id = _message(given, labels), request_id_of(request_id)
    if filter_text:
        bulk = pb.BulkUpdateDevicesRequest(filter=filter_text, device=device, validate_only=dry_run, request_id=made_id)
        bulk.update_mask.paths.extend(paths)

        def start(expected: int) -> Any:
            bulk.expected_count = expected
            return client.devices.BulkUpdateDevices(bulk, timeout=CALL_S)

        done = device_many.run_by_filter(
            client, start, filter_text, "Change", yes=yes, dry_run=dry_run, wait=wait, timeout_s=timeout
        )
        show_done(done, output)
        return
    ids = device_ids or []
    if not dry_run:
        confirm("Change", len(ids), "device", yes=yes)
    batch = pb.BatchUpdateDevicesRequest(validate_only=dry_run, request_id=made_id)
    for device_id in ids:
        one = batch.requests.add(device=device)
        one.device.name, one.device.etag = f"devices/{device_id}", etag
        one.update_mask.paths.extend(paths)
    if len(ids) == 1:
        batch.requests[0].validate_only, batch.requests[0].request_id = dry_run, made_id
        show_device(client.devices.UpdateDevice(batch.requests[0], timeout=CALL_S), output)
        return
    updated = client.devices.BatchUpdateDevices(batch, timeout=CALL_S)
    show_devices(updated.devices, output)


app.command()(device_end.decommission)
app.command()(device_end.delete)
app.command()(device_end.undelete)
app.command()(device_end.purge)


@app.command()
@connected
def count(
    client: RegistryClient,
    group_by: Annotated[
        list[str] | None, typer.Option("--by", metavar="FIELD", help="Count for each value; up to 3.")
    ] = None,
    filter_text: FilterOption = "",
    limit: Annotated[int, typer.Option("--limit", min=0, max=10_000, help="The largest this many; 0: 1000.")] = 0,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Count devices: all that match, or for each value of some fields, the most frequent first.

    Examples:
        cityfleet device count --filter 'health = bad'
        cityfleet device count --by ward_code --by health
        cityfleet device count --by reported.firmware_version --filter 'device_type = "gauge-rain"' -o csv
    """
    fields = tuple(group_by or ())
    request = pb.AggregateDevicesRequest(filter=filter_text, group_by=fields, max_groups=limit)
    counted = client.devices.AggregateDevices(request, timeout=CALL_S)
    if not fields:
        show_one({"devices": counted.total_devices}, ("devices",), output, name="devices")
        return
    rows = (dict(zip(fields, group.values, strict=True)) | {"devices": group.devices} for group in counted.groups)
    shown = show(rows, (*fields, "devices"), output, name=fields[0])
    if shown < counted.total_groups:
        typer.echo(f"{counted.total_groups - shown} smaller groups are not shown; --limit shows more", err=True)


@app.command()
@connected
def history(
    client: RegistryClient, device_id: IdArgument, limit: LimitOption = 0, output: OutputOption = OutputFormat.TABLE
) -> None:
    """Where a device was, from when to when, the newest first.

    Example:
        cityfleet device history rain-07
    """
    request = pb.ListDevicePlacementsRequest(parent=f"devices/{device_id}")
    found = pages(client.devices.ListDevicePlacements, request, "placements", limit)
    rows = (row_of(placement, "device_id") | {"device_id": device_id} for placement in found)
    columns = ("start_time", "end_time", "gateway", "site_id", "ward_code", "latitude", "longitude")
    show(rows, columns, output, name="start_time")


@app.command("rotate-token")
@connected
def rotate_token(
    client: RegistryClient,
    device_id: IdArgument,
    keep_previous: Annotated[
        bool, typer.Option("--keep-previous", help="The old token stays valid until the next rotation.")
    ] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Give a device a new token and print it, once.

    Example:
        cityfleet device rotate-token wl-long-bien-01 --keep-previous
    """
    request = pb.RotateDeviceTokenRequest(
        name=f"devices/{device_id}", keep_previous=keep_previous, validate_only=dry_run, request_id=request_id_of("")
    )
    rotated = client.devices.RotateDeviceToken(request, timeout=CALL_S)
    _show_with_token(rotated.device, rotated.token, output)


def _message(given: dict[str, Any], labels: dict[str, str]) -> pb.Device:
    return pb.Device(**{field: value for field, value in given.items() if value is not None}, labels=labels)


def _watch(client: RegistryClient, filter_text: str, order_by: str, limit: int, output: OutputFormat) -> None:
    if order_by or limit:
        raise CommandError("a watch has no order and no end", ExitCode.USAGE, "leave --order-by and --limit out")
    if output in (OutputFormat.JSON, OutputFormat.YAML):
        raise CommandError("a watch prints line by line", ExitCode.USAGE, "-o ndjson")
    changes: Iterator[dict[str, Any]] = watch_devices(client, pb.WatchDevicesRequest(filter=filter_text))
    try:
        for row in changes:
            _show_change(row, output)
    except KeyboardInterrupt:
        return


def _show_change(row: dict[str, Any], output: OutputFormat) -> None:
    if output in (OutputFormat.TABLE, OutputFormat.WIDE):
        columns = COLUMNS[:-1] if output is OutputFormat.TABLE else (*COLUMNS[:-1], *WIDE)
        print("  ".join(str(row[column] or "-") for column in ("change", *columns)), flush=True)
    elif output is OutputFormat.CSV:
        raise CommandError("a watch has no csv", ExitCode.USAGE, "-o ndjson")
    else:
        show([row], (), output, name="device_id")


def _show_with_token(device: pb.Device, token: str, output: OutputFormat) -> None:
    show_device(device, output, {"token": token} if token else None)
    if token and output in (OutputFormat.TABLE, OutputFormat.WIDE):
        print(f"\ntoken: {token}\nIt is shown this once: put it on the device now.")
    elif token and output is OutputFormat.NAME:
        typer.echo(f"token: {token}", err=True)
