"""States of devices in SQL: thousands of reports in two statements, and what is known of some devices."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, bindparam, delete, insert, select, text, update

from registry.db import connections, liveness, sequence
from registry.db.schema import device_state, device_state_documents, device_types, devices, ingest_nodes
from registry.state.model import (
    DEFAULT_INTERVAL_S,
    GRACE_MS,
    LATE_MS_PER_S,
    SILENT_MS_PER_S,
    Connectivity,
    Document,
    Report,
    Reported,
)
from registry.state.model import Connection as Told

_COLUMNS = "device_num, last_seen_ms, last_reading_ms, connection, connection_ms, disconnect_reason, opened_ms"
_TEMPORARY = (
    "CREATE TEMP TABLE IF NOT EXISTS report (device_num INTEGER PRIMARY KEY, last_seen_ms INTEGER, "
    "last_reading_ms INTEGER, connection INTEGER, connection_ms INTEGER, disconnect_reason TEXT, opened_ms INTEGER)"
)
_UNNESTED = (
    "unnest(CAST(:device_nums AS bigint[]), CAST(:seen AS bigint[]), CAST(:readings AS bigint[]), "
    "CAST(:connections AS bigint[]), CAST(:connected AS bigint[]), CAST(:reasons AS text[]), "
    f"CAST(:opened AS bigint[])) AS r ({_COLUMNS})"
)
# While it is connected an older opening is no news, nor is a closing that another node tells of: the device is with
# this one by now, and registry.db.connections knows where else.
_OPENS = "(r.connection = 1 AND (NOT s.is_connected OR r.connection_ms >= coalesce(s.connect_time_ms, 0)))"
_CLOSES = """(
    r.connection = 2 AND (NOT s.is_connected OR s.node = :node) AND r.connection_ms >= coalesce(s.connect_time_ms, 0)
)"""
_INTERVAL_S = "CAST(t.expected_interval_s AS BIGINT)"
# Registries on several machines have several clocks.
_SKEW_MS = 5000


def _back_within(column: str, limit_ms: str) -> str:
    """Whether what was last heard before a limit is heard again: whoever watches was told of that, or may have been.
    By the clock, not by the gap between the two: what was heard in time may be reported late."""
    now_ms = "CAST(:now_ms AS BIGINT)"
    return f"""(
        r.{column} > s.{column}
        AND s.{column} < {now_ms} + {_SKEW_MS} - ({limit_ms})
        AND r.{column} >= {now_ms} - {_SKEW_MS} - ({limit_ms})
    )"""


_SEEN_INTERVAL_S = f"CASE WHEN t.expected_interval_s > 0 THEN {_INTERVAL_S} ELSE {DEFAULT_INTERVAL_S} END"
_CAME_BACK = f"""(
    s.last_seen_ms IS NULL
    OR (r.last_reading_ms > 0 AND s.last_reading_ms IS NULL)
    OR {_back_within("last_seen_ms", f"{GRACE_MS} + {LATE_MS_PER_S} * {_SEEN_INTERVAL_S}")}
    OR (
        t.expected_interval_s > 0
        AND (
            {_back_within("last_reading_ms", f"{GRACE_MS} + {LATE_MS_PER_S} * {_INTERVAL_S}")}
            OR {_back_within("last_reading_ms", f"{GRACE_MS} + {SILENT_MS_PER_S} * {_INTERVAL_S}")}
        )
    )
)"""
_UPDATE = f"""
UPDATE device_state AS s SET
    is_connected = CASE WHEN {_OPENS} THEN true WHEN {_CLOSES} THEN false ELSE s.is_connected END,
    connect_time_ms = CASE WHEN {_OPENS} THEN r.connection_ms
        WHEN {_CLOSES} AND r.opened_ms > coalesce(s.connect_time_ms, 0) THEN r.opened_ms ELSE s.connect_time_ms END,
    disconnect_time_ms = CASE WHEN {_CLOSES} THEN r.connection_ms ELSE s.disconnect_time_ms END,
    disconnect_reason = CASE WHEN {_CLOSES} THEN r.disconnect_reason ELSE s.disconnect_reason END,
    node = CASE WHEN {_OPENS} THEN :node ELSE s.node END,
    last_seen_ms = CASE WHEN r.last_seen_ms > coalesce(s.last_seen_ms, 0) THEN r.last_seen_ms ELSE s.last_seen_ms END,
    last_reading_ms = CASE WHEN r.last_reading_ms > coalesce(s.last_reading_ms, 0) THEN r.last_reading_ms
        ELSE s.last_reading_ms END,
    revision = CASE WHEN {_OPENS} OR {_CLOSES} OR {_CAME_BACK} THEN :revision ELSE s.revision END
FROM {{source}}
JOIN devices AS d ON d.device_num = r.device_num
JOIN device_types AS t ON t.type_num = d.type_num
WHERE s.device_num = r.device_num
"""  # noqa: S608 (of the constants above)
_INSERT = """
INSERT INTO device_state (device_num, type_num, is_connected, connect_time_ms, disconnect_time_ms, disconnect_reason,
    node, last_seen_ms, last_reading_ms, firmware_version, config_version, hardware_revision, revision)
SELECT r.device_num, d.type_num, r.connection = 1,
    CASE WHEN r.connection = 1 THEN r.connection_ms WHEN r.opened_ms > 0 THEN r.opened_ms END,
    CASE WHEN r.connection = 2 THEN r.connection_ms END,
    CASE WHEN r.connection = 2 THEN r.disconnect_reason ELSE '' END,
    CASE WHEN r.connection = 1 THEN :node ELSE '' END,
    CASE WHEN r.last_seen_ms > 0 THEN r.last_seen_ms END, CASE WHEN r.last_reading_ms > 0 THEN r.last_reading_ms END,
    '', 0, '', :revision
FROM {source}
JOIN devices AS d ON d.device_num = r.device_num
WHERE NOT EXISTS (SELECT 1 FROM device_state AS s WHERE s.device_num = r.device_num)
"""
_HEARD = "DELETE FROM unheard_devices WHERE device_num IN (SELECT r.device_num FROM {source})"

# Of the numbers `nums`. Made once: to put such a statement together takes longer than to run it.
_NUMS = bindparam("nums", expanding=True, type_=BigInteger())
_KNOWN = (
    select(
        devices.c.device_num,
        devices.c.gateway_num,
        device_types.c.expected_interval_s,
        *(device_state.c[name] for name in Reported.__struct_fields__),
        device_state.c.revision,
    )
    .join(device_types, device_types.c.type_num == devices.c.type_num)
    .outerjoin(device_state, liveness.JOINED)
    .where(devices.c.device_num.in_(_NUMS))
)
_CONNECTIVITY = (
    select(devices.c.device_num, liveness.connectivity(bindparam("now_ms", type_=BigInteger())))
    .join(device_types, device_types.c.type_num == devices.c.type_num)
    .outerjoin(device_state, liveness.JOINED)
    .where(devices.c.device_num.in_(_NUMS))
)
_DOCUMENTS = select(device_state_documents).where(device_state_documents.c.device_num.in_(_NUMS))


def store(connection: Connection, node: str, reports: Sequence[Report], now_ms: int) -> int:
    """Write what is news; a device that is not there (any more) is left out. Returns how many were never heard before.

    Args: reports: at most some thousands, each device once.
    """
    # Ours, since nobody else writes; taken only if something is worth telling whoever watches.
    revision = sequence.head(connection).revision + 1
    values: dict[str, Any] = {"node": node, "revision": revision, "now_ms": now_ms}
    if connection.dialect.name == "postgresql":
        source = _UNNESTED
        columns = zip(*map(_row, reports), strict=True)
        names = ("device_nums", "seen", "readings", "connections", "connected", "reasons", "opened")
        values |= {name: list(column) for name, column in zip(names, columns, strict=True)}
    else:
        source = "temp.report AS r"
        connection.exec_driver_sql(_TEMPORARY)
        connection.exec_driver_sql("DELETE FROM temp.report")
        connection.exec_driver_sql(
            "INSERT INTO temp.report VALUES (?, ?, ?, ?, ?, ?, ?)", [_row(one) for one in reports]
        )
    told = {report.connection for report in reports}
    if Told.OPEN in told:
        connections.note_openings(connection, source, values)
    if Told.CLOSED in told:
        connections.note_closings(connection, source, values)
    connection.execute(text(_UPDATE.format(source=source)), values)
    heard = connection.execute(text(_INSERT.format(source=source)), values).rowcount
    if heard:
        connection.execute(text(_HEARD.format(source=source)), values)
    for report in reports:
        if report.document is not None:
            _store_document(connection, report.device_num, report.document, revision)
    _take_if_used(connection, revision)
    return heard


def hear(connection: Connection, node: str, run: str, now_ms: int) -> None:
    """Note that a node is there; a run that is new ends what the one before had connected."""
    known = connection.execute(select(ingest_nodes.c.run).where(ingest_nodes.c.node == node)).scalar_one_or_none()
    if known is None:
        connection.execute(insert(ingest_nodes).values(node=node, run=run, heard_time_ms=now_ms))
        return
    if known != run:
        _end_connections(connection, node, "ingest_restarted", now_ms)
    change = update(ingest_nodes).where(ingest_nodes.c.node == node)
    connection.execute(change.values(run=run, heard_time_ms=now_ms))


def unheard_nodes(connection: Connection, since_ms: int) -> list[str]:
    """Nodes that said nothing since then, and are not forgotten yet."""
    return list(
        connection.execute(select(ingest_nodes.c.node).where(ingest_nodes.c.heard_time_ms < since_ms)).scalars()
    )


def forget_unheard(connection: Connection, since_ms: int, now_ms: int) -> list[str]:
    """End what such nodes had connected; returns them."""
    nodes = unheard_nodes(connection, since_ms)
    for node in nodes:
        _end_connections(connection, node, "ingest_lost", now_ms)
        connection.execute(delete(ingest_nodes).where(ingest_nodes.c.node == node))
    return nodes


class Known(msgspec.Struct, frozen=True):
    """What is needed to judge a device. `gateway`: the connectivity of the one that it is behind, if it is."""

    reported: Reported | None
    interval_s: int
    gateway: Connectivity | None


def known_of(connection: Connection, device_nums: Sequence[int], now_ms: int) -> dict[int, Known]:
    """Of those of the given devices that exist, by number. At most some thousands at once."""
    rows = connection.execute(_KNOWN, {"nums": list(device_nums)}).all()
    gateways = _connectivity_of(connection, {row.gateway_num for row in rows if row.gateway_num}, now_ms)
    return {
        row.device_num: Known(
            None if row.revision is None else Reported(*row[3:-1]),
            row.expected_interval_s,
            gateways.get(row.gateway_num, Connectivity.NEVER_SEEN) if row.gateway_num else None,
        )
        for row in rows
    }


def documents_of(connection: Connection, device_nums: Sequence[int]) -> dict[int, tuple[str, int]]:
    """The last `state` document and its time, by device. At most some thousands at once."""
    rows = connection.execute(_DOCUMENTS, {"nums": list(device_nums)})
    return {row.device_num: (row.document, row.document_time_ms) for row in rows}


def _row(report: Report) -> tuple[int, int, int, int, int, str, int]:
    # Whoever connects or disconnects was there.
    seen_ms = max(report.last_seen_ms, report.last_reading_ms, report.connection_ms)
    return (
        report.device_num,
        seen_ms,
        report.last_reading_ms,
        int(report.connection),
        report.connection_ms,
        report.disconnect_reason,
        report.opened_ms,
    )


def _store_document(connection: Connection, device_num: int, document: Document, revision: int) -> None:
    own = device_state_documents.c.device_num == device_num
    facts = (document.firmware_version, document.config_version, document.last_calibration)
    columns = (
        device_state.c.firmware_version,
        device_state.c.config_version,
        device_state_documents.c.last_calibration,
    )
    times = (device_state_documents.c.document_time_ms, device_state_documents.c.reported_revision)
    query = select(*times, *columns).join(device_state, device_state.c.device_num == device_num).where(own)
    held = connection.execute(query).one_or_none()
    if held is not None and held.document_time_ms > document.time_ms:
        return
    change = update(device_state).where(device_state.c.device_num == device_num)
    written = connection.execute(
        change.values(
            firmware_version=document.firmware_version,
            config_version=document.config_version,
            hardware_revision=document.hardware_revision,
            revision=revision,
        )
    )
    if not written.rowcount:
        return  # there is no such device
    values = {
        "document": document.text,
        "document_time_ms": document.time_ms,
        "last_calibration": document.last_calibration,
        "reported_revision": revision if held is None or tuple(held[2:]) != facts else held.reported_revision,
    }
    if held is None:
        connection.execute(insert(device_state_documents).values(device_num=device_num, **values))
    else:
        connection.execute(update(device_state_documents).where(own).values(**values))


def _end_connections(connection: Connection, node: str, reason: str, now_ms: int) -> None:
    connections.leave(connection, node)
    revision = sequence.head(connection).revision + 1
    change = update(device_state).where(device_state.c.node == node, device_state.c.is_connected)
    connection.execute(
        change.values(is_connected=False, disconnect_time_ms=now_ms, disconnect_reason=reason, revision=revision)
    )
    _take_if_used(connection, revision)


def _take_if_used(connection: Connection, revision: int) -> None:
    used = select(device_state.c.device_num).where(device_state.c.revision == revision).limit(1)
    if connection.execute(used).first() is not None:
        sequence.take(connection, revisions=1)


def _connectivity_of(connection: Connection, device_nums: Collection[int], now_ms: int) -> dict[int, Connectivity]:
    if not device_nums:
        return {}
    rows = connection.execute(_CONNECTIVITY, {"nums": list(device_nums), "now_ms": now_ms})
    return {row[0]: Connectivity(row[1]) for row in rows}
