"""What people do about alarms: acknowledge, close, call false. Only ever added to; the newest action counts."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from clickhouse_connect.driver.asyncclient import AsyncClient

ActionName = Literal["acknowledged", "closed", "false_alarm"]
DOMAINS = ("river", "street_flood", "air", "traffic", "devices")
_SHOWN = (
    "ward_code, domain, severity, object_id, title, value, threshold, toUnixTimestamp64Milli(since_ts), owner, "
    "if(acknowledged_at IS NULL, NULL, toUnixTimestamp64Milli(assumeNotNull(acknowledged_at))), status, note"
)
# What the step open_alarms_now makes of a row in its next minute, with the actions of one object.
_LAY_UPON = """
INSERT INTO cityfleet.open_alarms_now
WITH arrayFilter(x -> x.1 >= t.since_ts, a.actions) AS taken
SELECT t.* REPLACE
(
    if(empty(taken), '', taken[-1].4) AS owner, if(empty(taken), NULL, taken[1].1) AS acknowledged_at,
    if(empty(taken), 'open', taken[-1].3) AS status, if(empty(taken), '', taken[-1].5) AS note,
    greatest(toUInt64(toUnixTimestamp64Milli(now64(3))), t.version + 1) AS version
)
FROM
(
    SELECT *
    FROM cityfleet.open_alarms_now FINAL
    WHERE domain = {domain:String} AND object_id = {object:String} AND ward_code IN {wards:Array(String)}
) AS t
LEFT JOIN
(
    SELECT ward_code, arraySort(groupArray((acted_at, written_at, action, owner, note))) AS actions
    FROM cityfleet.alarm_actions
    WHERE domain = {domain:String} AND object_id = {object:String} AND acted_at > now64(3, 'UTC') - INTERVAL 60 DAY
    GROUP BY ward_code
) AS a ON a.ward_code = t.ward_code
"""
# Alarms that are over are found for so long.
_PAST_DAYS = 60


class OpenAlarm(msgspec.Struct, frozen=True):
    """A row of `ioc.open_alarms`. Times in milliseconds since 1970, UTC."""

    ward_code: str
    domain: str
    severity: int
    object_id: str
    title: str
    value: float | None
    threshold: float | None
    since_ms: int
    owner: str
    acknowledged_ms: int | None
    status: str
    note: str


class Action(msgspec.Struct, frozen=True):
    """One action as it was written: for this ward, about the alarm that began at `since_ms`."""

    ward_code: str
    domain: str
    object_id: str
    since_ms: int
    action: str
    acted_ms: int
    who: str
    owner: str


class NoAlarmError(Exception):
    """There is no such alarm, now or within the last 60 days."""


class TooEarlyError(Exception):
    """The action is said to be before its alarm, which began at `since`; nothing was written."""

    def __init__(self, since: datetime) -> None:
        super().__init__(f"the alarm began later, at {since.isoformat()}")
        self.since = since


class AlarmActions:
    """The table `cityfleet.alarm_actions`; the caller owns the client (account `admin` to write)."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list_open(self, *, wards: Sequence[str] = (), domain: str = "", closed: bool = False) -> list[OpenAlarm]:
        """The worst first. With `closed` also those that were closed or called false while they go on."""
        terms, values = ["1"], dict[str, Any]()
        if wards:
            terms.append("ward_code IN {wards:Array(String)}")
            values["wards"] = list(wards)
        if domain:
            terms.append("domain = {domain:String}")
            values["domain"] = domain
        if not closed:
            terms.append("status IN ('open', 'acknowledged')")
        found = await self._client.query(
            f"SELECT {_SHOWN} FROM ioc.open_alarms WHERE {' AND '.join(terms)} "  # noqa: S608 (terms of ours)
            "ORDER BY severity DESC, since_ts, ward_code, object_id",
            values,
        )
        return [OpenAlarm(*row) for row in found.result_rows]

    async def act(
        self,
        action: ActionName,
        domain: str,
        object_id: str,
        *,
        wards: Sequence[str],
        at: datetime,
        who: str,
        owner: str,
        note: str,
    ) -> list[Action]:
        """Write the action down for every ward that the alarm is for, or for these `wards` only.

        An alarm that is open is meant before one that is over. `owner` empty: it stays with whom it is.
        Raises: NoAlarmError; TooEarlyError; ClickHouseError or OSError while the store is away.
        """
        begun = await self._begun(domain, object_id, wards)
        if not begun:
            raise NoAlarmError(f"no alarm {domain} {object_id} now, or within {_PAST_DAYS} days")
        acted_ms = round(at.timestamp() * 1000)
        latest = max(since_ms for _, since_ms, _ in begun)
        if acted_ms < latest:
            raise TooEarlyError(datetime.fromtimestamp(latest / 1000, UTC))
        done = [
            Action(ward, domain, object_id, since_ms, action, acted_ms, who, owner or before)
            for ward, since_ms, before in begun
        ]
        written_ms = round(datetime.now(UTC).timestamp() * 1000)
        columns = "ward_code, domain, object_id, since_ts, action, acted_at, who, owner, note, written_at"
        # One insert: for all wards or for none.
        await self._client.insert(
            "cityfleet.alarm_actions",
            [
                [
                    one.ward_code, one.domain, one.object_id, _moment(one.since_ms), one.action, _moment(one.acted_ms),
                    one.who, one.owner, note, _moment(written_ms),
                ]
                for one in done
            ],
            column_names=columns.split(", "),
        )  # fmt: skip
        await self._client.command(
            _LAY_UPON, {"domain": domain, "object": object_id, "wards": [one.ward_code for one in done]}
        )
        return done

    async def _begun(self, domain: str, object_id: str, wards: Sequence[str]) -> list[tuple[str, int, str]]:
        """Ward, beginning in ms and owner of the newest alarm of each ward."""
        values: dict[str, Any] = {"domain": domain, "object": object_id}
        where = "domain = {domain:String} AND object_id = {object:String}"
        if wards:
            where += " AND ward_code IN {wards:Array(String)}"
            values["wards"] = list(wards)
        for source in ("ioc.open_alarms", f"ioc.ward_alarms WHERE since_ts > now() - INTERVAL {_PAST_DAYS} DAY"):
            word = "AND" if "WHERE" in source else "WHERE"
            found = await self._client.query(
                "SELECT ward_code, toUnixTimestamp64Milli(max(since_ts)), argMax(owner, since_ts) "  # noqa: S608
                f"FROM {source} {word} {where} GROUP BY ward_code ORDER BY ward_code",
                values,
            )
            if found.result_rows:
                return [(str(ward), int(since), str(owner)) for ward, since, owner in found.result_rows]
        return []


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
