"""What an apply would do: each document beside what is there, and what it takes to make them alike."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import grpc

from cityfleet.registry.v1 import device_pb2, site_pb2
from cli.document_file import read_documents
from cli.errors import CommandError, ExitCode, sentence_of
from cli.manifest import changes
from cli.manifest_kinds import DEVICE, GROUP, KINDS, QUERY, SITE, TYPE, Kind, Put, kind_of
from cli.options import quoted
from cli.paging import pages
from cli.registry_client import RegistryClient

# Calls under way at once: a registry answers some thousands in a second, one caller that waits for each only hundreds.
AT_ONCE = 16

A = TypeVar("A")
B = TypeVar("B")


class Action(StrEnum):
    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    NOTHING = "nothing"


class Item(NamedTuple):
    """One document. `message` is what it says, as the API has it."""

    where: str
    kind: Kind
    resource_id: str
    document: Mapping[str, Any]
    message: Any

    @property
    def name(self) -> str:
        return f"{self.kind.collection}/{self.resource_id}"


class Step(NamedTuple):
    """What is to be done about one resource.

    Attributes:
        changes: path, before and after of each difference.
        put: what is sent; nothing for a deletion.
        etag: of what is there.
        problem: why it cannot be done.
    """

    name: str
    kind: Kind
    where: str
    action: Action
    changes: Sequence[tuple[str, Any, Any]] = ()
    put: Put | None = None
    etag: str = ""
    problem: str = ""


def read_items(paths: list[str]) -> list[Item]:
    """The documents of files, in the order in which they can be made. Raises: CommandError naming file and key."""
    items: dict[str, Item] = {}
    for where, document in read_documents(paths):
        try:
            kind, resource_id = kind_of(document)
            item = Item(where, kind, resource_id, document, kind.parsed(document))
        except ValueError as exc:
            raise CommandError(f"{where}: {exc}", ExitCode.USAGE) from exc
        if item.name in items:
            raise CommandError(f"{item.name} is in {items[item.name].where} and in {where}", ExitCode.USAGE)
        items[item.name] = item
    if not items:
        raise CommandError(f"nothing to apply in {', '.join(paths)}", ExitCode.USAGE)
    gateways = {item.message.gateway for item in items.values() if item.kind is DEVICE}

    def rank(item: Item) -> tuple[int, bool]:
        return KINDS.index(item.kind), item.kind is DEVICE and item.resource_id not in gateways

    return sorted(items.values(), key=rank)


def plan(client: RegistryClient, items: Sequence[Item]) -> list[Step]:
    """Raises: grpc.RpcError."""
    return list(at_once(lambda item: _step(client, item), items))


def prunable(client: RegistryClient, items: Sequence[Item], labels: Mapping[str, str]) -> list[Step]:
    """Deletions of the devices and sites that have all of `labels` and no document.

    Raises: grpc.RpcError; CommandError for a document whose resource would not be found by the labels: once it is taken
    out of the files, nothing would ever delete it.
    """
    for item in items:
        if item.kind in (DEVICE, SITE) and not labels.items() <= dict(item.message.labels).items():
            said = ", ".join(f"{key}={value}" for key, value in labels.items())
            raise CommandError(
                f"{item.where}: {item.name} has not the label {said} that --prune goes by", ExitCode.USAGE
            )
    text = " AND ".join(f"labels.{key} = {quoted(value)}" for key, value in labels.items())
    kept = {item.name for item in items}
    # Decommissioned ones were ended by a person, who wanted them to be seen.
    wanted = device_pb2.ListDevicesRequest(filter=f"state = active AND {text}", view=device_pb2.DEVICE_VIEW_BASIC)
    devices = [device for device in pages(client.devices.ListDevices, wanted, "devices") if device.name not in kept]
    devices.sort(key=lambda device: not device.gateway)  # those behind a gateway before it
    found = pages(client.sites.ListSites, site_pb2.ListSitesRequest(filter=text), "sites")
    sites = [site for site in found if site.name not in kept]
    steps = [Step(device.name, DEVICE, "", Action.DELETE, etag=device.etag) for device in devices]
    return steps + [Step(site.name, SITE, "", Action.DELETE, etag=site.etag) for site in sites]


def untried(items: Sequence[Item], steps: Sequence[Step]) -> set[str]:
    """Names of what a dry run cannot try, because it stands on something that is not there yet."""
    new = {step.name for step in steps if step.action is Action.CREATE}
    return {item.name for item in items if new & set(_needs(item))}


def perform(client: RegistryClient, step: Step, *, dry_run: bool) -> tuple[str, str]:
    """Do it. Returns: the token of a new device, and why it failed; both empty as a rule."""
    if step.problem:
        return "", step.problem
    try:
        if step.action is Action.DELETE and step.kind.delete is not None and not dry_run:
            step.kind.delete(client, step.name, step.etag)
        elif step.put is not None and (not dry_run or step.put.is_new or step.kind.has_trial):
            return step.kind.put(client, step.put._replace(is_dry_run=dry_run)), ""
    except grpc.RpcError as exc:
        if not isinstance(exc, grpc.Call):
            raise
        return "", sentence_of(exc)
    return "", ""


def at_once(work: Callable[[A], B], things: Iterable[A]) -> Iterator[B]:
    """The results in order; several are worked on at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            yield from pool.map(work, things)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def levels(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Steps that do not need each other, those first that others need."""
    made = [step for step in steps if step.action is not Action.DELETE]
    gateways = {step.put.message.gateway for step in made if step.kind is DEVICE and step.put is not None}
    for kind in KINDS:
        of_kind = [step for step in made if step.kind is kind]
        for is_gateway in (True, False):
            level = [step for step in of_kind if (step.name.rpartition("/")[2] in gateways) is is_gateway]
            if level:
                yield level
    for step in steps:
        if step.action is Action.DELETE:
            yield [step]


def _step(client: RegistryClient, item: Item) -> Step:
    try:
        there = item.kind.get(client, item.name)
    except grpc.RpcError as exc:
        if not isinstance(exc, grpc.Call) or exc.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return _creation(item)
    if _is_deleted(there):
        remedy = f"`cityfleet {item.kind.word} undelete {item.resource_id}` brings it back"
        return Step(item.name, item.kind, item.where, Action.CHANGE, problem=f"it is deleted; {remedy}")
    before, after = item.kind.document(there), item.kind.document(item.message)
    if not item.kind.is_whole:
        before, after = ({key: row[key] for key in after if key in item.document} for row in (before, after))
    found = list(changes(before, after))
    if not found:
        return Step(item.name, item.kind, item.where, Action.NOTHING)
    message = item.kind.message()
    message.CopyFrom(item.message)
    # What was compared is what is changed: somebody else's change in between is not undone unseen.
    message.name, message.etag = item.name, str(item.document.get("etag") or there.etag)
    fields = tuple(dict.fromkeys(path.partition(".")[0].partition("[")[0] for path, _, _ in found))
    put = Put(item.resource_id, message, fields, is_new=False, is_dry_run=False)
    return Step(item.name, item.kind, item.where, Action.CHANGE, found, put)


def _creation(item: Item) -> Step:
    message = item.kind.message()
    message.CopyFrom(item.message)
    message.name = item.name
    message.ClearField("etag")
    shown = {
        key: value for key, value in item.kind.document(item.message).items() if value not in ("", None, [], {}, False)
    }
    shown.pop(item.kind.id_key, None)
    put = Put(item.resource_id, message, (), is_new=True, is_dry_run=False)
    return Step(item.name, item.kind, item.where, Action.CREATE, list(changes({}, shown)), put)


def _is_deleted(there: Any) -> bool:
    if isinstance(there, device_pb2.Device):
        return there.state == device_pb2.Device.STATE_DELETED
    return isinstance(there, site_pb2.Site) and there.HasField("delete_time")


def _needs(item: Item) -> Iterator[str]:
    if item.kind is TYPE:
        yield from (f"metrics/{entry.metric}" for entry in item.message.metrics)
    elif item.kind is QUERY:  # whose filter may speak of any of them
        text = item.message.filter
        for kind in (GROUP, QUERY):
            yield from (f"{kind.collection}/{word}" for word in text.replace('"', " ").replace("'", " ").split())
    for key, id_key in item.kind.refers.items():
        kind = next(kind for kind in KINDS if kind.id_key == id_key)
        if value := getattr(item.message, key):
            yield f"{kind.collection}/{value}"
