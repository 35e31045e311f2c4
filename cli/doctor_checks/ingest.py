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
    known = f"{devices:,.0f} devices in memory; " if devices is not None else ""
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


def in_flight(deployment: Deployment) -> Iterable[Finding]:
    answer = deployment.role("ingest")
    if not answer.is_up:
        yield skip("ingest.memory", "ingest does not run")
        return
    held = answer.value("cityfleet_ingest_queue_depth", queue="in_flight_bytes") or 0.0
    limit = deployment.settings.ingest.max_in_flight_bytes * max(1, deployment.settings.ingest.workers)
    what = f"{size(held)} of {size(limit)} between sockets and store"
    if held > 0.8 * limit:
        yield warn("ingest.memory", what, "the disk or the store is behind: above the limit sockets are not read")
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
    over = sum(count for reason, count in reasons.items() if reason.startswith("quota"))
    if over:
        remedy = "the log names the devices; if they may send so much, raise ingest.quota"
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
    mode = getattr(deployment.settings.ingest.spool, "durability", "fsync")
    if mode == "fsync":
        yield ok("ingest.durability", "acknowledged only after fsync")
    else:
        what = f'ingest.spool.durability = "{mode}": what is acknowledged is lost with the process'
        yield warn("ingest.durability", what, 'set it to "fsync" unless that is meant')
