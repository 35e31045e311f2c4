"""Checks of ingest's settings and state: the device index, refusals, the broker's settings, durability."""

import time
from collections.abc import Iterable

from cli.doctor_checks.check import Finding, age, ok, size, skip, warn
from cli.doctor_checks.deployment import Deployment

_OLD_INDEX_S = 86_400.0


def index(deployment: Deployment) -> Iterable[Finding]:
    """Without the file ingest cannot serve before the registry answers."""
    paths = [path for path in deployment.ingest_paths("index*") if path.is_file() and "draft" not in path.name]
    devices = deployment.role("ingest").value("cityfleet_ingest_index_devices")
    workers = max(1, deployment.settings.ingest.workers)
    known = f"{devices / workers:,.0f} devices in memory; " if devices is not None else ""
    if not paths:
        if not (deployment.data_dir / "ingest").is_dir():
            yield skip("ingest.index", "ingest has not run on this data folder")
            return
        remedy = "it is written once the registry has answered: is the registry running?"
        yield warn("ingest.index", f"{known}no index on disk: ingest cannot start without the registry", remedy)
    for path in paths:
        stat = path.stat()
        old_s = time.time() - stat.st_mtime
        what = f"{known}{path.name}: {size(stat.st_size)}, written {age(old_s)} ago"
        if old_s > _OLD_INDEX_S and not deployment.role("ingest").is_up:
            yield warn(
                "ingest.index", what, "devices that were added or lost a token since are not in it: start the registry"
            )
        else:
            yield ok("ingest.index", what)


def memory(deployment: Deployment) -> Iterable[Finding]:
    """What lies between the sockets and the committed row, and whether anybody has to wait for it."""
    answer = deployment.role("ingest")
    if not answer.is_up:
        yield skip("ingest.memory", "ingest does not run")
        return
    accounts = answer.by("cityfleet_ingest_memory_bytes", "what")
    limit = deployment.settings.ingest.max_in_flight_bytes * max(1, deployment.settings.ingest.workers)
    most = ", ".join(
        f"{what} {size(held)}" for what, held in sorted(accounts.items(), key=lambda one: -one[1])[:3] if held
    )
    what = f"{size(sum(accounts.values()))} of {size(limit)} between sockets and store{f': {most}' if most else ''}"
    doors = answer.by("cityfleet_ingest_gate_open", "traffic")
    waiting = [traffic for traffic, open_ in doors.items() if open_ < max(1, deployment.settings.ingest.workers)]
    if waiting:
        why = "the store catches up" if answer.value("cityfleet_ingest_draining") else "the disk or the store is behind"
        remedy = "docs/pressure.md says who waits for what; it goes on by itself"
        yield warn("ingest.memory", f"{what}; not read now: {', '.join(waiting)}, for {why}", remedy)
    else:
        yield ok("ingest.memory", what)


def rejected(deployment: Deployment) -> Iterable[Finding]:
    """What was refused at the door since ingest started."""
    answer = deployment.role("ingest")
    if not answer.is_up:
        yield skip("ingest.rejected", "ingest does not run")
        return
    reasons = answer.by("cityfleet_ingest_ledger_rejected_total", "reason")
    text = ", ".join(f"{reason} {count:,.0f}" for reason, count in sorted(reasons.items(), key=lambda one: -one[1])[:5])
    if reasons.get("quota"):
        remedy = "the log names the senders (`mqtt_refused`); if they may send so much, raise ingest.quota"
        yield warn("ingest.rejected", f"messages refused at the door: {text}", remedy)
    elif text:
        yield ok("ingest.rejected", f"messages refused at the door: {text}")
    else:
        yield ok("ingest.rejected", "nothing was refused at the door")


def broker(deployment: Deployment) -> Iterable[Finding]:
    """Settings under which an external broker may lose what ingest has not seen."""
    broker = deployment.settings.ingest.broker
    if not broker.host:
        yield skip("ingest.broker", "no external broker is set")
        return
    said = []
    if broker.qos == 0:
        said.append("qos = 0: what comes while no connection is open is lost")
    if broker.session_expiry_s == 0:
        said.append("session_expiry_s = 0: the broker forgets us, and what is queued, with each connection")
    if broker.stall_timeout_s == 0:
        said.append("stall_timeout_s = 0: a connection that is dead without saying so is never made anew")
    where = f"{broker.host}:{broker.port}, {broker.connections} connections, group {broker.share_group or 'none'}"
    if said:
        yield warn(
            "ingest.broker", f"{where}; {'; '.join(said)}", "docs/broker.md says what to set, here and at the broker"
        )
    else:
        yield ok("ingest.broker", where)


def durability(deployment: Deployment) -> Iterable[Finding]:
    mode = deployment.settings.ingest.spool.durability
    if mode == "fsync":
        yield ok("ingest.durability", "acknowledged only after fsync")
    else:
        what = f'ingest.spool.durability = "{mode}": what is acknowledged is lost with the process'
        yield warn("ingest.durability", what, 'set it to "fsync" unless that is meant')
