"""Devices with what is known of them now, as of one moment."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from registry.db import states
from registry.db.states import Known
from registry.devices import fleet
from registry.devices.model import Device


class Described(msgspec.Struct, frozen=True):
    """`document`: the text of the last `state` document and its time; None: not asked for, or none came."""

    device: Device
    known: Known
    document: tuple[str, int] | None


def describe(
    connection: Connection, found: Sequence[Device], now_ms: int, *, with_documents: bool = False
) -> list[Described]:
    """Args: found: at most some thousands, of this transaction."""
    nums = [device.device_num for device in found]
    known = states.known_of(connection, nums, now_ms)
    documents = states.documents_of(connection, nums) if with_documents else {}
    return [Described(device, known[device.device_num], documents.get(device.device_num)) for device in found]


def describe_device(connection: Connection, device_id: str, now_ms: int, with_document: bool) -> Described:
    """Raises: NotFoundError."""
    (one,) = describe(connection, [fleet.get_device(connection, device_id)], now_ms, with_documents=with_document)
    return one
