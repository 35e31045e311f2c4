"""`cityfleet ward`: the city's areas and their boundaries."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from cityfleet.registry.v1 import site_pb2 as pb
from cli.confirm import confirm
from cli.connected import connected
from cli.errors import CommandError, ExitCode
from cli.options import DryRunOption, LimitOption, YesOption
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import row_of
from cli.registry_client import CALL_S, RegistryClient, RegistryOption, connect
from cli.settings import ConfigOption, DataOption

app = typer.Typer(help="Wards: which there are, and whose boundary has a place.", no_args_is_help=True)
COLUMNS = ("ward_code", "kind", "display_name", "has_boundary")
WIDE = ("province_code", "boundary_source", "boundary_time")
PIECE_BYTES = 1 << 20
# Reading and indexing every polygon of a city takes its time.
LOAD_S = 600.0


@app.command("list")
@connected
def list_wards(client: RegistryClient, limit: LimitOption = 0, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show the city's wards and which of them have a boundary.

    Example:
        cityfleet ward list -o wide
    """
    found = pages(client.wards.ListWards, pb.ListWardsRequest(), "wards", limit)
    show((row_of(ward, "ward_code") for ward in found), COLUMNS, output, name="ward_code", wide=WIDE)


@app.command()
@connected
def locate(
    client: RegistryClient,
    latitude: Annotated[float, typer.Argument(help="WGS 84 degrees.")],
    longitude: Annotated[float, typer.Argument(help="WGS 84 degrees.")],
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Say in whose boundary a place lies; exit code 3 if in none.

    Example:
        cityfleet ward locate 21.0287 105.8525
    """
    request = pb.LocateWardRequest(latitude=latitude, longitude=longitude)
    code = client.wards.LocateWard(request, timeout=CALL_S).ward_code
    if not code:
        said = f"{latitude}, {longitude} lies outside every boundary"
        raise CommandError(said, ExitCode.NOT_FOUND, "`cityfleet ward list` shows which boundaries are loaded")
    show_one({"ward_code": code}, ("ward_code",), output, name="ward_code")


@app.command()
def load(
    file: Annotated[str, typer.Argument(metavar="FILE", help="GeoJSON (RFC 7946); `-` for standard input.")],
    source: Annotated[str, typer.Option(help="Where it came from. Default: the file's name.")] = "",
    code_property: Annotated[str, typer.Option(help="Property of a feature that holds the ward code.")] = "ward_code",
    reassign: Annotated[
        bool, typer.Option("--reassign", help="Sites and devices whose ward was found by place move along.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Replace the boundaries of the wards by those of a file, all or nothing.

    Examples:
        cityfleet ward load hanoi-wards.geojson --reassign --dry-run
        cityfleet ward load hanoi-wards.geojson --code-property ma_xa --source "Sở QHKT 2025-07" --reassign
    """
    head = pb.LoadWardBoundariesRequest(
        source=source or file, code_property=code_property, validate_only=dry_run, reassign=reassign
    )
    is_asked = reassign and not dry_run and not yes
    if is_asked and file == "-":
        raise CommandError("standard input is read once", ExitCode.USAGE, "--yes, after a --dry-run")
    with _opened(file) as geojson, connect(registry, config, data) as client:
        if is_asked:
            trial = pb.LoadWardBoundariesRequest()
            trial.CopyFrom(head)
            trial.validate_only = True
            tried = client.wards.LoadWardBoundaries(_pieces(trial, geojson), timeout=LOAD_S)
            confirm("Move", tried.devices_moved + tried.sites_moved, "record", yes=yes)
            geojson.seek(0)
        loaded = client.wards.LoadWardBoundaries(_pieces(head, geojson), timeout=LOAD_S)
    row = {
        "boundaries": loaded.boundaries,
        "missing_ward_codes": list(loaded.missing_ward_codes),
        "sites_moved": loaded.sites_moved,
        "devices_moved": loaded.devices_moved,
        "dry_run": dry_run,
    }
    columns = ("boundaries", "sites_moved", "devices_moved", "missing_ward_codes", "dry_run")
    show_one(row, columns, output, name="boundaries")


def _pieces(head: pb.LoadWardBoundariesRequest, source: BinaryIO) -> Iterator[pb.LoadWardBoundariesRequest]:
    yield head
    while piece := source.read(PIECE_BYTES):
        yield pb.LoadWardBoundariesRequest(geojson=piece)


def _opened(file: str) -> AbstractContextManager[BinaryIO]:
    """Before the call: what goes wrong while gRPC takes requests is told as an error of its own."""
    if file == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(file).open("rb")
    except OSError as exc:
        raise CommandError(f"cannot read {file}: {exc.strerror}", ExitCode.USAGE) from exc
