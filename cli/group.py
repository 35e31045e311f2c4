"""`cityfleet group`: devices named one by one, to be spoken of together."""

import sys
from typing import Annotated

import typer

from cityfleet.registry.v1 import device_pb2
from cityfleet.registry.v1 import group_pb2 as pb
from cli.completion import device_ids, group_ids
from cli.confirm import confirm
from cli.connected import connected
from cli.errors import CommandError, ExitCode
from cli.manifest_calls import MEMBERS_BATCH, chunks
from cli.options import DryRunOption, EtagOption, LimitOption, NameOption, YesOption, quoted, request_id_of
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import row_of
from cli.registry_client import CALL_S, RegistryClient

app = typer.Typer(help='Groups: devices named one by one; in a filter in_group("ID").', no_args_is_help=True)
COLUMNS = ("group_id", "display_name", "member_count", "description")
WIDE = ("create_time", "update_time", "etag")

IdArgument = Annotated[
    str, typer.Argument(metavar="GROUP", help="Lowercase letters, digits and `-`.", autocompletion=group_ids)
]
DescriptionOption = Annotated[str | None, typer.Option("--description", help="What it is for.")]
MembersArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[DEVICE]...", help="The devices; `-` reads their ids from standard input.", autocompletion=device_ids
    ),
]
FilterOption = Annotated[str, typer.Option("--filter", metavar="FILTER", help="All devices that match now.")]


@app.command()
@connected
def create(
    client: RegistryClient,
    group_id: IdArgument,
    name: NameOption = None,
    description: DescriptionOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Make an empty group.

    Example:
        cityfleet group create pilot-2026 --description "New gauges on trial"
    """
    group = pb.Group(display_name=name or "", description=description or "")
    request = pb.CreateGroupRequest(group_id=group_id, group=group, validate_only=dry_run, request_id=request_id_of(""))
    _show_one(client.groups.CreateGroup(request, timeout=CALL_S), output)


@app.command()
@connected
def get(client: RegistryClient, group_id: IdArgument, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show one group; its devices: `cityfleet device list --filter 'in_group("GROUP")'`.

    Example:
        cityfleet group get pilot-2026
    """
    _show_one(client.groups.GetGroup(pb.GetGroupRequest(name=f"groups/{group_id}"), timeout=CALL_S), output)


@app.command("list")
@connected
def list_groups(client: RegistryClient, limit: LimitOption = 0, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show all groups.

    Example:
        cityfleet group list
    """
    found = pages(client.groups.ListGroups, pb.ListGroupsRequest(), "groups", limit)
    show((row_of(group, "group_id") for group in found), COLUMNS, output, name="group_id", wide=WIDE)


@app.command()
@connected
def update(
    client: RegistryClient,
    group_id: IdArgument,
    name: NameOption = None,
    description: DescriptionOption = None,
    etag: EtagOption = "",
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Name or describe a group anew; its devices stay in it.

    Example:
        cityfleet group update pilot-2026 --description "New gauges, second trial"
    """
    given = {"display_name": name, "description": description}
    paths = [field for field, value in given.items() if value is not None]
    if not paths:
        raise CommandError("nothing to change", ExitCode.USAGE, "name a field, as in --description TEXT")
    group = pb.Group(name=f"groups/{group_id}", display_name=name or "", description=description or "", etag=etag)
    request = pb.UpdateGroupRequest(group=group, validate_only=dry_run, request_id=request_id_of(""))
    request.update_mask.paths.extend(paths)
    _show_one(client.groups.UpdateGroup(request, timeout=CALL_S), output)


@app.command()
@connected
def add(
    client: RegistryClient,
    group_id: IdArgument,
    devices: MembersArgument = None,
    filter_text: FilterOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Put devices into a group; 5000 at a time, each time all or none.

    Examples:
        cityfleet group add pilot-2026 rain-07 rain-08
        cityfleet group add pilot-2026 --filter 'ward_code = "00070" AND device_type = "gauge-rain"'
        cut -d, -f1 list.csv | cityfleet group add pilot-2026 - --yes
    """
    names = _names(client, devices, filter_text)
    if not dry_run:
        confirm("Add", len(names), "device", yes=yes)
    _show_one(_modify(client, group_id, names, is_added=True, dry_run=dry_run), output)


@app.command()
@connected
def remove(
    client: RegistryClient,
    group_id: IdArgument,
    devices: MembersArgument = None,
    filter_text: FilterOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Take devices out of a group; the devices stay as they are.

    Example:
        cityfleet group remove pilot-2026 rain-07
    """
    within = f"in_group({quoted(group_id)})"
    names = _names(client, devices, f"{within} AND ({filter_text})" if filter_text.strip() else "")
    if not dry_run:
        confirm("Take out", len(names), "device", yes=yes)
    _show_one(_modify(client, group_id, names, is_added=False, dry_run=dry_run), output)


@app.command()
@connected
def delete(
    client: RegistryClient,
    groups: Annotated[list[str], typer.Argument(metavar="GROUP...", help="The groups.", autocompletion=group_ids)],
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Delete groups; their devices stay as they are.

    Example:
        cityfleet group delete pilot-2026
    """
    if not dry_run:
        confirm("Delete", len(groups), "group", yes=yes, is_final=True)
    for group_id in groups:
        request = pb.DeleteGroupRequest(name=f"groups/{group_id}", validate_only=dry_run, request_id=request_id_of(""))
        client.groups.DeleteGroup(request, timeout=CALL_S)


def _names(client: RegistryClient, devices: list[str] | None, filter_text: str) -> list[str]:
    if bool(devices) == bool(filter_text.strip()):
        raise CommandError("name devices, or give --filter", ExitCode.USAGE, "`-` reads ids from standard input")
    if filter_text.strip():
        request = device_pb2.ListDevicesRequest(filter=filter_text)
        request.read_mask.paths.append("name")
        return [device.name for device in pages(client.devices.ListDevices, request, "devices")]
    ids = sys.stdin.read().split() if devices == ["-"] else devices or []
    return [f"devices/{device_id}" for device_id in ids]


def _modify(client: RegistryClient, group_id: str, names: list[str], *, is_added: bool, dry_run: bool) -> pb.Group:
    group: pb.Group | None = None
    for chunk in chunks(names, MEMBERS_BATCH):
        request = pb.ModifyGroupMembersRequest(
            name=f"groups/{group_id}", validate_only=dry_run, request_id=request_id_of("")
        )
        (request.add_devices if is_added else request.remove_devices).extend(chunk)
        group = client.groups.ModifyGroupMembers(request, timeout=CALL_S)
    if group is None:
        group = client.groups.GetGroup(pb.GetGroupRequest(name=f"groups/{group_id}"), timeout=CALL_S)
    return group


def _show_one(group: pb.Group, output: OutputFormat) -> None:
    show_one(row_of(group, "group_id"), COLUMNS, output, name="group_id", wide=WIDE)
