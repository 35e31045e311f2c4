"""`cityfleet device`: sensors and gateways."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cityfleet.registry.v1 import device_pb2 as pb
from cli.errors import CommandError, ExitCode
from cli.output import OutputFormat, OutputOption, show
from cli.registry_client import CALL_S, RegistryClient, RegistryOption, connect
from cli.settings import ConfigOption, DataOption

app = typer.Typer(help="Devices: identity, place and token of every sensor and gateway.", no_args_is_help=True)
COLUMNS = ("device_id", "device_type", "state", "ward_code", "gateway", "site", "labels")
CSV_COLUMNS = (
    "device_id",
    "device_num",
    "device_type",
    "display_name",
    "state",
    "gateway",
    "ward_code",
    "site",
    "latitude",
    "longitude",
    "external_id",
    "labels",
    "create_time",
    "update_time",
)
PAGE = 1000

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Lowercase letters, digits and `-`.")]
NameOption = Annotated[str | None, typer.Option("--name", help="Display name.")]
TypeOption = Annotated[str | None, typer.Option("--type", "-t", help="Device type.")]
WardOption = Annotated[str | None, typer.Option("--ward", "-w", help="5-digit ward code, as in 00070.")]
GatewayOption = Annotated[str | None, typer.Option("--gateway", "-g", help="Id of the gateway that speaks for it.")]
SiteOption = Annotated[str | None, typer.Option("--site", help="Where it stands, in words.")]
LatOption = Annotated[float | None, typer.Option("--lat", help="Latitude, WGS 84 degrees.")]
LonOption = Annotated[float | None, typer.Option("--lon", help="Longitude, WGS 84 degrees.")]
ExternalOption = Annotated[
    str | None,
    typer.Option(
        "--external-id", "-x", help="What others call it: a DevEUI in lowercase, GROUP/EDGE/DEVICE of Sparkplug."
    ),
]
LabelOption = Annotated[list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="May be repeated.")]


@app.command()
def create(
    device_id: IdArgument,
    device_type: Annotated[str, typer.Option("--type", "-t", help="Device type.")],
    ward: WardOption = None,
    gateway: GatewayOption = None,
    site: SiteOption = None,
    lat: LatOption = None,
    lon: LonOption = None,
    external_id: ExternalOption = None,
    label: LabelOption = None,
    name: NameOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, but create nothing.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Register a device and print its token, once.

    Examples:
        cityfleet device create wl-long-bien-01 --type gauge-river --ward 00097 --site "Cầu Long Biên"
        cityfleet device create rain-07 -t gauge-rain -w 00070 -g bts-0042 --lat 21.0287 --lon 105.8525 -l owner=tnmt
        cityfleet device create aq-12 -t air-monitor --external-id 0004a30b001c0530
    """
    device = _message(device_id, name, device_type, ward, gateway, site, lat, lon, external_id, _labels(label))
    with connect(registry, config, data) as client:
        request = pb.CreateDeviceRequest(device_id=device_id, device=device, validate_only=dry_run)
        created = client.devices.CreateDevice(request, timeout=CALL_S)
    _show_with_token(created.device, created.token, output)


@app.command()
def get(
    device_id: IdArgument,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show one device.

    Example:
        cityfleet device get wl-long-bien-01 -o yaml
    """
    with connect(registry, config, data) as client:
        found = client.devices.GetDevice(pb.GetDeviceRequest(name=f"devices/{device_id}"), timeout=CALL_S)
    _show([_row(found)], output)


@app.command("list")
def list_devices(
    filter_text: Annotated[str, typer.Option("--filter", help="Exact matches joined by AND; see the example.")] = "",
    device_type: TypeOption = None,
    ward: WardOption = None,
    gateway: GatewayOption = None,
    external_id: ExternalOption = None,
    state: Annotated[str | None, typer.Option("--state", help="active or decommissioned.")] = None,
    label: LabelOption = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most this many; 0: all.")] = 0,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show devices, all or those that match, in the order of their registration.

    Examples:
        cityfleet device list --ward 00070 --state active
        cityfleet device list --filter 'device_type = "gauge-river" AND labels.owner = "tnmt"' -o csv
        cityfleet device list -g bts-0042 -o name
    """
    given = {"device_type": device_type, "ward_code": ward, "gateway": gateway, "state": state}
    given["external_id"] = external_id
    given |= {f"labels.{key}": value for key, value in _labels(label).items()}
    terms = [f"{field} = {_quoted(value)}" for field, value in given.items() if value is not None]
    text = " AND ".join(([filter_text] if filter_text.strip() else []) + terms)
    with connect(registry, config, data) as client:
        _show([_row(device) for device in _pages(client, text, limit)], output)


@app.command()
def update(
    device_id: IdArgument,
    device_type: TypeOption = None,
    ward: WardOption = None,
    gateway: GatewayOption = None,
    site: SiteOption = None,
    lat: LatOption = None,
    lon: LonOption = None,
    external_id: ExternalOption = None,
    label: LabelOption = None,
    remove_label: Annotated[list[str] | None, typer.Option("--remove-label", metavar="KEY")] = None,
    name: NameOption = None,
    etag: Annotated[str, typer.Option("--etag", help="Only if it is still this version.")] = "",
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Change what is named and nothing else; an empty text clears a field.

    Examples:
        cityfleet device update rain-07 --ward 00004 --lat 21.03 --lon 105.84
        cityfleet device update rain-07 --gateway "" --label owner=cepa --remove-label pilot
    """
    labels = _labels(label)
    device = _message(device_id, name, device_type, ward, gateway, site, lat, lon, external_id, labels)
    device.etag = etag
    given = {
        "display_name": name,
        "device_type": device_type,
        "ward_code": ward,
        "gateway": gateway,
        "site": site,
        "latitude": lat,
        "longitude": lon,
        "external_id": external_id,
    }
    paths = [field for field, value in given.items() if value is not None]
    paths += [f"labels.{key}" for key in (*labels, *(remove_label or ()))]
    if not paths:
        raise CommandError("nothing to change", ExitCode.USAGE, "name a field, as in --ward 00070")
    request = pb.UpdateDeviceRequest(device=device)
    request.update_mask.paths.extend(paths)
    with connect(registry, config, data) as client:
        updated = client.devices.UpdateDevice(request, timeout=CALL_S)
    _show([_row(updated)], output)


@app.command()
def decommission(
    device_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The devices.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Take devices out of service: their tokens end for good, their ids stay taken, their readings stay stored.

    Example:
        cityfleet device decommission wl-long-bien-01 rain-07
    """
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError("nobody to ask here", ExitCode.USAGE, "--yes, if you mean it")
        count = f"{len(device_ids)} devices" if len(device_ids) > 1 else device_ids[0]
        typer.confirm(f"Decommission {count} for good?", abort=True)
    rows = []
    with connect(registry, config, data) as client:
        for device_id in device_ids:
            request = pb.DecommissionDeviceRequest(name=f"devices/{device_id}")
            rows.append(_row(client.devices.DecommissionDevice(request, timeout=CALL_S)))
    _show(rows, output)


@app.command("rotate-token")
def rotate_token(
    device_id: IdArgument,
    keep_previous: Annotated[
        bool, typer.Option("--keep-previous", help="The old token stays valid until the next rotation.")
    ] = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Give a device a new token and print it, once.

    Example:
        cityfleet device rotate-token wl-long-bien-01 --keep-previous
    """
    request = pb.RotateDeviceTokenRequest(name=f"devices/{device_id}", keep_previous=keep_previous)
    with connect(registry, config, data) as client:
        rotated = client.devices.RotateDeviceToken(request, timeout=CALL_S)
    _show_with_token(rotated.device, rotated.token, output)


def _message(
    device_id: str,
    name: str | None,
    device_type: str | None,
    ward: str | None,
    gateway: str | None,
    site: str | None,
    lat: float | None,
    lon: float | None,
    external_id: str | None,
    labels: dict[str, str],
) -> pb.Device:
    return pb.Device(
        name=f"devices/{device_id}",
        display_name=name or "",
        device_type=device_type or "",
        ward_code=ward or "",
        gateway=gateway or "",
        site=site or "",
        latitude=lat,
        longitude=lon,
        external_id=external_id or "",
        labels=labels,
    )


def _labels(pairs: list[str] | None) -> dict[str, str]:
    labels = {}
    for pair in pairs or ():
        key, separator, value = pair.partition("=")
        if not key or not separator:
            raise CommandError(f"`{pair}` is not KEY=VALUE", ExitCode.USAGE, "as in --label owner=tnmt")
        labels[key] = value
    return labels


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _pages(client: RegistryClient, filter_text: str, limit: int) -> Iterator[pb.Device]:
    request = pb.ListDevicesRequest(page_size=min(limit or PAGE, PAGE), filter=filter_text)
    left = limit
    while True:
        page = client.devices.ListDevices(request, timeout=CALL_S)
        yield from page.devices[:left] if limit else page.devices
        left -= len(page.devices)
        if not page.next_page_token or (limit and left <= 0):
            return
        request.page_token = page.next_page_token


def _show_with_token(device: pb.Device, token: str, output: OutputFormat) -> None:
    row = _row(device) | ({"token": token} if token else {})
    _show([row], output, ("token",))
    if token and output is OutputFormat.TABLE:
        print(f"\ntoken: {token}\nIt is shown this once: put it on the device now.")
    elif token and output is OutputFormat.NAME:
        print(f"token: {token}", file=sys.stderr)


def _show(rows: list[dict[str, Any]], output: OutputFormat, more_csv: tuple[str, ...] = ()) -> None:
    columns = (*CSV_COLUMNS, *more_csv) if output is OutputFormat.CSV else COLUMNS
    show(rows, columns, output, name="device_id")


def _row(device: pb.Device) -> dict[str, Any]:
    return {
        "device_id": device.name.removeprefix("devices/"),
        "device_num": device.device_num,
        "device_type": device.device_type,
        "state": pb.Device.State.Name(device.state).removeprefix("STATE_").lower(),
        "ward_code": device.ward_code,
        "gateway": device.gateway,
        "site": device.site,
        "display_name": device.display_name,
        "latitude": device.latitude if device.HasField("latitude") else None,
        "longitude": device.longitude if device.HasField("longitude") else None,
        "external_id": device.external_id,
        "labels": dict(sorted(device.labels.items())),
        "etag": device.etag,
        "create_time": device.create_time.ToJsonString(),
        "update_time": device.update_time.ToJsonString(),
    }
