"""ImportDevices: a stream of batches in, a verdict per row out; for others an operation while it runs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import msgspec
from sqlalchemy import Connection

from cityfleet.registry.v1 import device_pb2 as pb
from registry import metrics
from registry.api.attended import attended
from registry.api.call import Call
from registry.api.device_message import spec_of
from registry.api.status import cut
from registry.devices.dry_run import DryRun
from registry.devices.import_model import EVERYTHING, Mode, Result, Row, mask_of, row_of
from registry.devices.import_progress import after
from registry.devices.importing import import_rows
from registry.errors import InvalidError, Violation
from registry.operations.attended import Attended, AttendedOperations
from registry.operations.model import Progress

MAX_ROWS = 5000
GONE_S = 0.1
# Of what is wrong with a row: clients take answers of 4 MiB without being told to.
MAX_TOLD_BYTES = 600
_OUTCOMES = {
    "created": pb.ImportRowResult.OUTCOME_CREATED,
    "updated": pb.ImportRowResult.OUTCOME_UPDATED,
    "unchanged": pb.ImportRowResult.OUTCOME_UNCHANGED,
    "failed": pb.ImportRowResult.OUTCOME_FAILED,
}


class _Batch(msgspec.Struct, frozen=True):
    request: pb.ImportDevicesRequest
    rows: Sequence[Row]


async def serve(
    requests: AsyncIterator[pb.ImportDevicesRequest], call: Call, operations: AttendedOperations
) -> AsyncIterator[pb.ImportDevicesResponse]:
    upcoming = asyncio.create_task(_next(requests))
    try:
        if (batch := await upcoming) is None:
            return
        mode = _mode_of(batch.request)
        prefix = "import" if mode.dry_run is None else "dry-run-import"
        told: dict[str, object] | None = {"update_existing": mode.update_existing} if mode.dry_run is None else None
        async with attended(operations, call, prefix, 0, told, is_read=mode.dry_run is not None) as operation:
            name = operation.name
            while batch is not None:
                # One batch ahead: the next one is read and checked while the database writes this one; not before, for
                # to judge this one takes the interpreter too.
                judged = asyncio.Event()
                upcoming = asyncio.create_task(_next(requests, judged))
                results = await _take(batch, mode, call, operation, judged)
                response = await asyncio.to_thread(_response, results)
                response.operation, name = name, ""
                yield response
                batch = await operation.during(upcoming)
            # The requests of a client that is gone end too, just before its call does.
            await asyncio.sleep(GONE_S)
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)


async def _take(batch: _Batch, mode: Mode, call: Call, operation: Attended, judged: asyncio.Event) -> list[Result]:
    """`judged` is set when the rows have their verdicts, at the latest with the end."""
    is_noted = mode.dry_run is None and operation.is_due()
    loop = asyncio.get_running_loop()

    def run(connection: Connection) -> tuple[list[Result], Progress]:
        results = import_rows(connection, batch.rows, mode, lambda: loop.call_soon_threadsafe(judged.set))
        progress = after(operation.progress, batch.rows, results, repeats_late=batch.request.repeats_late)
        if is_noted:
            operation.note(connection, progress)
        return results, progress

    try:
        results, progress = await (call.write(run) if mode.dry_run is None else call.read(run))
    finally:
        judged.set()
    operation.advance(progress, is_noted=is_noted)
    counts = Counter(result.outcome for result in results)
    if mode.dry_run is None:
        call.grew(counts["created"] + counts["updated"])
    for outcome, count in counts.items():
        metrics.import_rows.labels(f"dry_run_{outcome}" if mode.dry_run else outcome).inc(count)
    return results


async def _next(
    requests: AsyncIterator[pb.ImportDevicesRequest], may_check: asyncio.Event | None = None
) -> _Batch | None:
    """Raises: InvalidError."""
    async for request in requests:
        if len(request.rows) > MAX_ROWS:
            text = f"at most {MAX_ROWS} rows a request, not {len(request.rows)}; send more requests"
            raise InvalidError([Violation("rows", "TOO_MANY_ROWS", text)])
        if may_check is not None:
            await may_check.wait()
        return _Batch(request, await asyncio.to_thread(_rows, request))
    return None


def _mode_of(first: pb.ImportDevicesRequest) -> Mode:
    return Mode(DryRun() if first.validate_only else None, first.update_existing, first.own_tokens_only)


def _rows(request: pb.ImportDevicesRequest) -> list[Row]:
    """Raises: InvalidError for a field mask that is none."""
    masks = [EVERYTHING, *(mask_of(mask.paths, f"field_masks[{at}]") for at, mask in enumerate(request.field_masks))]
    rows = []
    for given in request.rows:
        if given.field_mask >= len(masks):
            text = f"row {given.row} names mask {given.field_mask}, but there are {len(masks) - 1}"
            raise InvalidError([Violation("rows", "FIELD_MASK_UNKNOWN", text)])
        device = given.device
        # A name of another shape fails the check of the id.
        spec = spec_of(device.name.removeprefix("devices/"), device)
        rows.append(row_of(given.row, spec, given.token, given.is_token_for_new, masks[given.field_mask]))
    return rows


def _response(results: Sequence[Result]) -> pb.ImportDevicesResponse:
    response = pb.ImportDevicesResponse()
    for result in results:
        told = response.results.add(row=result.row, outcome=_OUTCOMES[result.outcome], token=result.token)
        for violation in result.violations:
            field, description = (cut(text, MAX_TOLD_BYTES) for text in (violation.field, violation.description))
            told.errors.add(field=field, reason=violation.reason, description=description)
    return response
