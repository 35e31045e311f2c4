"""Devices with what is known of them now, as of one moment."""

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec

import msgspec
from sqlalchemy import Connection

from registry.access.within import hidden_devices
from registry.db import device_get, sequence, states
from registry.db import devices as db
from registry.db.states import Known
from registry.devices import fleet
from registry.devices.model import Device

P = ParamSpec("P")


class Described(msgspec.Struct, frozen=True):
    """`now_ms`: what it is judged by, UTC milliseconds. `document`: the text of the last `state` document and its time;
    None: not asked for, or none came."""

    device: Device
    known: Known
    now_ms: int
    document: tuple[str, int] | None = None


def describe(
    connection: Connection, found: Sequence[Device], now_ms: int, *, with_documents: bool = False
) -> list[Described]:
    """Args: found: at most some thousands, of this transaction."""
    nums = [device.device_num for device in found]
    known = states.known_of(connection, nums, now_ms)
    documents = states.documents_of(connection, nums) if with_documents else {}
    return [Described(device, known[device.device_num], now_ms, documents.get(device.device_num)) for device in found]


def describe_numbers(
    connection: Connection, device_nums: Sequence[int], now_ms: int, *, with_documents: bool = False
) -> list[Described]:
    """Devices that exist, in the order of their numbers as given; at most some thousands."""
    found = device_get.find_numbers(connection, device_nums, now_ms, with_documents=with_documents)
    return [Described(one.device, one.known, now_ms, one.document) for one in found]


def describe_devices(
    connection: Connection, device_ids: Sequence[str], with_documents: bool, *, allow_missing: bool = False
) -> list[Described]:
    """In the order given; at most some thousands.

    Args: allow_missing: leave out what is not there, or outside the scope of the call.
    Raises: NotFoundError.
    """
    if allow_missing:
        known = db.find_devices(connection, device_ids).keys() - hidden_devices(connection, device_ids)
        device_ids = [device_id for device_id in device_ids if device_id in known]
    if len(device_ids) == 1:
        return [_describe_one(connection, device_ids[0], with_documents)]
    found = fleet.get_devices(connection, device_ids)
    return describe(connection, found, sequence.now_ms(), with_documents=with_documents)


def described(work: Callable[Concatenate[Connection, P], Device]) -> Callable[Concatenate[Connection, P], Described]:
    """The same work on one device, whose result says what the device is like."""

    def run(connection: Connection, /, *args: P.args, **kwargs: P.kwargs) -> Described:
        device = work(connection, *args, **kwargs)
        return describe(connection, [device], sequence.now_ms(), with_documents=True)[0]

    return run


def _describe_one(connection: Connection, device_id: str, with_document: bool) -> Described:
    now_ms = sequence.now_ms()
    found = device_get.find(connection, device_id, now_ms)
    if found is None:
        raise fleet.not_there(device_id)
    return Described(found.device, found.known, now_ms, found.document if with_document else None)
