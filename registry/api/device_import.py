"""ImportDevices: a stream of batches in, a verdict per row out."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import msgspec

from cityfleet.registry.v1 import device_pb2 as pb
from registry import metrics
from registry.api.call import Call
from registry.api.device_message import spec_of
from registry.api.status import cut
from registry.devices.dry_run import DryRun
from registry.devices.import_model import EVERYTHING, Mode, Result, Row, mask_of, row_of
from registry.devices.importing import import_rows
from registry.errors import InvalidError, Violation

MAX_ROWS = 5000
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
    requests: AsyncIterator[pb.ImportDevicesRequest], call: Call
) -> AsyncIterator[pb.ImportDevicesResponse]:
    # One batch ahead: the next one is read and checked while the database writes this one.
    upcoming = asyncio.create_task(_next(requests))
    mode: Mode | None = None
    try:
        while (batch := await upcoming) is not None:
            upcoming = asyncio.create_task(_next(requests))
            if mode is None:
                mode = _mode_of(batch.request)
            run = call.write if mode.dry_run is None else call.read
            results = await run(import_rows, batch.rows, mode)
            counts = Counter(result.outcome for result in results)
            if mode.dry_run is None:
                call.grew(counts["created"])
            for outcome, count in counts.items():
                metrics.import_rows.labels(f"dry_run_{outcome}" if mode.dry_run else outcome).inc(count)
            yield await asyncio.to_thread(_response, results)
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)


async def _next(requests: AsyncIterator[pb.ImportDevicesRequest]) -> _Batch | None:
    """Raises: InvalidError."""
    async for request in requests:
        if len(request.rows) > MAX_ROWS:
            text = f"at most {MAX_ROWS} rows a request, not {len(request.rows)}; send more requests"
            raise InvalidError([Violation("rows", "TOO_MANY_ROWS", text)])
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
