"""The judge outside: what the store says through HTTP against what was acknowledged, reading by reading."""

import asyncio
import json
import time
import urllib.parse
import urllib.request
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from loadtest.fault.link import Device
from loadtest.fault.outcome import Outcome
from loadtest.fault.processes import Roles
from loadtest.fault.publisher import Fleet
from loadtest.fault.sequence import BASE_MS
from runtime.secrets import secret

LEDGER = "cityfleet_ingest_ledger_readings_total"
_NAMED = 5
_IN_FLIGHT = 'cityfleet_ingest_depth{queue="in_flight_bytes"}'


class Found(NamedTuple):
    """Of one message in the store: `readings` distinct ones, `rows` of them, `wrong` of which have another value."""

    readings: int
    rows: int
    wrong: int


async def settle(roles: Roles, seconds: float) -> float:
    """Wait until ingest holds nothing that is on its way to the store; returns the seconds that took.

    Raises: TimeoutError with the last that was seen.
    """
    began = time.monotonic()
    seen = "ingest does not answer"
    while True:
        try:
            ledger = await asyncio.to_thread(ledger_entries, roles)
            waiting = ledger["received"] + ledger["recovered"] - _settled(ledger)
            if not waiting:
                return time.monotonic() - began
            seen = f"{waiting:,.0f} readings on their way: {ledger}"
        except (OSError, KeyError):
            pass
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not settled after {seconds:g} s: {seen}")
        await asyncio.sleep(0.1)


def ledger_entries(roles: Roles) -> dict[str, float]:
    """Ingest's ledger by entry, as its metrics tell it. Raises: OSError."""
    found: Counter[str] = Counter()
    url = f"http://127.0.0.1:{roles.metrics_ports['ingest']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as response:
        for line in response.read().decode().splitlines():
            if line.startswith((LEDGER + "{", "cityfleet_ingest_ledger_")) and 'entry="' in line:
                labels, _, value = line.rpartition(" ")
                found[labels.partition('entry="')[2].partition('"')[0]] += float(value)  # type: ignore[assignment]
    return dict(found)


def _settled(ledger: Mapping[str, float]) -> float:
    return sum(ledger.get(entry, 0) for entry in ("stored", "quarantined", "set_aside", "rejected"))


def ledger_of_log(roles: Roles) -> tuple[int | None, list[str]]:
    """What ingest said of its ledger when it left the last time, None if it did not say; and every break it told.

    The breaks are of all its lives: one that was killed is judged by the next.
    """
    path = roles.folder / "ingest.log"
    imbalance, broken = None, []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        if '"ledger' in line and line.startswith("{"):
            event = json.loads(line)
            if event.get("event") == "ledger":
                imbalance = int(event["imbalance"])
            elif event.get("event") in ("ledger_broken", "ledger_carried_over"):
                broken.append(f"{event['event']}: {event.get('reason', '')}")
    return imbalance, broken


def check(roles: Roles, fleets: Sequence[Fleet], quarantined: Mapping[str, int] | None = None) -> Outcome:
    """Compare everything. Blocking; the store must run.

    Args:
        quarantined: readings that may be in quarantine, by reason; at most so many each.
    Raises: OSError if the store does not answer.
    """
    outcome = Outcome(peak_rss_mb={role: round(mb, 1) for role, mb in roles.peak_rss_mb.items()})
    for fleet in fleets:
        _check_fleet(roles, fleet, outcome)
    allowed = quarantined or {}
    for reason, readings in quarantine(roles).items():
        if readings > allowed.get(reason, 0):
            outcome.unexpected.append(f"{readings:,} readings in quarantine: {reason}")
    return outcome


def quarantine(roles: Roles) -> dict[str, int]:
    """Readings in quarantine, by reason."""
    engine = roles.query(
        "SELECT engine FROM system.tables WHERE database = 'cityfleet' AND name = 'quarantine'", "admin"
    )
    final = "FINAL" if "Replacing" in engine[0][0] else ""
    sql = f"SELECT reason, sum(readings) FROM cityfleet.quarantine {final} GROUP BY reason"
    return {reason: int(readings) for reason, readings in roles.query(sql, "admin")}


def _check_fleet(roles: Roles, fleet: Fleet, outcome: Outcome) -> None:
    numbers = _numbers(roles, fleet)
    seen = _through_views(roles, fleet)
    copies = _copies(roles, fleet, numbers)
    per_message = fleet.per_message
    for device in fleet.devices:
        messages = seen.pop(device.index, {})
        for message, is_acked in enumerate(device.acked):
            found = messages.get(message)
            if is_acked:
                outcome.acknowledged += per_message
                readings = found.readings if found else 0
                if readings < per_message:
                    outcome.missing_readings += per_message - readings
                    _name(outcome.missing, device, message, f"{readings} of {per_message} readings stored")
        for message, found in messages.items():
            outcome.stored += found.readings
            if found.rows > found.readings:
                outcome.doubled_readings += found.rows - found.readings
                _name(outcome.doubled, device, message, f"{found.rows} rows through ioc.readings")
            if found.wrong:
                outcome.wrong_readings += found.wrong
                _name(outcome.wrong_values, device, message, f"{found.wrong} values")
            if message >= len(device.sends) or not device.sends[message]:
                _name(outcome.unexpected, device, message, "never sent")
        for message, rows in copies.get(device.index, {}).items():
            sends = device.sends[message] if message < len(device.sends) else 0
            if rows > sends * per_message and 0 < sends < 255:
                outcome.doubled_readings += rows - sends * per_message
                _name(outcome.doubled, device, message, f"sent {sends} times, {rows} rows in cityfleet.readings")
    for index, messages in seen.items():
        outcome.unexpected.append(f"{fleet.prefix}-{index}: not of this run, {len(messages)} messages")
    _check_latest(roles, fleet, outcome)


def _name(lines: list[str], device: Device, message: int, what: str) -> None:
    if len(lines) < _NAMED:
        lines.append(f"{device.id} message {message}: {what}")


def _numbers(roles: Roles, fleet: Fleet) -> dict[int, int]:
    """Our index of a device by its number in the store."""
    rows = roles.query(f"SELECT device_num, device_id FROM ioc.devices WHERE startsWith(device_id, '{fleet.prefix}-')")
    return {int(number): int(name.rpartition("-")[2]) for number, name in rows}


def _span(fleet: Fleet, ts: str = "ts") -> tuple[str, str]:
    """Sequence of a row, and the condition that it is one of ours: within what was sent, and as much again."""
    last = BASE_MS + 2 * fleet.per_message * (1 + max((len(device.sends) for device in fleet.devices), default=0))
    sequence = f"(toUnixTimestamp64Milli({ts}) - {BASE_MS})"
    between = f"{ts} >= fromUnixTimestamp64Milli({BASE_MS}) AND {ts} <= fromUnixTimestamp64Milli({last})"
    return sequence, between


def _through_views(roles: Roles, fleet: Fleet) -> dict[int, dict[int, Found]]:
    """Every message of every device as `ioc.readings` shows it."""
    sequence, between = _span(fleet)
    device = f"toUInt32(substring(device_id, {len(fleet.prefix) + 2}))"
    sql = f"""
        SELECT {device} AS device, toUInt32(intDiv({sequence}, {fleet.per_message})) AS message,
               toUInt32(uniqExact(ts)), toUInt32(count()),
               toUInt32(countIf(value != {fleet.sequence.sql_value(f"toUInt64({device})", sequence)}))
        FROM ioc.readings WHERE startsWith(device_id, '{fleet.prefix}-') AND {between}
        GROUP BY device, message
    """
    found: dict[int, dict[int, Found]] = {}
    for index, message, readings, rows, wrong in _numbers_of(roles, sql, 5):
        found.setdefault(index, {})[message] = Found(readings, rows, wrong)
    return found


def _copies(roles: Roles, fleet: Fleet, indexes: Mapping[int, int]) -> dict[int, dict[int, int]]:
    """Rows of every message in the table itself, copies that merges have not met included."""
    sequence, between = _span(fleet)
    sql = f"""
        SELECT device_num, toUInt32(intDiv({sequence}, {fleet.per_message})) AS message, toUInt32(count())
        FROM cityfleet.readings WHERE {between} GROUP BY device_num, message
    """
    found: dict[int, dict[int, int]] = {}
    for number, message, rows in _numbers_of(roles, sql, 3):
        if number in indexes:
            found.setdefault(indexes[number], {})[message] = rows
    return found


def _check_latest(roles: Roles, fleet: Fleet, outcome: Outcome) -> None:
    """`ioc.latest` is the newest that was acknowledged, or newer, once for each series."""
    sequence, _ = _span(fleet)
    rows = roles.query(
        f"SELECT device_id, {sequence}, value FROM ioc.latest WHERE startsWith(device_id, '{fleet.prefix}-')"
    )
    latest: dict[int, tuple[int, float]] = {}
    for name, sequence_text, value_text in rows:
        index = int(name.rpartition("-")[2])
        if index in latest:
            outcome.unexpected.append(f"{name} is twice in ioc.latest")
        latest[index] = int(sequence_text), float(value_text)
    for device in fleet.devices:
        newest = (device.newest_acked + 1) * fleet.per_message - 1
        at, value = latest.get(device.index, (-1, 0.0))
        if at < newest:
            outcome.missing_readings += 1
            outcome.missing.append(f"{device.id}: ioc.latest is {at}, {newest} was acknowledged")
        elif at >= 0 and value != fleet.sequence.value(device.index, at):
            outcome.wrong_readings += 1
            outcome.wrong_values.append(f"{device.id}: {value} in ioc.latest")


def _numbers_of(roles: Roles, sql: str, columns: int) -> "zip[tuple[int, ...]]":
    """Rows of a SELECT of UInt32 columns, four bytes each on the way."""
    request = urllib.request.Request(
        f"{roles.store_url}/?{urllib.parse.urlencode({'default_format': 'RowBinary'})}",
        data=sql.encode(),
        headers={"X-ClickHouse-User": "admin", "X-ClickHouse-Key": secret(roles.data_dir, "store-admin")},
    )
    numbers = array("I")
    with urllib.request.urlopen(request, timeout=120) as response:
        numbers.frombytes(response.read())
    return zip(*(numbers[at::columns] for at in range(columns)), strict=True)
