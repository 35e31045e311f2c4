"""One device with all that is known of it, by one statement: a Get is little more than the statements it takes."""

from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, Text, bindparam

from registry.db import liveness
from registry.db.devices import GATEWAY, SELECT, device_of
from registry.db.schema import device_state, device_state_documents, device_types, devices
from registry.db.states import Known
from registry.devices.model import Device
from registry.state.model import Connectivity, Reported

_state_of, _type_of = device_state.alias("gateway_state"), device_types.alias("gateway_type")
_gateway = liveness.connectivity(bindparam("now_ms", type_=BigInteger()), _type_of, _state_of)
_STATE = tuple(f"state_{name}" for name in Reported.__struct_fields__)
_ONE = (
    SELECT.add_columns(
        device_types.c.expected_interval_s,
        *(device_state.c[name].label(f"state_{name}") for name in Reported.__struct_fields__),
        device_state.c.revision.label("state_revision"),
        device_state_documents.c.document,
        device_state_documents.c.document_time_ms,
        _gateway.label("gateway_connectivity"),
    )
    .outerjoin(device_state, liveness.JOINED)
    .outerjoin(device_state_documents, device_state_documents.c.device_num == devices.c.device_num)
    .outerjoin(_type_of, _type_of.c.type_num == GATEWAY.c.type_num)
    .outerjoin(_state_of, _state_of.c.device_num == GATEWAY.c.device_num)
    .where(devices.c.device_id == bindparam("device_id", type_=Text()))
)


class Whole(msgspec.Struct, frozen=True):
    """`document`: the text of the last `state` document and its time; None: none came."""

    device: Device
    known: Known
    document: tuple[str, int] | None


def find(connection: Connection, device_id: str, now_ms: int) -> Whole | None:
    """Args: now_ms: what the gateway is judged by, UTC milliseconds."""
    row: Any = connection.execute(_ONE, {"device_id": device_id, "now_ms": now_ms}).one_or_none()
    if row is None:
        return None
    fields = row._mapping
    reported = None if row.state_revision is None else Reported(*(fields[name] for name in _STATE))
    gateway = Connectivity(row.gateway_connectivity) if row.gateway_num else None
    document = None if row.document is None else (row.document, row.document_time_ms)
    return Whole(device_of(row), Known(reported, row.expected_interval_s, gateway), document)
