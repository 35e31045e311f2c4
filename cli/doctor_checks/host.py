"""Checks of the machine: open files, secrets, certificates."""

import re
import resource
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from cli.doctor_checks.check import Finding, fail, ok, skip, warn
from cli.doctor_checks.deployment import Deployment

# Beside connections: spool, store, registry, workers, and clients that are told that there is no room.
_OTHER_FILES = 1_200
_EXPIRES_SOON = timedelta(days=21)


def open_files(deployment: Deployment) -> Iterable[Finding]:
    wanted = deployment.settings.ingest.mqtt.max_connections + _OTHER_FILES
    pids = deployment.ingest_pids()
    limits = [limit for pid in pids if (limit := _limit(pid)) is not None]
    whose = "ingest's" if limits else "this shell's"
    limit = min(limits) if limits else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    what = f"{whose} limit of open files is {limit:,}, ingest.mqtt.max_connections needs {wanted:,}"
    if limit != resource.RLIM_INFINITY and limit < wanted:
        remedy = (
            f"`ulimit -n {wanted}`, or LimitNOFILE={wanted} in the service; or set ingest.mqtt.max_connections lower"
        )
        yield warn("host.open_files", what, remedy)
    else:
        yield ok("host.open_files", what)


def _limit(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return None
    found = re.search(r"^Max open files\s+(\w+)", text, re.M)
    if found is None:
        return None
    return resource.RLIM_INFINITY if found[1] == "unlimited" else int(found[1])


def secrets(deployment: Deployment) -> Iterable[Finding]:
    folder = deployment.data_dir / "secrets"
    if not folder.is_dir():
        yield skip("host.secrets", "there are none yet: the first start makes them")
        return
    open_ = [path.name for path in (folder, *folder.iterdir()) if path.stat().st_mode & 0o077]
    if open_:
        remedy = f"chmod -R go-rwx {folder}; then change what others may have read"
        yield fail("host.secrets", f"others on this machine can read {', '.join(sorted(open_))}", remedy)
    else:
        yield ok("host.secrets", "only their owner can read them")


def certificates(deployment: Deployment) -> Iterable[Finding]:
    mqtt, broker = deployment.settings.ingest.mqtt, deployment.settings.ingest.broker
    named = []
    if mqtt.tls.enabled or mqtt.websocket_tls.enabled:
        named += [("ingest.mqtt.tls.cert_file", mqtt.tls.cert_file)]
        named += [("ingest.mqtt.tls.client_ca_file", mqtt.tls.client_ca_file)] if mqtt.tls.client_ca_file else []
    if broker.host and broker.tls:
        named += [("ingest.broker.cert_file", broker.cert_file)] if broker.cert_file else []
        named += [("ingest.broker.ca_file", broker.ca_file)] if broker.ca_file else []
    if not named:
        yield ok("host.certificates", "none in use: no listener has TLS")
    for setting, file in named:
        yield _certificate(setting, Path(file))


def _certificate(setting: str, path: Path) -> Finding:
    name = f"host.certificates.{setting}"
    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as exc:
        return fail(name, f"{path} cannot be read: {exc}", f"set {setting} to a PEM file")
    first = min(chain, key=lambda one: one.not_valid_after_utc)
    left = first.not_valid_after_utc - datetime.now(UTC)
    what = (
        f"{first.subject.rfc4514_string() or path.name} is valid until {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    )
    if left <= timedelta():
        return fail(name, f"{what}: expired", f"renew {path}; a running ingest takes a changed file up by itself")
    if left < _EXPIRES_SOON:
        return warn(name, f"{what}: {left.days} days left", f"renew {path}; ingest takes a changed file up by itself")
    return ok(name, what)
