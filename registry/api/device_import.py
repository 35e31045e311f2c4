"""ImportDevices: a stream of batches in, a verdict per row out."""

from collections import Counter
from collections.abc import AsyncIterator

from sqlalchemy import Connection

from cityfleet.registry.v1 import device_pb2 as pb
from registry import metrics
from registry.api.call import Call
from registry.api.device_message import spec_of
from registry.audit.record import changed, noting
from registry.devices.importing import DryRun, Mode, Result, Row, import_rows, mask_of
from registry.errors import InvalidError, Violation

MAX_ROWS = 5000
_OUTCOMES = {
    "created": pb.ImportRowResult.OUTCOME_CREATED,
    "updated": pb.ImportRowResult.OUTCOME_UPDATED,
    "unchanged": pb.ImportRowResult.OUTCOME_UNCHANGED,
    "failed": pb.ImportRowResult.OUTCOME_FAILED,
}


async def serve(
    requests: AsyncIterator[pb.ImportDevicesRequest], call: Call
) -> AsyncIterator[pb.ImportDevicesResponse]:
    mode: Mode | None = None
    async for request in requests:
        if mode is None:
            dry_run = DryRun(planned={}, external_ids={}) if request.validate_only else None
            mode = Mode(dry_run, request.update_existing, request.own_tokens_only)
        if len(request.rows) > MAX_ROWS:
            text = f"at most {MAX_ROWS} rows a request, not {len(request.rows)}; send more requests"
            raise InvalidError([Violation("rows", "TOO_MANY_ROWS", text)])
        rows = _rows(request)
        if mode.dry_run is None:
            results = await call.write(_imported, rows, mode)
        else:
            results = await call.read(import_rows, rows, mode)
        for outcome, count in Counter(result.outcome for result in results).items():
            metrics.import_rows.labels(f"dry_run_{outcome}" if mode.dry_run else outcome).inc(count)
        yield pb.ImportDevicesResponse(results=[_result(result) for result in results])


def _imported(connection: Connection, rows: list[Row], mode: Mode) -> list[Result]:
    """Notes one change for the request, in the place of one for each row."""
    with noting():
        results = import_rows(connection, rows, mode)
    counts: Counter[str] = Counter(result.outcome for result in results)
    if counts["created"] or counts["updated"]:
        changed("devices", None, {**counts, "first_row": rows[0].row, "last_row": rows[-1].row})
    return results


def _rows(request: pb.ImportDevicesRequest) -> list[Row]:
    """Raises: InvalidError for a field mask that is none."""
    masks = [None, *(mask_of(mask.paths, f"field_masks[{at}]") for at, mask in enumerate(request.field_masks))]
    rows = []
    for given in request.rows:
        if given.field_mask >= len(masks):
            text = f"row {given.row} names mask {given.field_mask}, but there are {len(masks) - 1}"
            raise InvalidError([Violation("rows", "FIELD_MASK_UNKNOWN", text)])
        device = given.device
        # A name of another shape fails the check of the id.
        spec = spec_of(device.name.removeprefix("devices/"), device)
        rows.append(Row(given.row, spec, given.token, given.is_token_for_new, masks[given.field_mask]))
    return rows


def _result(result: Result) -> pb.ImportRowResult:
    return pb.ImportRowResult(
        row=result.row,
        outcome=_OUTCOMES[result.outcome],
        token=result.token,
        errors=[
            pb.ImportRowError(field=violation.field, reason=violation.reason, description=violation.description)
            for violation in result.violations
        ],
    )
