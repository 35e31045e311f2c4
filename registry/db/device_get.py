"""Devices with all that is known of them, by one statement: a Get or a page is little more than its statements."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, Select, Text, bindparam

from registry.db import liveness
from registry.db.bulk import among_bound, bound
from registry.db.devices import GATEWAY, SELECT, device_of
from registry.db.prepared import PlainRow, Prepared
from registry.db.schema import device_state, device_state_documents, device_types, devices
from registry.db.states import Known
from registry.devices.model import Device
from registry.state.model import Connectivity, Reported

_state_of, _type_of = device_state.alias("gateway_state"), device_types.alias("gateway_type")
_gateway = liveness.connectivity(bindparam("now_ms", type_=BigInteger()), _type_of, _state_of)
_KNOWN = (
    SELECT.add_columns(
        device_types.c.expected_interval_s,
        _gateway.label("gateway_connectivity"),
        device_state.c.revision.label("state_revision"),
        *(device_state.c[name].label(f"state_{name}") for name in Reported.__struct_fields__),
    )
    .outerjoin(device_state, liveness.JOINED)
    .outerjoin(_type_of, _type_of.c.type_num == GATEWAY.c.type_num)
    .outerjoin(_state_of, _state_of.c.device_num == GATEWAY.c.device_num)
)
_WHOLE = _KNOWN.add_columns(device_state_documents.c.document, device_state_documents.c.document_time_ms).outerjoin(
    device_state_documents, device_state_documents.c.device_num == devices.c.device_num
)
# Made once: to put such a query together takes longer than to run it.
_ONE = Prepared(_WHOLE.where(devices.c.device_id == bindparam("device_id", type_=Text())))


def _of_numbers(query: Select[Any]) -> dict[str, Prepared]:
    dialects = ("sqlite", "postgresql")
    return {name: Prepared(query.where(among_bound(name, devices.c.device_num, "nums"))) for name in dialects}


_SOME = {False: _of_numbers(_KNOWN), True: _of_numbers(_WHOLE)}


class Whole(msgspec.Struct, frozen=True):
    """`document`: the text of the last `state` document and its time; None: none came, or it was not asked for."""

    device: Device
    known: Known
    document: tuple[str, int] | None


def find(connection: Connection, device_id: str, now_ms: int) -> Whole | None:
    """With its document. Args: now_ms: what the gateway is judged by, UTC milliseconds."""
    row = _ONE.row(connection, device_id=device_id, now_ms=now_ms)
    return None if row is None else _whole(row)


def find_numbers(
    connection: Connection, device_nums: Sequence[int], now_ms: int, *, with_documents: bool = False
) -> list[Whole]:
    """Devices that exist, in the order of their numbers as given; at most some thousands.

    Args: now_ms: what their gateways are judged by, UTC milliseconds.
    """
    if not device_nums:
        return []
    query = _SOME[with_documents][connection.dialect.name]
    found = map(_whole, query.rows(connection, nums=bound(connection, device_nums), now_ms=now_ms))
    by_num = {whole.device.device_num: whole for whole in found}
    return [by_num[num] for num in device_nums]


# Where in a row what is reported begins and ends; before it is what it is judged by, behind it the document.
_BESIDE = len(SELECT.selected_columns)
_STATE, _END = _BESIDE + 3, _BESIDE + 3 + len(Reported.__struct_fields__)


def _whole(row: PlainRow) -> Whole:
    """Args: row: of _KNOWN or _WHOLE."""
    device = device_of(row)
    interval_s, connectivity, revision = row[_BESIDE:_STATE]
    is_connected, *rest = row[_STATE:_END]
    reported = None if revision is None else Reported(bool(is_connected), *rest)
    gateway = Connectivity(connectivity) if device.gateway_num else None
    document = row[_END:]
    return Whole(device, Known(reported, interval_s, gateway), document if any(document) else None)
