"""Checks of the ledger: whether it balances, explained stage by stage."""

from collections.abc import Iterable
from pathlib import Path

from cli.doctor_checks.check import Finding, fail, ok, skip, warn
from cli.doctor_checks.deployment import Deployment
from ingest.ledger import Break, StageCount
from ingest.ledger_file import LedgerDocument, Run, read_ledger

_OURS = "a fault of ours: keep this output, the log and the data folder, and report them"
_CARRIED = (
    "the spool's folder changed between two runs: was it restored or cleaned? See what was set aside there, and the "
    "log's events `spool_...`"
)


def ledgers(deployment: Deployment) -> Iterable[Finding]:
    paths = sorted(deployment.ingest_paths("ledger*.json"), key=lambda path: path.stem)
    if not paths:
        yield skip("ledger", "ingest has not run on this data folder")
    for path in paths:
        name = path.stem.replace("-", ".")
        try:
            found = read_ledger(path)
        except (OSError, ValueError) as exc:
            yield warn(name, f"{path} cannot be read: {exc}", "it is written anew when ingest runs; remove it")
            continue
        if found is not None:
            yield from _document(name, path, found, set(deployment.ingest_pids()))


def _document(name: str, path: Path, found: LedgerDocument, pids: set[int]) -> Iterable[Finding]:
    run = found.run
    yield _end(name, run, pids)
    yield _balance(name, run)
    for stage in run.stages:
        yield _stage(f"{name}.{stage.stage}", stage, [one for one in run.breaks if one.stage == stage.stage])
    for one in found.before:
        if one.breaks:
            text = "; ".join(fault.text for fault in one.breaks)
            yield warn(f"{name}.before", f"the run of {one.started_at} did not balance: {text}", f"see {path}")


def _end(name: str, run: Run, pids: set[int]) -> Finding:
    check = f"{name}.run"
    if run.state == "failed":
        return fail(check, f"process {run.pid} ended at {run.at} with an error in a stage", "see the log of ingest")
    if run.state == "running" and run.pid not in pids:
        what = f"process {run.pid} was killed after {run.at}: the counts below end there"
        return warn(check, what, "start ingest: it recovers what is in the spool, acknowledged readings are there")
    if run.unacknowledged:
        left = ", ".join(f"{count:,} before or in {stage}" for stage, count in run.unacknowledged.items())
        return ok(check, f"stopped at {run.at}; not on disk then, so not acknowledged, and sent again: {left}")
    return ok(check, f"stopped at {run.at}" if run.state == "stopped" else f"running, counts of {run.at}")


def _balance(name: str, run: Run) -> Finding:
    came = run.entries.get("received", 0) + run.entries.get("recovered", 0)
    rest = {entry: count for entry, count in run.entries.items() if entry not in ("received", "recovered")}
    is_even = came == sum(rest.values())
    sum_ = " + ".join(f"{entry} {count:,}" for entry, count in rest.items() if count) or "nothing"
    what = (
        f"received {run.entries.get('received', 0):,} + recovered {run.entries.get('recovered', 0):,} "
        f"{'=' if is_even else '≠'} {sum_}"
    )
    if not is_even:
        return fail(
            name, f"{what}: {came - sum(rest.values()):+,}", "the first stage below that fails is where it breaks"
        )
    return ok(name, what)


def _stage(name: str, one: StageCount, faults: list[Break]) -> Finding:
    parts = [f"{one.came_in:,} {one.unit_in} in", f"{one.went_out:,} {one.unit_out} out"]
    if one.refused:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in _largest_first(one.refused))
        goes = "refused" if one.stage in ("transport", "write") else "to quarantine or refused"
        parts.append(f"{sum(one.refused.values()):,} {goes} ({reasons})")
    if one.waiting or one.held:
        parts.append(f"{one.waiting:,} waiting, {one.held:,} inside")
    what = ", ".join(parts)
    if not faults:
        return ok(name, what)
    missing = "; ".join(f"{fault.text}: {fault.missing:+,} missing" for fault in faults)
    is_carried = any("the run before" in fault.text or "there were at least" in fault.text for fault in faults)
    return fail(name, f"{missing} ({what})", _CARRIED if is_carried else _OURS)


def _largest_first(refused: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(refused.items(), key=lambda entry: -entry[1])[:5]
