"""`cityfleet group`: devices named one by one, to be spoken of together."""

import sys
from typing import Annotated

import typer

from cityfleet.registry.v1 import device_pb2
from cityfleet.registry.v1 import group_pb2 as pb
from cli.completion import device_ids, group_ids
from cli.confirm import confirm
from cli.errors import CommandError, ExitCode
from cli.options import DryRunOption, EtagOption, LimitOption, NameOption, YesOption, quoted, request_id_of
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import row_of
from cli.registry_client import CALL_S, RegistryClient, RegistryOption, connect
from cli.settings import ConfigOption, DataOption

app = typer.Typer(help='Groups: devices named one by one; in a filter in_group("ID").', no_args_is_help=True)
COLUMNS = ("group_id", "display_name", "member_count", "description")
WIDE = ("create_time", "update_time", "etag")
# What one request may name.
CHUNK = 5000

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
def create(
    group_id: IdArgument,
    name: NameOption = None,
    description: DescriptionOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Make an empty group.

    Example:
        cityfleet group create pilot-2026 --description "New gauges on trial"
    """
    group = pb.Group(display_name=name or "", description=description or "")
    request = pb.CreateGroupRequest(group_id=group_id, group=group, validate_only=dry_run, request_id=request_id_of(""))
    with connect(registry, config, data) as client:
        _show_one(client.groups.CreateGroup(request, timeout=CALL_S), output)


@app.command()
def get(
    group_id: IdArgument,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show one group; its devices: `cityfleet device list --filter 'in_group("GROUP")'`.

    Example:
        cityfleet group get pilot-2026
    """
    with connect(registry, config, data) as client:
        _show_one(client.groups.GetGroup(pb.GetGroupRequest(name=f"groups/{group_id}"), timeout=CALL_S), output)


@app.command("list")
def list_groups(
    limit: LimitOption = 0,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show all groups.

    Example:
        cityfleet group list
    """
    with connect(registry, config, data) as client:
        found = pages(client.groups.ListGroups, pb.ListGroupsRequest(), "groups", limit)
        show((row_of(group, "group_id") for group in found), COLUMNS, output, name="group_id", wide=WIDE)


@app.command()
def update(
    group_id: IdArgument,
    name: NameOption = None,
    description: DescriptionOption = None,
    etag: EtagOption = "",
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
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
    request = pb.UpdateGroupRequest(group=group, request_id=request_id_of(""))
    request.update_mask.paths.extend(paths)
    with connect(registry, config, data) as client:
        _show_one(client.groups.UpdateGroup(request, timeout=CALL_S), output)


@app.command()
def add(
    group_id: IdArgument,
    devices: MembersArgument = None,
    filter_text: FilterOption = "",
    yes: YesOption = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Put devices into a group; 5000 at a time, each time all or none.

    Examples:
        cityfleet group add pilot-2026 rain-07 rain-08
        cityfleet group add pilot-2026 --filter 'ward_code = "00070" AND device_type = "gauge-rain"'
        cut -d, -f1 list.csv | cityfleet group add pilot-2026 - --yes
    """
    with connect(registry, config, data) as client:
        names = _names(client, devices, filter_text)
        confirm("Add", len(names), "device", yes=yes)
        _show_one(_modify(client, group_id, names, is_added=True), output)


@app.command()
def remove(
    group_id: IdArgument,
    devices: MembersArgument = None,
    filter_text: FilterOption = "",
    yes: YesOption = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Take devices out of a group; the devices stay as they are.

    Example:
        cityfleet group remove pilot-2026 rain-07
    """
    within = f"in_group({quoted(group_id)})"
    with connect(registry, config, data) as client:
        names = _names(client, devices, f"{within} AND ({filter_text})" if filter_text.strip() else "")
        confirm("Take out", len(names), "device", yes=yes)
        _show_one(_modify(client, group_id, names, is_added=False), output)


@app.command()
def delete(
    groups: Annotated[list[str], typer.Argument(metavar="GROUP...", help="The groups.", autocompletion=group_ids)],
    yes: YesOption = False,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Delete groups; their devices stay as they are.

    Example:
        cityfleet group delete pilot-2026
    """
    confirm("Delete", len(groups), "group", yes=yes, is_final=True)
    with connect(registry, config, data) as client:
        for group_id in groups:
            request = pb.DeleteGroupRequest(name=f"groups/{group_id}", request_id=request_id_of(""))
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


def _modify(client: RegistryClient, group_id: str, names: list[str], *, is_added: bool) -> pb.Group:
    group: pb.Group | None = None
    for chunk in _chunks(names):
        request = pb.ModifyGroupMembersRequest(name=f"groups/{group_id}", request_id=request_id_of(""))
        (request.add_devices if is_added else request.remove_devices).extend(chunk)
        group = client.groups.ModifyGroupMembers(request, timeout=CALL_S)
    if group is None:
        group = client.groups.GetGroup(pb.GetGroupRequest(name=f"groups/{group_id}"), timeout=CALL_S)
    return group


def _chunks(names: list[str]) -> list[list[str]]:
    return [names[at : at + CHUNK] for at in range(0, len(names), CHUNK)]


def _show_one(group: pb.Group, output: OutputFormat) -> None:
    show_one(row_of(group, "group_id"), COLUMNS, output, name="group_id", wide=WIDE)
