"""What is in cityfleet.quarantine: found by filter or by id, read in pages, taken out again."""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from store.client import INSERT_SETTINGS

TABLE = "cityfleet.quarantine"
# Ids in one statement; the parser takes 262,144 bytes.
IDS_MAX = 4_000
_PAGE_ROWS = 10_000
# The last moment that DateTime64(3) can hold, 2299-12-31.
_LAST_MS = 10_413_791_999_999
_ID_PART = re.compile(r"[0-9a-f]{1,32}")
_COLUMNS = (
    "id, toUnixTimestamp64Milli(received_at), device_id, topic, transport, encoding, reason, detail, readings, "
    "length(payload)"
)
# As bytes: a device may send anything, also as its topic.
_AS_BYTES = {"String": "bytes", "LowCardinality(String)": "bytes"}
# What the detail of a row that the store refused begins with.
_REFUSED_BY = re.compile(r"cityfleet\.(readings|readings_text): ")
_REFUSED_SETTINGS = {**INSERT_SETTINGS, "date_time_input_format": "best_effort"}


class Filter(msgspec.Struct, frozen=True):
    """Rows that match all that is named. Times are of arrival, milliseconds since 1970 UTC; `until_ms` is excluded."""

    devices: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    ids: tuple[UUID, ...] = ()

    @property
    def is_all(self) -> bool:
        """Names nothing, so that everything matches."""
        return self == Filter(until_ms=self.until_ms) or self == Filter()

    def where(self) -> tuple[str, dict[str, Any]]:
        """A condition and its parameters."""
        terms, values = [], dict[str, Any]()
        for column, wanted in (("device_id", self.devices), ("reason", self.reasons), ("transport", self.transports)):
            if wanted:
                terms.append(f"{column} IN {{{column}:Array(String)}}")
                values[column] = list(wanted)
        for name, sign, time_ms in (("since", ">=", self.since_ms), ("until", "<", self.until_ms)):
            if time_ms is not None:
                terms.append(f"received_at {sign} fromUnixTimestamp64Milli({{{name}:Int64}}, 'UTC')")
                values[name] = time_ms
        if self.ids:
            terms.append(_among(self.ids))
        return " AND ".join(terms) or "1", values


class Row(msgspec.Struct, frozen=True):
    """One payload, without its bytes."""

    id: UUID
    received_ms: int
    device_id: str
    topic: bytes
    transport: str
    encoding: str
    reason: str
    detail: str
    readings: int
    size_bytes: int


class Totals(msgspec.Struct, frozen=True):
    payloads: int
    readings: int
    size_bytes: int


class ReasonTotals(msgspec.Struct, frozen=True):
    reason: str
    payloads: int
    readings: int
    size_bytes: int
    devices: int
    first_ms: int
    last_ms: int


class Quarantine:
    """The table through a client of any account; what takes rows out needs the admin's.

    Everything raises clickhouse_connect's ClickHouseError, or OSError while the store is away.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def totals(self, wanted: Filter) -> Totals:
        condition, values = wanted.where()
        found = await self._rows(f"SELECT count(), sum(readings), sum(length(payload)) {_from(condition)}", values)
        return Totals(*found[0])

    async def by_reason(self, wanted: Filter) -> list[ReasonTotals]:
        """Most payloads first."""
        condition, values = wanted.where()
        found = await self._rows(
            "SELECT reason, count() AS n, sum(readings), sum(length(payload)), uniq(device_id), "
            f"toUnixTimestamp64Milli(min(received_at)), toUnixTimestamp64Milli(max(received_at)) {_from(condition)} "
            "GROUP BY reason ORDER BY n DESC, reason",
            values,
        )
        return [ReasonTotals(row[0].decode(errors="replace"), *row[1:]) for row in found]

    async def pages(
        self, wanted: Filter, *, newest_first: bool = False, limit: int = 0, page_rows: int = _PAGE_ROWS
    ) -> AsyncIterator[list[Row]]:
        """Rows in the order of arrival, `limit` of them at most (0: all). Rows may be taken out between two pages."""
        condition, values = wanted.where()
        order = "DESC" if newest_first else "ASC"
        left, after = limit, ""
        while True:
            size = min(page_rows, left) if limit else page_rows
            tail = f"ORDER BY received_at {order}, id {order} LIMIT {size}"
            rows = await self._rows(f"SELECT {_COLUMNS} {_from(condition + after)} {tail}", values)
            found = [_row(row) for row in rows]
            if found:
                yield found
            left -= len(found)
            if len(found) < size or (limit and left <= 0):
                return
            after = f" AND {_beside(found[-1], '<' if newest_first else '>')} AND id != toUUID('{found[-1].id}')"

    async def find(self, text: str, limit: int = 2) -> list[Row]:
        """Rows whose id begins with `text`, a UUID or its beginning; none if it is nothing of the kind."""
        digits = text.lower().replace("-", "")
        if not _ID_PART.fullmatch(digits):
            return []
        first, last = int(digits.ljust(32, "0"), 16) >> 80, int(digits.ljust(32, "f"), 16) >> 80
        condition = (
            "startsWith(replaceAll(toString(id), '-', ''), {start:String}) "
            f"AND received_at >= fromUnixTimestamp64Milli({min(first, _LAST_MS)}, 'UTC') "
            f"AND received_at <= fromUnixTimestamp64Milli({min(last, _LAST_MS)}, 'UTC')"
        )
        found = await self._rows(f"SELECT {_COLUMNS} {_from(condition)} LIMIT {limit}", {"start": digits})
        return [_row(row) for row in found]

    async def payloads(self, rows: Sequence[Row], wanted: Filter = Filter()) -> dict[UUID, bytes]:  # noqa: B008 (frozen)
        """The bytes of these rows, which stand side by side among those that match; those that are gone are missing."""
        condition, values = wanted.where()
        first, last = rows[0], rows[-1]
        span = f"({condition}) AND {_beside(first, '>')} AND {_beside(last, '<')}"
        found = await self._rows(f"SELECT id, payload {_from(span)}", values)
        return {row[0]: row[1] for row in found}

    async def insert_refused(self, rows: Mapping[UUID, tuple[str, bytes]]) -> dict[UUID, str]:
        """Rows that the store refused once, to their tables again: what it says now to those that it refuses still.

        Args:
            rows: `detail` and payload (the row as JSON) by id.
        """
        refused: dict[UUID, str] = {}
        by_table: dict[str, dict[UUID, bytes]] = {}
        for row_id, (detail, payload) in rows.items():
            found = _REFUSED_BY.match(detail)
            if found is None or not payload or b'{"base64":' in payload:
                refused[row_id] = detail
            else:
                by_table.setdefault(found[1], {})[row_id] = payload
        for table, payloads in by_table.items():
            if await self._insert(table, payloads.values()):
                for row_id, payload in payloads.items():
                    said = await self._insert(table, [payload])
                    if said:
                        refused[row_id] = said
        return refused

    async def _insert(self, table: str, payloads: Iterable[bytes]) -> str:
        """What is wrong; empty: nothing. Who writes readings past ingest writes the newest ones too."""
        body = b"\n".join(payloads)
        try:
            for name in (table, "latest") if table == "readings" else (table,):
                await self._client.raw_insert(
                    f"cityfleet.{name}", insert_block=body, fmt="JSONEachRow", settings=_REFUSED_SETTINGS
                )
        except ClickHouseError as exc:
            if not isinstance(getattr(exc, "code", None), int):
                raise
            return f"cityfleet.{table}: {str(exc).strip().splitlines()[0][:300]}"
        return ""

    async def remove(self, rows: Sequence[Row]) -> None:
        """Take rows out: nobody sees them any more. `free_removed` gives their space back."""
        for part in _parts(rows):
            condition = _among(row.id for row in part)
            await self._client.command(f"DELETE FROM {TABLE} WHERE {condition}")  # noqa: S608 (ids are UUIDs)

    async def free_removed(self) -> None:
        """Begin to give the space of removed rows back; the store does so in its own time."""
        await self._client.command(f"ALTER TABLE {TABLE} APPLY DELETED MASK", settings={"mutations_sync": 0})

    async def purge(self, wanted: Filter) -> None:
        """Delete what matches, for good; on return it is done."""
        condition, values = wanted.where()
        await self._client.command(
            f"ALTER TABLE {TABLE} DELETE WHERE {condition}", parameters=values, settings={"mutations_sync": 2}
        )

    async def _rows(self, sql: str, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        answer = await self._client.query(sql, parameters=values or None, query_formats=_AS_BYTES)
        return answer.result_rows


def received_ms(row_id: UUID) -> int:
    """When the payload of this row came in, as its id has it."""
    return row_id.int >> 80


def _from(condition: str) -> str:
    return f"FROM {TABLE} FINAL WHERE {condition}"


def _among(ids: Iterable[UUID]) -> str:
    wanted = list(ids)
    first = min(map(received_ms, wanted))
    last = max(map(received_ms, wanted))
    names = ", ".join(f"'{one}'" for one in wanted)
    return (
        f"id IN ({names}) AND received_at >= fromUnixTimestamp64Milli({min(first, _LAST_MS)}, 'UTC') "
        f"AND received_at <= fromUnixTimestamp64Milli({min(last, _LAST_MS)}, 'UTC')"
    )


def _beside(row: Row, sign: str) -> str:
    """This row, and what comes before (`<`) or after it in the table's order."""
    moment = f"fromUnixTimestamp64Milli({row.received_ms}, 'UTC')"
    return f"received_at {sign}= {moment} AND (received_at {sign} {moment} OR id {sign}= toUUID('{row.id}'))"


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for at in range(0, len(rows), IDS_MAX):
        yield rows[at : at + IDS_MAX]


def _row(values: Sequence[Any]) -> Row:
    row_id, received, device_id, topic, transport, encoding, reason, detail, readings, size = values
    texts = [text.decode(errors="replace") for text in (device_id, transport, encoding, reason, detail)]
    return Row(row_id, received, texts[0], topic, texts[1], texts[2], texts[3], texts[4], readings, size)
