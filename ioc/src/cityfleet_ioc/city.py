"""The store, as a module of an operations centre asks it."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
import pyarrow.ipc
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from cityfleet_ioc.answer import Answer
from cityfleet_ioc.errors import BadQuestionError, CityError, StaleAnswerError, error_of

_NAME = re.compile(r"[a-z_][a-z0-9_]*")


class Step(StrEnum):
    """Length of a rollup's windows. A day is one of +07:00, and begins at 17:00 UTC."""

    TEN_MINUTES = "10min"
    HOUR = "1h"
    DAY = "1d"


_RAW = """
SELECT ts, value, quality, quality_reasons, ward_code
FROM ioc.series_of(device_id = {device:String}, metric = {metric:String})
WHERE ts >= parseDateTime64BestEffort({start:String}, 3, 'UTC')
    AND ts < parseDateTime64BestEffort({end:String}, 3, 'UTC')
ORDER BY ts
"""
_ROLLUP = """
SELECT
    ts, toUInt64(sum(r.n)) AS n, toUInt64(sum(r.good_n)) AS good_n, toUInt64(sum(r.suspect_n)) AS suspect_n,
    toUInt64(sum(r.fail_n)) AS fail_n, if(good_n > 0, sum(r.sum) / good_n, NULL) AS mean,
    minOrNullIf(r.min, r.good_n > 0) AS min, maxOrNullIf(r.max, r.good_n > 0) AS max,
    argMaxOrNullIf(r.last, r.last_ts, r.good_n > 0) AS last
FROM cityfleet.readings_{step} AS r FINAL
WHERE r.metric_num IN (SELECT metric_num FROM cityfleet.metrics FINAL WHERE metric = {metric:String})
    AND r.device_num IN (SELECT device_num FROM cityfleet.devices FINAL WHERE device_id = {device:String})
    AND r.ts >= parseDateTimeBestEffort({start:String}, 'UTC') AND r.ts < parseDateTimeBestEffort({end:String}, 'UTC')
GROUP BY ts ORDER BY ts
"""
# When the steps of now ran last is the version of what they gave.
_NEWEST = """
SELECT if(run_ms = 0, newest, least(newest, fromUnixTimestamp64Milli(run_ms, 'UTC'))) AS as_of
FROM (SELECT max(ts) AS newest, (SELECT toInt64(max(version)) FROM cityfleet.fleet_now) AS run_ms FROM cityfleet.latest)
"""


class City:
    """One account at one store. May be used by several threads, which wait for each other; close it, or use `with`."""

    def __init__(
        self, url: str, user: str, password: str, *, timeout_s: float = 30.0, max_age_s: float | None = None
    ) -> None:
        """Reach the store.

        Args:
            url: `http://HOST:8123` or `https://...`.
            max_age_s: what `ask` takes where it is given none.
        Raises: UnavailableError, AccessError; ValueError for what is no address.
        """
        self._max_age_s = max_age_s
        self._lock = threading.Lock()
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the store's address is http://HOST:PORT, not {url!r}")
        try:
            self._client: Client = clickhouse_connect.get_client(
                host=parts.hostname,
                port=parts.port or (8443 if parts.scheme == "https" else 8123),
                interface=parts.scheme,
                username=user,
                password=password,
                send_receive_timeout=max(1, round(timeout_s)),
                autogenerate_session_id=False,
            )
        except (ClickHouseError, OSError) as exc:
            raise _told(exc) from exc

    def __enter__(self) -> City:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def ask(
        self,
        question: str,
        *,
        ward: str | Sequence[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        max_age_s: float | None = None,
        limit: int | None = None,
        **parameters: str | float | datetime,
    ) -> Answer:
        """Ask by name; docs/ioc.md of cityfleet is the dictionary.

        Args:
            ward: code of five digits, or several: only their rows. Not all questions are by ward.
            start, end: of a question over a period, [start, end), in any zone. No end: now.
            max_age_s: raise if the newest reading that the answer rests on is older; an empty answer is held to the
                newest reading of anything that this account sees, and to when such answers were last made. Questions
                over a past period: leave it out. One without `as_of` (devices, sites) cannot be held to it.
            parameters: others that the question takes.
        Raises: StaleAnswerError, UnknownQuestionError, BadQuestionError, AccessError, LimitError, UnavailableError;
            ValueError for a time without a zone or a name that is none.
        """
        bare = question.removeprefix("ioc.")
        if not _NAME.fullmatch(bare) or not all(_NAME.fullmatch(name) for name in parameters):
            raise ValueError(f"{question!r} is no question's name, or a parameter's is none")
        given = dict(parameters)
        if start is not None:
            given |= {"from": start, "to": end if end is not None else datetime.now(UTC)}
        elif end is not None:
            raise ValueError("an end without a start")
        arguments = ", ".join(f"{name} = {_literal(value)}" for name, value in given.items())
        sql = f"SELECT * FROM ioc.{bare}" + (f"({arguments})" if given else "")  # noqa: S608
        bound: dict[str, Any] = {}
        if ward is not None:
            sql += " WHERE ward_code IN {wards:Array(String)}"
            bound["wards"] = [ward] if isinstance(ward, str) else list(ward)
        if limit is not None:
            sql += f" LIMIT {int(limit)}"
        answer = Answer(bare, self._arrow(sql, bound))
        oldest_s = self._max_age_s if max_age_s is None else max_age_s
        if oldest_s is not None:
            self._hold(answer, oldest_s, explicit=max_age_s is not None)
        return answer

    def sql(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        """Any SELECT; `{name:Type}` in it takes a value of `parameters`. Raises as `ask`, but never stale."""
        return Answer("SQL", self._arrow(sql, dict(parameters or {})))

    def history(
        self, device_id: str, metric: str, start: datetime, end: datetime, step: Step | str | None = None
    ) -> Answer:
        """Readings of one device and metric in [start, end), by time.

        Args:
            step: 10min, 1h or 1d: count, mean, min, max and last of good readings, of the windows that begin in
                [start, end) and are over since about a minute. None: each reading with its quality, good or not.
        Raises: as `ask`.
        """
        bound = {"device": device_id, "metric": metric, "start": _utc_text(start, 3), "end": _utc_text(end, 3)}
        if step is None:
            return Answer(f"history of {device_id} {metric}", self._arrow(_RAW, bound))
        bound |= {"start": _utc_text(start), "end": _utc_text(end)}
        sql = _ROLLUP.replace("{step}", Step(step).value)
        return Answer(f"history of {device_id} {metric} by {step}", self._arrow(sql, bound))

    def questions(self) -> dict[str, str]:
        """What can be asked: name and comment (rule, source, example)."""
        sql = "SELECT name, comment FROM system.tables WHERE database = 'ioc' ORDER BY name"
        return {row["name"]: row["comment"] for row in Answer("questions", self._arrow(sql, {})).rows()}

    def _hold(self, answer: Answer, max_age_s: float, explicit: bool) -> None:
        as_of = answer.as_of
        if as_of is None and not len(answer):
            # Nothing found is good news only where readings come and are looked at.
            as_of = Answer("latest", self._arrow(_NEWEST, {})).as_of
        elif "as_of" not in answer.columns:
            if explicit:
                raise BadQuestionError(f"{answer.question} does not say how old it is: it has no column as_of")
            return
        if as_of is None or datetime.now(UTC) - as_of > timedelta(seconds=max_age_s):
            raise StaleAnswerError(answer.question, as_of, max_age_s)

    def _arrow(self, sql: str, bound: dict[str, Any]) -> pa.Table:
        try:
            with self._lock:
                # Without the settings that query_arrow adds: an account of a ward may set none.
                body = self._client.raw_query(sql, parameters=bound, fmt="Arrow")
            return pa.ipc.open_file(pa.BufferReader(body)).read_all() if body else pa.table({})
        except (ClickHouseError, OSError) as exc:
            raise _told(exc) from exc


def _told(exc: Exception) -> CityError:
    return error_of(str(exc), getattr(exc, "code", None) or 0)


def _utc_text(at: datetime, digits: int = 0) -> str:
    if at.tzinfo is None:
        raise ValueError(f"{at} has no zone: datetime(..., tzinfo=...)")
    text = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return text[: 19 + (digits + 1 if digits else 0)]


def _literal(value: str | float | datetime) -> str:
    if isinstance(value, datetime):
        # As text: the parameter of a view takes an expression's local text, whatever its zone.
        return f"'{_utc_text(value)}'"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return repr(value)
