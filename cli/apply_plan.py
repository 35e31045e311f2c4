"""What an apply would do: each document beside what is there, and what it takes to make them alike."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import grpc

from cityfleet.registry.v1 import device_pb2, site_pb2
from cli.document_file import read_documents
from cli.errors import CommandError, ExitCode, sentence_of
from cli.manifest import changes
from cli.manifest_calls import (
    PUT_BATCH,
    Put,
    chunks,
    delete,
    delete_devices,
    delete_sites,
    found,
    members,
    put,
    put_devices,
)
from cli.manifest_kinds import DEVICE, GROUP, KINDS, QUERY, SITE, TYPE, Kind, kind_of
from cli.options import quoted
from cli.paging import pages
from cli.registry_client import RegistryClient

# What a batch is refused with for one of its devices: each is done by itself then, and has its own answer.
_OF_ONE = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


class Action(StrEnum):
    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    NOTHING = "nothing"


class Item(NamedTuple):
    """One document. `message` is what it says, as the API has it; `members`: the devices that shall belong to it, if it
    says that."""

    where: str
    kind: Kind
    resource_id: str
    document: Mapping[str, Any]
    message: Any
    members: frozenset[str] | None

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
        turn: of a deletion, those with the lowest first.
    """

    name: str
    kind: Kind
    where: str
    action: Action
    changes: Sequence[tuple[str, Any, Any]] = ()
    put: Put | None = None
    etag: str = ""
    problem: str = ""
    turn: int = 0


def read_items(paths: list[str]) -> list[Item]:
    """The documents of files, in the order in which they can be made. Raises: CommandError naming file and key."""
    items: dict[str, Item] = {}
    for where, document in read_documents(paths):
        try:
            kind, resource_id = kind_of(document)
            item = Item(where, kind, resource_id, document, kind.parsed(document), kind.members_of(document))
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
    there: dict[str, Any] = {}
    for kind in KINDS:
        there |= found(client, kind, [item.name for item in items if item.kind is kind])
    belonging = {
        item.name: members(client, item.resource_id)
        for item in items
        if item.members is not None and item.name in there
    }
    return [_step(item, there.get(item.name), belonging.get(item.name, frozenset())) for item in items]


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
    # Those behind a gateway before it, and sites when nothing is mounted there.
    steps = [
        Step(device.name, DEVICE, "", Action.DELETE, etag=device.etag, turn=0 if device.gateway else 1)
        for device in pages(client.devices.ListDevices, wanted, "devices")
        if device.name not in kept
    ]
    steps += [
        Step(site.name, SITE, "", Action.DELETE, etag=site.etag, turn=2)
        for site in pages(client.sites.ListSites, site_pb2.ListSitesRequest(filter=text), "sites")
        if site.name not in kept
    ]
    return sorted(steps, key=lambda step: step.turn)


def untried(items: Sequence[Item], steps: Sequence[Step]) -> set[str]:
    """Names of what a dry run cannot try, because it stands on something that is not there yet."""
    new = {step.name for step in steps if step.action is Action.CREATE}
    return {item.name for item in items if new & set(_needs(item))}


def perform(client: RegistryClient, steps: Sequence[Step], *, dry_run: bool) -> list[tuple[str, str]]:
    """Do what `parts` has put together.

    Returns: of each the token, if it is new and has one, and why it failed; both empty as a rule.
    """
    if len(steps) == 1:
        return [_performed(client, steps[0], dry_run=dry_run)]
    try:
        return [(token, "") for token in _together(client, steps, dry_run=dry_run)]
    except grpc.RpcError as exc:
        if not isinstance(exc, grpc.Call):
            raise
        if exc.code() not in _OF_ONE:
            return [("", sentence_of(exc))] * len(steps)
    return [_performed(client, step, dry_run=dry_run) for step in steps]


def parts(level: Sequence[Step]) -> Iterator[Sequence[Step]]:
    """What is done by one call: many devices that are all new or all there, many devices or sites that are all to be
    deleted, or one of anything."""
    batched: dict[tuple[str, Action], list[Step]] = {}
    for step in level:
        is_batched = step.kind is DEVICE or (step.kind is SITE and step.action is Action.DELETE)
        if is_batched and step.action is not Action.NOTHING and not step.problem:
            batched.setdefault((step.kind.word, step.action), []).append(step)
        else:
            yield [step]
    for steps in batched.values():
        yield from chunks(steps, PUT_BATCH)


def _together(client: RegistryClient, steps: Sequence[Step], *, dry_run: bool) -> list[str]:
    """Devices or sites to which the same is done, all or none. Returns: their tokens. Raises: grpc.RpcError."""
    puts = [step.put for step in steps if step.put is not None]
    if puts:
        return put_devices(client, puts, dry_run=dry_run)
    if not dry_run:
        end = delete_sites if steps[0].kind is SITE else delete_devices
        end(client, {step.name: step.etag for step in steps})
    return [""] * len(steps)


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
    ended = [step for step in steps if step.action is Action.DELETE]
    for turn in sorted({step.turn for step in ended}):
        yield [step for step in ended if step.turn == turn]


def _performed(client: RegistryClient, step: Step, *, dry_run: bool) -> tuple[str, str]:
    if step.problem:
        return "", step.problem
    try:
        if step.action is Action.DELETE and not dry_run:
            delete(client, step.kind, step.name, step.etag)
        elif step.put is not None:
            return put(client, step.kind, step.put, dry_run=dry_run), ""
    except grpc.RpcError as exc:
        if not isinstance(exc, grpc.Call):
            raise
        return "", sentence_of(exc)
    return "", ""


def _step(item: Item, there: Any | None, belonging: frozenset[str]) -> Step:
    """Args: there: what is there. belonging: the devices in it."""
    if there is None:
        return _creation(item)
    if _is_deleted(there):
        remedy = f"`cityfleet {item.kind.word} undelete {item.resource_id}` brings it back"
        return Step(item.name, item.kind, item.where, Action.CHANGE, problem=f"it is deleted; {remedy}")
    before, after = item.kind.document(there), item.kind.document(item.message)
    if not item.kind.is_whole:
        before, after = ({key: row[key] for key in after if key in item.document} for row in (before, after))
    differing = list(changes(before, after))
    fields = tuple(dict.fromkeys(path.partition(".")[0].partition("[")[0] for path, _, _ in differing))
    added, removed = _members_changed(item, belonging)
    differing += _told(item, added, removed)
    if not differing:
        return Step(item.name, item.kind, item.where, Action.NOTHING)
    message = item.kind.message()
    message.CopyFrom(item.message)
    # What was compared is what is changed: somebody else's change in between is not undone unseen.
    message.name, message.etag = item.name, str(item.document.get("etag") or there.etag)
    wanted = Put(item.resource_id, message, fields, is_new=False, added=added, removed=removed)
    return Step(item.name, item.kind, item.where, Action.CHANGE, differing, wanted)


def _creation(item: Item) -> Step:
    message = item.kind.message()
    message.CopyFrom(item.message)
    message.name = item.name
    message.ClearField("etag")
    shown = {
        key: value for key, value in item.kind.document(item.message).items() if value not in ("", None, [], {}, False)
    }
    shown.pop(item.kind.id_key, None)
    added, _ = _members_changed(item, frozenset())
    wanted = Put(item.resource_id, message, (), is_new=True, added=added)
    told = [*changes({}, shown), *_told(item, added, ())]
    return Step(item.name, item.kind, item.where, Action.CREATE, told, wanted)


def _members_changed(item: Item, belonging: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The devices to put in and to take out."""
    if item.members is None:
        return (), ()
    return tuple(sorted(item.members - belonging)), tuple(sorted(belonging - item.members))


def _told(item: Item, added: Sequence[str], removed: Sequence[str]) -> list[tuple[str, Any, Any]]:
    key = item.kind.members
    return [(f"{key}[{each}]", None, True) for each in added] + [(f"{key}[{each}]", True, None) for each in removed]


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
    yield from (f"devices/{device_id}" for device_id in item.members or ())
    for key, id_key in item.kind.refers.items():
        kind = next(kind for kind in KINDS if kind.id_key == id_key)
        if value := getattr(item.message, key):
            yield f"{kind.collection}/{value}"
