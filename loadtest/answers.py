"""What the store says about what was sent: plain SQL over ClickHouse's HTTP interface, as any reader asks."""

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from loadtest.ledger import NOTHING, Fingerprint, SentLedger, Series, SeriesDifference

DEVICE_ID = re.compile(r"[a-z0-9-]{1,63}")
MAX_NAMED_DEVICES = 2_000


class StoreError(Exception):
    """The store did not answer, or refused; the text is its own."""


class StoreReader:
    """A SELECT account of a ClickHouse HTTP endpoint, `url` as `http://127.0.0.1:8123`."""

    def __init__(self, url: str, user: str, password: str, timeout_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self.user = user
        self._password = password
        self._timeout_s = timeout_s

    def rows(self, sql: str, parameters: Mapping[str, str | int] | None = None) -> list[dict[str, Any]]:
        """The rows of a SELECT; `{name:Type}` in the statement takes its value from `parameters`. Raises StoreError."""
        query = {"default_format": "JSON", "output_format_json_quote_64bit_integers": "0"}
        query |= {f"param_{name}": str(value) for name, value in (parameters or {}).items()}
        request = urllib.request.Request(
            f"{self.url}/?{urllib.parse.urlencode(query)}",
            data=sql.encode(),
            headers={"X-ClickHouse-User": self.user, "X-ClickHouse-Key": self._password},
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as response:
                found: list[dict[str, Any]] = json.load(response)["data"]
                return found
        except urllib.error.HTTPError as exc:
            raise StoreError(f"{self.url}: {exc.read().decode(errors='replace').strip()[:500]}") from exc
        except (OSError, ValueError) as exc:
            raise StoreError(f"no answer from the store at {self.url}: {exc}") from exc


class Stored(NamedTuple):
    """`series`: identities in the store; `quarantined`: readings by device."""

    series: dict[Series, Fingerprint]
    quarantined: dict[str, int]

    @property
    def readings(self) -> int:
        return sum(print_.readings for print_ in self.series.values())


def stored(reader: StoreReader, devices: Collection[str], span_ms: tuple[int, int], since_ms: int) -> Stored:
    """What the store holds of `devices` in a span of event times, and in quarantine since `since_ms` (arrival)."""
    # In the statement, because a URL has no room for a thousand names; a statement has none for ten thousand.
    wanted = set(devices)
    names = ", ".join(f"'{device}'" for device in sorted(wanted) if DEVICE_ID.fullmatch(device))
    chosen = f"device_id IN ({names})" if len(wanted) <= MAX_NAMED_DEVICES else "1"
    series = reader.rows(
        f"""
        SELECT device_id, metric, uniqExact(ts) AS readings,
               arraySum(groupUniqArray(toUnixTimestamp64Milli(ts))) AS sum_ms,
               arrayReduce('groupBitXor', groupUniqArray(toUnixTimestamp64Milli(ts))) AS xor_ms
        FROM ioc.readings
        WHERE {chosen}
          AND ts >= fromUnixTimestamp64Milli({{first:Int64}}) AND ts <= fromUnixTimestamp64Milli({{last:Int64}})
        GROUP BY device_id, metric
        """,  # noqa: S608
        {"first": span_ms[0], "last": span_ms[1]},
    )
    quarantined = reader.rows(
        f"""
        SELECT device_id, sum(readings) AS readings FROM cityfleet.quarantine
        WHERE {chosen} AND received_at >= fromUnixTimestamp64Milli({{since:Int64}})
        GROUP BY device_id
        """,  # noqa: S608
        {"since": since_ms},
    )
    return Stored(
        {
            (row["device_id"], row["metric"]): Fingerprint(int(row["readings"]), int(row["sum_ms"]), int(row["xor_ms"]))
            for row in series
            if row["device_id"] in wanted
        },
        {row["device_id"]: int(row["readings"]) for row in quarantined if row["device_id"] in wanted},
    )


def wait_until_stored(
    reader: StoreReader, ledger: SentLedger, quarantined: Mapping[str, int], since_ms: int, timeout_s: float
) -> tuple[Stored, list[SeriesDifference]]:
    """Ask until the store holds exactly the ledger's identities and that much quarantine, or the time is over.

    An acknowledged reading is durable, but becomes visible only with the next insert.
    """
    devices = ledger.devices | set(quarantined)
    span_ms = ledger.span_ms()
    deadline = time.monotonic() + timeout_s
    while True:
        found = stored(reader, devices, span_ms, since_ms)
        differences = ledger.differences(found.series)
        if (not differences and found.quarantined == dict(quarantined)) or time.monotonic() > deadline:
            return found, differences
        time.sleep(0.3)


def wait_until_present(reader: StoreReader, ledger: SentLedger, since_ms: int, timeout_s: float) -> tuple[Stored, int]:
    """As `wait_until_stored`, where others may write too: the ledger's series, and how many readings they lack.

    More than was sent is somebody else's, in the same span of time.
    """
    span_ms = ledger.span_ms()
    deadline = time.monotonic() + timeout_s
    while True:
        found = stored(reader, ledger.devices, span_ms, since_ms)
        sent = dict(ledger.fingerprints())
        ours = Stored({series: found.series.get(series, NOTHING) for series in sent}, found.quarantined)
        missing = sum(max(0, print_.readings - ours.series[series].readings) for series, print_ in sent.items())
        if not missing or time.monotonic() > deadline:
            return ours, missing
        time.sleep(0.3)
