"""Devices that are connected to several ingest nodes at once: connected until the last of them says that they are not.

`device_state.node` is one of the nodes, the one whose connection is the newest; `device_connections` has the others.
It may have that one too, which changes nothing. A device at one node, as nearly all are, has no row in it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, select, text, update

from registry.db.schema import device_connections, device_state

_IS_NEWER = "r.connection_ms >= s.connect_time_ms"
_ALSO = f"""
INSERT INTO device_connections (device_num, node, connect_time_ms)
SELECT s.device_num, CASE WHEN {_IS_NEWER} THEN s.node ELSE :node END,
    CASE WHEN {_IS_NEWER} THEN s.connect_time_ms ELSE r.connection_ms END
FROM {{source}}
JOIN device_state AS s ON s.device_num = r.device_num
WHERE r.connection = 1 AND s.is_connected AND s.node <> :node
ON CONFLICT (device_num, node) DO UPDATE SET connect_time_ms = excluded.connect_time_ms
"""  # noqa: S608 (of the constants above)
_FORGET = """
DELETE FROM device_connections
WHERE node = :node AND device_num IN (SELECT r.device_num FROM {source} WHERE r.connection = 2)
"""
_LEFT = """
SELECT c.device_num, c.node, c.connect_time_ms
FROM {source}
JOIN device_state AS s ON s.device_num = r.device_num
JOIN device_connections AS c ON c.device_num = r.device_num
WHERE r.connection = 2 AND s.is_connected AND s.node = :node
ORDER BY c.connect_time_ms
"""


def note_openings(connection: Connection, source: str, values: Mapping[str, Any]) -> None:
    """Before `device_state` hears of them.

    Args:
        source: SQL of the reports, as `r`.
        values: its parameters, and `node`.
    """
    connection.execute(text(_ALSO.format(source=source)), values)


def note_closings(connection: Connection, source: str, values: Mapping[str, Any]) -> None:
    """Before `device_state` hears of them. What is connected elsewhere is that one's then, and stays connected."""
    connection.execute(text(_FORGET.format(source=source)), values)
    _pass_on(connection, connection.execute(text(_LEFT.format(source=source)), values))


def leave(connection: Connection, node: str) -> None:
    """The node has nobody connected any more; before `device_state` hears of it."""
    also = device_connections.c
    connection.execute(delete(device_connections).where(also.node == node))
    own = (device_state.c.node == node, device_state.c.is_connected)
    query = (
        select(also.device_num, also.node, also.connect_time_ms)
        .join(device_state, device_state.c.device_num == also.device_num)
        .where(*own)
        .order_by(also.connect_time_ms)
    )
    _pass_on(connection, connection.execute(query))


def _pass_on(connection: Connection, left: Iterable[Row[Any]]) -> None:
    """Args: left: device, node, since when; of a device the last counts."""
    for device_num, node, connect_time_ms in {row[0]: tuple(row) for row in left}.values():
        change = update(device_state).where(device_state.c.device_num == device_num)
        connection.execute(change.values(node=node, connect_time_ms=connect_time_ms))
