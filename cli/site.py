"""`cityfleet site`: where devices are mounted."""

from typing import Annotated, Any

import typer

from cityfleet.registry.v1 import site_pb2 as pb
from cli.completion import site_ids
from cli.confirm import confirm
from cli.connected import connected
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
    YesOption,
    labels_of,
    request_id_of,
)
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import row_of
from cli.registry_client import CALL_S, RegistryClient

app = typer.Typer(help="Sites: base stations, poles, bridges with their place and ward.", no_args_is_help=True)
COLUMNS = ("site_id", "kind", "display_name", "ward_code", "latitude", "longitude", "device_count", "labels")
WIDE = ("is_ward_derived", "update_time", "delete_time", "etag")

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Lowercase letters, digits and `-`.", autocompletion=site_ids)
]
IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="The sites.", autocompletion=site_ids)]
KindOption = Annotated[
    str | None, typer.Option("--kind", "-k", help="bts, pole, bridge, building, river, road or other.")
]
WardOption = Annotated[
    str | None, typer.Option("--ward", "-w", help="5-digit ward code. Default: the ward that has the place.")
]
LatOption = Annotated[float | None, typer.Option("--lat", help="Latitude, WGS 84 degrees.")]
LonOption = Annotated[float | None, typer.Option("--lon", help="Longitude, WGS 84 degrees.")]


@app.command()
@connected
def create(
    client: RegistryClient,
    site_id: IdArgument,
    kind: KindOption = None,
    lat: LatOption = None,
    lon: LonOption = None,
    ward: WardOption = None,
    name: NameOption = None,
    label: LabelOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Register a site; without --ward it lies in the ward whose boundary has its place.

    Examples:
        cityfleet site create bts-0042 --kind bts --lat 21.0287 --lon 105.8525 --name "Hoàn Kiếm 42"
        cityfleet site create cau-long-bien -k bridge --ward 00097 -l owner=sgtvt
    """
    site = _message(_given(kind, lat, lon, ward, name), labels_of(label))
    request = pb.CreateSiteRequest(site_id=site_id, site=site, validate_only=dry_run, request_id=request_id_of(""))
    _show_one(client.sites.CreateSite(request, timeout=CALL_S), output)


@app.command()
@connected
def get(client: RegistryClient, site_id: IdArgument, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show one site.

    Example:
        cityfleet site get bts-0042 -o yaml
    """
    _show_one(client.sites.GetSite(pb.GetSiteRequest(name=f"sites/{site_id}"), timeout=CALL_S), output)


@app.command("list")
@connected
def list_sites(
    client: RegistryClient,
    filter_text: FilterOption = "",
    order_by: OrderOption = "",
    limit: LimitOption = 0,
    show_deleted: DeletedOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show sites, all or those that match.

    Examples:
        cityfleet site list --filter 'kind = bts AND ward_code = "00070"'
        cityfleet site list --order-by 'ward_code, site_id' -o csv

    Fields: site_id display_name kind ward_code labels.KEY create_time update_time.
    """
    request = pb.ListSitesRequest(filter=filter_text, order_by=order_by, show_deleted=show_deleted)
    rows = (row_of(site, "site_id") for site in pages(client.sites.ListSites, request, "sites", limit))
    show(rows, COLUMNS, output, name="site_id", wide=WIDE)


@app.command()
@connected
def update(
    client: RegistryClient,
    site_id: IdArgument,
    kind: KindOption = None,
    lat: LatOption = None,
    lon: LonOption = None,
    ward: WardOption = None,
    name: NameOption = None,
    label: LabelOption = None,
    remove_label: RemoveLabelOption = None,
    etag: EtagOption = "",
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Change what is named and nothing else; the devices mounted there follow its place and ward.

    Examples:
        cityfleet site update bts-0042 --lat 21.0291 --lon 105.8530
        cityfleet site update bts-0042 --label power=solar --remove-label pilot
    """
    given, labels = _given(kind, lat, lon, ward, name), labels_of(label)
    paths = [*given, *(f"labels.{key}" for key in (*labels, *(remove_label or ())))]
    if not paths:
        raise CommandError("nothing to change", ExitCode.USAGE, "name a field, as in --ward 00070")
    site = _message(given, labels)
    site.name, site.etag = f"sites/{site_id}", etag
    request = pb.UpdateSiteRequest(site=site, validate_only=dry_run, request_id=request_id_of(""))
    request.update_mask.paths.extend(paths)
    _show_one(client.sites.UpdateSite(request, timeout=CALL_S), output)


@app.command()
@connected
def delete(
    client: RegistryClient,
    site_ids: IdsArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Delete sites where no active device is mounted, all or none; `undelete` brings them back until they are purged.

    Example:
        cityfleet site delete bts-0042
    """
    if not dry_run:
        confirm("Delete", len(site_ids), "site", yes=yes)
    requests = [pb.DeleteSiteRequest(name=f"sites/{site_id}") for site_id in site_ids]
    batch = pb.BatchDeleteSitesRequest(requests=requests, validate_only=dry_run, request_id=request_id_of(""))
    rows = [row_of(site, "site_id") for site in client.sites.BatchDeleteSites(batch, timeout=CALL_S).sites]
    show(rows, COLUMNS, output, name="site_id", wide=WIDE)


@app.command()
@connected
def undelete(
    client: RegistryClient,
    site_ids: IdsArgument,
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Bring deleted sites back.

    Example:
        cityfleet site undelete bts-0042
    """
    rows = []
    for site_id in site_ids:
        request = pb.UndeleteSiteRequest(name=f"sites/{site_id}", validate_only=dry_run, request_id=request_id_of(""))
        rows.append(row_of(client.sites.UndeleteSite(request, timeout=CALL_S), "site_id"))
    show(rows, COLUMNS, output, name="site_id", wide=WIDE)


def _given(
    kind: str | None, lat: float | None, lon: float | None, ward: str | None, name: str | None
) -> dict[str, Any]:
    values = {"kind": kind, "latitude": lat, "longitude": lon, "ward_code": ward, "display_name": name}
    return {field: value for field, value in values.items() if value is not None}


def _message(given: dict[str, Any], labels: dict[str, str]) -> pb.Site:
    return pb.Site(**given, labels=labels)


def _show_one(site: pb.Site, output: OutputFormat) -> None:
    show_one(row_of(site, "site_id"), COLUMNS, output, name="site_id", wide=WIDE)
