"""Orders of alarm as they were declared: which level is in force for which wards, since when, by which order."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

_TABLE = "cityfleet.alarm_orders"
_COLUMNS = (
    "order_ref, river, ward_code, level, toUnixTimestamp64Milli(issued_at), "
    "if(withdrawn_at IS NULL, NULL, toUnixTimestamp64Milli(assumeNotNull(withdrawn_at))), source"
)


class AlarmOrder(msgspec.Struct, frozen=True):
    """One order for one ward, or for all of its river (`ward_code` empty). Times in milliseconds since 1970, UTC."""

    order_ref: str
    river: str
    ward_code: str
    level: int
    issued_ms: int
    withdrawn_ms: int | None
    source: str


class UnknownPlaceError(Exception):
    """The river or a ward is not one that the store knows; `known` are the rivers it does."""

    def __init__(self, text: str, known: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.known = known


class AlarmOrders:
    """The table `cityfleet.alarm_orders`; the caller owns the client (account `admin` to write)."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def declare(
        self, order_ref: str, river: str, level: int, wards: Sequence[str], issued_at: datetime, source: str
    ) -> list[AlarmOrder]:
        """Write an order down; again with the same order, river and ward it is corrected.

        Args:
            level: 1 to 3.
            wards: codes of five digits; none: all wards of the river, as `cityfleet.river_wards` lists them.
        Raises: UnknownPlaceError; ClickHouseError or OSError while the store is away.
        """
        await self._check(river, wards)
        for ward in wards or ("",):
            await self._client.command(
                f"INSERT INTO {_TABLE} (order_ref, river, ward_code, level, issued_at, withdrawn_at, source, "
                "origin, version, is_deleted) SELECT {ref:String}, {river:String}, {ward:String}, {level:UInt8}, "
                "fromUnixTimestamp64Milli({issued:Int64}, 'UTC'), NULL, {source:String}, 'operator', "
                "toUnixTimestamp64Milli(now64(3)), 0",
                {
                    "ref": order_ref, "river": river, "ward": ward, "level": level, "issued": _ms(issued_at),
                    "source": source,
                },
            )  # fmt: skip
        return await self.list_orders(order_ref=order_ref)

    async def withdraw(self, order_ref: str, river: str, wards: Sequence[str], at: datetime) -> int:
        """End an order, or its part for a river or for wards; returns how many rows ended (0: none was in force)."""
        terms = ["order_ref = {ref:String}", "withdrawn_at IS NULL"]
        values: dict[str, Any] = {"ref": order_ref, "at": _ms(at)}
        if river:
            terms.append("river = {river:String}")
            values["river"] = river
        if wards:
            terms.append("ward_code IN {wards:Array(String)}")
            values["wards"] = list(wards)
        where = " AND ".join(terms)
        found = await self._client.query(
            f"SELECT count() FROM {_TABLE} FINAL WHERE {where}",  # noqa: S608 (terms of ours)
            values,
        )
        ended = int(found.result_rows[0][0])
        if ended:
            # Above the version that it replaces, also where clocks differ.
            await self._client.command(
                f"INSERT INTO {_TABLE} (order_ref, river, ward_code, level, issued_at, withdrawn_at, source, "  # noqa: S608 (terms of ours)
                "origin, version, is_deleted) SELECT order_ref, river, ward_code, level, issued_at, "
                "fromUnixTimestamp64Milli({at:Int64}, 'UTC'), source, 'operator', "
                "greatest(toUInt64(toUnixTimestamp64Milli(now64(3))), version + 1), 0 "
                f"FROM {_TABLE} FINAL WHERE {where}",
                values,
            )
        return ended

    async def list_orders(self, *, order_ref: str = "", in_force_only: bool = False) -> list[AlarmOrder]:
        """Newest first."""
        terms, values = ["1"], dict[str, Any]()
        if order_ref:
            terms.append("order_ref = {ref:String}")
            values["ref"] = order_ref
        if in_force_only:
            terms.append("(withdrawn_at IS NULL OR assumeNotNull(withdrawn_at) > now64(3))")
        found = await self._client.query(
            f"SELECT {_COLUMNS} FROM {_TABLE} FINAL WHERE {' AND '.join(terms)} "  # noqa: S608 (terms of ours)
            "ORDER BY issued_at DESC, order_ref, river, ward_code",
            values,
        )
        return [AlarmOrder(*row) for row in found.result_rows]

    async def _check(self, river: str, wards: Sequence[str]) -> None:
        found = await self._client.query(
            "SELECT DISTINCT river FROM (SELECT river FROM cityfleet.stations FINAL UNION ALL "
            "SELECT river FROM cityfleet.river_wards FINAL) WHERE river != '' ORDER BY river"
        )
        rivers = [str(row[0]) for row in found.result_rows]
        if river not in rivers:
            raise UnknownPlaceError(f"no station and no list of wards is on a river {river!r}", rivers)
        if not wards:
            found = await self._client.query(
                "SELECT count() FROM cityfleet.river_wards FINAL WHERE river = {river:String}", {"river": river}
            )
            if not int(found.result_rows[0][0]):
                raise UnknownPlaceError(f"no wards are listed for {river}: name those of the order")
            return
        found = await self._client.query(
            "SELECT ward_code FROM cityfleet.wards FINAL WHERE ward_code IN {wards:Array(String)}",
            {"wards": list(wards)},
        )
        missing = sorted(set(wards) - {str(row[0]) for row in found.result_rows})
        if missing:
            raise UnknownPlaceError(f"no such ward: {', '.join(missing)}")


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
