"""Checks of the store: its schema, deduplication windows, parts, answers of now, quarantine and clock."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from cli.doctor_checks.check import Finding, age, fail, ok, size, warn
from cli.doctor_checks.deployment import Deployment, StoreAwayError
from ingest.write.watch import tables_without_window
from store import migrate as migrations
from store import views

_CLOCK_WARN_S, _CLOCK_FAIL_S = 1.0, 60.0
# They are made each minute.
_ANSWERS_OLD_S = 300.0


def reachable(deployment: Deployment) -> Iterable[Finding]:
    try:
        version = deployment.ask("SELECT version()")
    except (StoreAwayError, ValueError) as exc:
        is_stopped = not deployment.settings.store.url and not deployment.is_anything_up
        say = warn if is_stopped else fail
        yield say("store.answers", str(exc), "what ingest acknowledges waits in the spool until the store is back")
    else:
        yield ok("store.answers", f"version {version}")


def schema(deployment: Deployment) -> Iterable[Finding]:
    try:
        status = migrations.status(deployment.ask)
        changed = views.status(deployment.ask)[1]
    except migrations.MigrationError as exc:
        yield fail(
            "store.schema", str(exc), "this version and the store do not fit: run the version that made its schema"
        )
        return
    if status.pending:
        names = ", ".join(f"{one.number:04}_{one.name}" for one in status.pending)
        yield fail("store.schema", f"{len(status.pending)} migrations pending: {names}", "`cityfleet store migrate`")
    elif changed:
        names = ", ".join(one.name for one in changed)
        yield fail("store.schema", f"{len(changed)} files of views to be applied: {names}", "`cityfleet store migrate`")
    else:
        yield ok("store.schema", f"{len(status.applied)} migrations applied, none pending")


def windows(deployment: Deployment) -> Iterable[Finding]:
    """Without a deduplication window a retry would be stored twice, in a table or in what a view fills from it."""
    without = asyncio.run(tables_without_window(_Asked(deployment)))
    if without:
        remedy = "ALTER TABLE NAME MODIFY SETTING non_replicated_deduplication_window = 10000"
        yield fail("store.deduplication", f"a repeated insert is stored twice in {', '.join(without)}", remedy)
    else:
        yield ok("store.deduplication", "every table that an insert reaches knows a repeated one")


class _Asked:
    """The store as `ingest.write` asks it."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def ask(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        answer = msgspec.json.decode(self._deployment.ask(f"{sql} FORMAT JSONCompact", parameters))
        return [tuple(row) for row in answer["data"]]


def parts(deployment: Deployment) -> Iterable[Finding]:
    query = (
        "SELECT table, partition, count() AS parts FROM system.parts WHERE active AND database = 'cityfleet' "
        "GROUP BY table, partition ORDER BY parts DESC LIMIT 1"
    )
    found = deployment.ask(query)
    table, partition, count = _three(found) if found else ("no table", "tuple()", "0")
    where = table if partition == "tuple()" else f"{table} {partition}"
    what = f"at most {count} active parts in one partition ({where})"
    write = deployment.settings.ingest.write
    if int(count) >= write.parts_stop:
        yield fail("store.parts", what, "merges are behind and inserts stop: give the store more CPU or a faster disk")
    elif int(count) >= write.parts_slow:
        yield warn("store.parts", what, "merges are behind, inserts are slowed down: watch whether it falls")
    else:
        yield ok("store.parts", what)


def rollups(deployment: Deployment) -> Iterable[Finding]:
    """Answers of now are made by steps: where these stop, or one fails, an IOC module sees the past."""
    name, remedy = "store.rollups", "`cityfleet store rollup status` tells how far each step is"
    if not deployment.settings.store.rollup.enabled:
        yield ok(name, "not computed here (store.rollup.enabled = false)")
        return
    query = (
        "SELECT toString(count()), toString(least(uptime(), dateDiff('second', fromUnixTimestamp64Milli(toInt64("
        "(SELECT max(version) FROM cityfleet.fleet_now))), now64(3)))), '' FROM cityfleet.devices"
    )
    devices, since_s, _ = _three(deployment.ask(query))
    counter = "cityfleet_store_rollup_failures_total"
    failed = sum(deployment.role(role).value(counter) or 0 for role in deployment.roles)
    if int(devices) and float(since_s) > _ANSWERS_OLD_S:
        yield warn(name, f"answers of now were not made for {age(float(since_s))}", f"{remedy}; the store's log why")
    elif failed:
        what = f"in {failed:,.0f} passes since the start a step failed"
        yield warn(name, what, f"the log names it (`rollup_failed`); {remedy}")
    else:
        yield ok(name, "answers of now are made" if int(devices) else "no devices yet")


def quarantine(deployment: Deployment) -> Iterable[Finding]:
    query = (
        "SELECT sum(rows), sum(bytes_on_disk), 0 FROM system.parts WHERE active AND database = 'cityfleet' "
        "AND table = 'quarantine'"
    )
    rows, size_bytes, _ = _three(deployment.ask(query))
    if not int(rows):
        yield ok("store.quarantine", "empty")
        return
    query = (
        "SELECT reason, toString(sum(readings)), '' FROM cityfleet.quarantine "
        "WHERE received_at > now() - INTERVAL 1 DAY GROUP BY reason ORDER BY sum(readings) DESC LIMIT 3"
    )
    reasons = ", ".join(f"{reason} {count}" for reason, count, _ in map(_three, deployment.ask(query).splitlines()))
    limit = deployment.settings.store.quarantine.max_bytes
    what = f"{int(rows):,} rows, {size(int(size_bytes))} of {size(limit)}"
    # Of the embedded store by itself, of a server by ingest.
    counter = "cityfleet_store_quarantine_dropped_readings_total"
    dropped = sum(deployment.role(role).value(counter) or 0 for role in deployment.roles)
    if dropped:
        what += f"; {dropped:,.0f} readings were dropped as too old or too many"
    if reasons:
        remedy = (
            "mend the type or the device, then `cityfleet quarantine replay`; `cityfleet quarantine list` shows them"
        )
        yield warn("store.quarantine", f"{what}; readings of the last day by reason: {reasons}", remedy)
    else:
        yield ok("store.quarantine", f"{what}, none of the last day")


def clock(deployment: Deployment) -> Iterable[Finding]:
    ahead_s, exact_s = deployment.store_clock_ahead_s()
    off_s = max(0.0, abs(ahead_s) - exact_s)
    what = f"the store's clock is at least {off_s:.1f} s {'ahead of' if ahead_s > 0 else 'behind'} ours"
    remedy = "synchronise the clocks (NTP): event times are judged by ingest's, expiry by the store's"
    if off_s >= _CLOCK_FAIL_S:
        yield fail("store.clock", what, remedy)
    elif off_s >= _CLOCK_WARN_S:
        yield warn("store.clock", what, remedy)
    else:
        yield ok("store.clock", f"the store's clock is ours, within {abs(ahead_s) + exact_s:.3f} s")


def _three(line: str) -> tuple[str, str, str]:
    first, second, third = line.split("\t")
    return first, second, third
