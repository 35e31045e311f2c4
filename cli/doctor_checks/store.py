"""Checks of the store: its schema, deduplication windows, parts, quarantine and clock."""

import re
from collections.abc import Iterable

from cli.doctor_checks.check import Finding, fail, ok, size, warn
from cli.doctor_checks.deployment import Deployment, StoreAwayError
from store import migrate as migrations

# Tables that ingest inserts into; those that views fill from them are found beside.
_INSERTED = ("readings", "readings_text", "latest", "quarantine")
_WINDOW = re.compile(r"\b(?:non_)?replicated_deduplication_window = (\d+)")
_CLOCK_WARN_S, _CLOCK_FAIL_S = 1.0, 60.0


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
    except migrations.MigrationError as exc:
        yield fail(
            "store.schema", str(exc), "this version and the store do not fit: run the version that made its schema"
        )
        return
    if status.pending:
        names = ", ".join(f"{one.number:04}_{one.name}" for one in status.pending)
        yield fail("store.schema", f"{len(status.pending)} migrations pending: {names}", "`cityfleet store migrate`")
    else:
        yield ok("store.schema", f"{len(status.applied)} migrations applied, none pending")


def windows(deployment: Deployment) -> Iterable[Finding]:
    """Without a deduplication window a retry would be stored twice, in a table or in what a view fills from it."""
    tables = dict.fromkeys(_INSERTED)
    query = "SELECT create_table_query FROM system.tables WHERE database = 'cityfleet' AND engine = 'MaterializedView'"
    for text in deployment.ask(query).splitlines():
        if target := re.search(r"\bTO cityfleet\.(\w+)", text):
            tables[target[1]] = None
    query = "SELECT name, engine, engine_full FROM system.tables WHERE database = 'cityfleet'"
    known = {name: (engine, full) for name, engine, full in map(_three, deployment.ask(query).splitlines())}
    without = []
    for table in tables:
        engine, full = known.get(table, ("", ""))
        window = _WINDOW.search(full)
        # Replicated tables have a window of 10,000 unless told otherwise.
        is_covered = int(window[1]) > 0 if window else engine.startswith("Replicated")
        if not is_covered:
            without.append(table)
    if without:
        remedy = "ALTER TABLE cityfleet.NAME MODIFY SETTING non_replicated_deduplication_window = 10000"
        yield fail("store.deduplication", f"no deduplication window: {', '.join(without)}", remedy)
    else:
        yield ok("store.deduplication", f"a window on each of {', '.join(tables)}")


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
