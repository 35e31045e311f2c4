"""How far an import is: what became of the rows so far, and what was wrong with the first that failed."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from registry.devices.import_model import Result, Row
from registry.errors import InvalidError
from registry.operations.model import MAX_MESSAGE, Failure, Progress

# The gateway may be a later row of the file.
LATE = "GATEWAY_UNKNOWN"


def after(progress: Progress, rows: Sequence[Row], results: Sequence[Result], *, repeats_late: bool) -> Progress:
    """Args: results: one for each row. repeats_late: rows whose gateway is not there come again, and count then."""
    counts: Counter[str] = Counter(result.outcome for result in results)
    failed = [at for at, result in enumerate(results) if result.outcome == "failed"] if counts["failed"] else []
    if repeats_late:
        failed = [at for at in failed if all(each.reason != LATE for each in results[at].violations)]
    return progress.plus(
        succeeded=counts["created"] + counts["updated"],
        created=counts["created"],
        unchanged=counts["unchanged"],
        failed=len(failed),
        failures=[_failure(rows[at], results[at]) for at in islice(failed, max(0, progress.room))],
    )


def _failure(row: Row, result: Result) -> Failure:
    first, *more = result.violations
    text = f"{first.field}: {first.description}" if first.field else first.description
    if more:
        text += f" (and {len(more)} more)"
    name = f"devices/{row.spec.device_id[:MAX_MESSAGE]}"
    return Failure(name, InvalidError.__name__, first.reason, text[:MAX_MESSAGE], row.row)
