"""Checks of the roles: they run, answer, and can do their job."""

from collections.abc import Iterable

from cli.doctor_checks.check import Finding, fail, ok, warn
from cli.doctor_checks.deployment import Deployment

_REMEDIES = {
    "device_index": "devices that are not known yet have to wait: start the registry",
    "gate": "the store or the disk is behind: see the checks of spool and store; docs/pressure.md says who waits",
    "spool": "see the checks of spool and disk: what cannot be written is not acknowledged",
    "spool_age": "see the checks of store",
    "store": "see the checks of store; what is acknowledged waits in the spool",
    "store_parts": "merges are behind: give the store more CPU or a faster disk; it goes on by itself",
    "store_windows": "see the check store.deduplication",
    "store_refuses": "the log has the store's words (`write_segment_held`): mend the tables, then it goes on by itself",
    "broker": "see docs/broker.md; the log has the broker's reason (`broker_retry`)",
}


def roles(deployment: Deployment) -> Iterable[Finding]:
    for role in deployment.roles:
        answer, name = deployment.role(role), f"role.{role}"
        process = f"process {answer.pid}" if answer.pid else "not on this machine"
        if not answer.is_up and answer.pid:
            what = f"{process} runs and does not answer at {answer.address}: {answer.reason}"
            remedy = "see its log; to kill it is safe: what was acknowledged is in the spool"
            yield fail(name, what, remedy)
        elif not answer.is_up:
            say = fail if deployment.is_anything_up else warn
            yield say(name, "not running", f"`cityfleet up`, or `cityfleet {role}` for this role alone")
        elif not answer.missing:
            yield ok(name, f"ready at {answer.address}, {process}")
        for part, reason in answer.missing.items():
            yield fail(f"{name}.{part}", f"not ready: {reason}", _REMEDIES.get(part, f"see the log of {role}"))
        for part, reason in answer.degraded.items():
            yield warn(f"{name}.{part}", f"degraded: {reason}", _REMEDIES.get(part, f"see the log of {role}"))
