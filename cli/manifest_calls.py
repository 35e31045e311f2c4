"""The calls that `cityfleet apply` makes: what is there, and what brings it to what it shall be; many at once where the
API has batches."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from cityfleet.registry.v1 import device_pb2, device_type_pb2, group_pb2, site_pb2
from cli.manifest_kinds import DEVICE, SITE, TYPE, Kind
from cli.options import quoted, request_id_of
from cli.paging import pages
from cli.record import last_part
from cli.registry_client import CALL_S, RegistryClient

# Calls under way at once: a registry answers some thousands in a second, one caller that waits for each only hundreds.
AT_ONCE = 16
# Devices in one call, and sites that one filter names.
GET_BATCH, PUT_BATCH, FILTER_BATCH = 1000, 250, 50
MEMBERS_BATCH = 5000

A = TypeVar("A")
B = TypeVar("B")


class Put(NamedTuple):
    """A resource as it shall be.

    Attributes:
        message: with its name and, unless it is new, its etag.
        fields: those to set; of a new one all that are set.
        added, removed: ids of the devices to put into it and to take out.
    """

    resource_id: str
    message: Any
    fields: tuple[str, ...]
    is_new: bool
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def at_once(work: Callable[[A], B], things: Iterable[A]) -> Iterator[B]:
    """The results in order; several are worked on at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            yield from pool.map(work, things)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def chunks(things: Sequence[A], size: int) -> Iterator[Sequence[A]]:
    for at in range(0, len(things), size):
        yield things[at : at + size]


def found(client: RegistryClient, kind: Kind, names: Sequence[str]) -> dict[str, Any]:
    """Those that are there, deleted ones too, by name. Raises: grpc.RpcError."""
    if kind is DEVICE:
        parts = at_once(lambda part: _devices(client, part), chunks(names, GET_BATCH))
    elif kind is SITE:
        parts = at_once(lambda part: _sites(client, part), chunks(names, FILTER_BATCH))
    else:
        parts = at_once(lambda name: _one(client, kind, name), names)
    return {message.name: message for part in parts for message in part}


def members(client: RegistryClient, group_id: str) -> frozenset[str]:
    """Ids of the devices in a group. Raises: grpc.RpcError."""
    request = device_pb2.ListDevicesRequest(filter=f"in_group({quoted(group_id)})", show_deleted=True)
    request.read_mask.paths.append("name")
    return frozenset(last_part(device.name) for device in pages(client.devices.ListDevices, request, "devices"))


def put(client: RegistryClient, kind: Kind, wanted: Put, *, dry_run: bool) -> str:
    """Create or change one. Returns: its token if it has a new one. Raises: grpc.RpcError."""
    common: dict[str, Any] = {"validate_only": dry_run, "request_id": request_id_of("")}
    stub, etag = getattr(client, kind.service), wanted.message.etag
    answer: Any = None
    if kind is TYPE:
        request = device_type_pb2.ApplyDeviceTypeRequest(device_type=wanted.message, **common)
        answer = client.types.ApplyDeviceType(request, timeout=CALL_S)
    elif wanted.is_new:
        make = getattr(kind.file, f"Create{kind.noun}Request")
        ids = {f"{_field(kind)}_id": wanted.resource_id, _field(kind): wanted.message}
        answer = getattr(stub, f"Create{kind.noun}")(make(**ids, **common), timeout=CALL_S)
    elif wanted.fields:
        make, mask = getattr(kind.file, f"Update{kind.noun}Request"), FieldMask(paths=wanted.fields)
        whole = {_field(kind): wanted.message, "update_mask": mask}
        answer = getattr(stub, f"Update{kind.noun}")(make(**whole, **common), timeout=CALL_S)
        etag = answer.etag
    if not (dry_run and wanted.is_new):  # there is no group yet that they could be tried in
        _modify_members(client, wanted, "" if dry_run and wanted.fields else etag, dry_run=dry_run)
    return str(getattr(answer, "token", ""))


def put_devices(client: RegistryClient, wanted: Sequence[Put], *, dry_run: bool) -> list[str]:
    """Create or change several, all or none; all are new or none is. Returns: their tokens. Raises: grpc.RpcError."""
    common: dict[str, Any] = {"validate_only": dry_run, "request_id": request_id_of("")}
    if wanted[0].is_new:
        new = [device_pb2.CreateDeviceRequest(device_id=each.resource_id, device=each.message) for each in wanted]
        create = device_pb2.BatchCreateDevicesRequest(requests=new, **common)
        created = client.devices.BatchCreateDevices(create, timeout=CALL_S).created
        return [each.token for each in created]
    changes = [
        device_pb2.UpdateDeviceRequest(device=each.message, update_mask=FieldMask(paths=each.fields)) for each in wanted
    ]
    update = device_pb2.BatchUpdateDevicesRequest(requests=changes, **common)
    client.devices.BatchUpdateDevices(update, timeout=CALL_S)
    return [""] * len(wanted)


def delete_devices(client: RegistryClient, wanted: Mapping[str, str]) -> None:
    """Delete several, all or none. Args: wanted: etags by name. Raises: grpc.RpcError."""
    ends = [device_pb2.DeleteDeviceRequest(name=name, etag=etag) for name, etag in wanted.items()]
    request = device_pb2.BatchDeleteDevicesRequest(requests=ends, request_id=request_id_of(""))
    client.devices.BatchDeleteDevices(request, timeout=CALL_S)


def delete_sites(client: RegistryClient, wanted: Mapping[str, str]) -> None:
    """As delete_devices."""
    ends = [site_pb2.DeleteSiteRequest(name=name, etag=etag) for name, etag in wanted.items()]
    request = site_pb2.BatchDeleteSitesRequest(requests=ends, request_id=request_id_of(""))
    client.sites.BatchDeleteSites(request, timeout=CALL_S)


def delete(client: RegistryClient, kind: Kind, name: str, etag: str) -> None:
    """Raises: grpc.RpcError."""
    request = getattr(kind.file, f"Delete{kind.noun}Request")(name=name, etag=etag, request_id=request_id_of(""))
    getattr(getattr(client, kind.service), f"Delete{kind.noun}")(request, timeout=CALL_S)


def _one(client: RegistryClient, kind: Kind, name: str) -> list[Any]:
    """Nothing if it is not there."""
    request = getattr(kind.file, f"Get{kind.noun}Request")(name=name)
    try:
        return [getattr(getattr(client, kind.service), f"Get{kind.noun}")(request, timeout=CALL_S)]
    except grpc.RpcError as exc:
        if not isinstance(exc, grpc.Call) or exc.code() is not grpc.StatusCode.NOT_FOUND:
            raise
    return []


def _devices(client: RegistryClient, names: Sequence[str]) -> list[Any]:
    view = device_pb2.DEVICE_VIEW_BASIC
    request = device_pb2.BatchGetDevicesRequest(names=names, view=view, allow_missing=True)
    answer = client.devices.BatchGetDevices(request, timeout=CALL_S)
    return list(answer.devices)


def _sites(client: RegistryClient, names: Sequence[str]) -> list[Any]:
    text = " OR ".join(f"site_id = {quoted(last_part(name))}" for name in names)
    return list(pages(client.sites.ListSites, site_pb2.ListSitesRequest(filter=text, show_deleted=True), "sites"))


def _modify_members(client: RegistryClient, wanted: Put, etag: str, *, dry_run: bool) -> None:
    changes: list[tuple[str, Sequence[str]]] = [("add_devices", part) for part in chunks(wanted.added, MEMBERS_BATCH)]
    changes += [("remove_devices", part) for part in chunks(wanted.removed, MEMBERS_BATCH)]
    for field, part in changes:
        given: Mapping[str, Any] = {field: [f"devices/{device_id}" for device_id in part]}
        request = group_pb2.ModifyGroupMembersRequest(
            name=wanted.message.name, etag=etag, validate_only=dry_run, request_id=request_id_of(""), **given
        )
        etag = client.groups.ModifyGroupMembers(request, timeout=CALL_S).etag
        if dry_run:
            etag = ""  # of what was only tried


def _field(kind: Kind) -> str:
    """`SavedQuery` as `saved_query`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.noun).lower()
