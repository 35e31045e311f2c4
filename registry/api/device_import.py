"""ImportDevices: a stream of batches in, a verdict per row out."""

from collections import Counter
from collections.abc import AsyncIterator

from cityfleet.registry.v1 import device_pb2 as pb
from registry import metrics
from registry.api.call import Call
from registry.devices.importing import DryRun, Mode, Result, Row, import_rows, mask_of
from registry.devices.model import DeviceSpec
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
        run = call.write if mode.dry_run is None else call.read
        results = await run(import_rows, _rows(request), mode)
        for outcome, count in Counter(result.outcome for result in results).items():
            metrics.import_rows.labels(f"dry_run_{outcome}" if mode.dry_run else outcome).inc(count)
        yield pb.ImportDevicesResponse(results=[_result(result) for result in results])


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
        spec = DeviceSpec(
            device_id=device.name.removeprefix("devices/"),
            device_type=device.device_type,
            display_name=device.display_name,
            gateway=device.gateway,
            ward_code=device.ward_code,
            site=device.site,
            latitude=device.latitude if device.HasField("latitude") else None,
            longitude=device.longitude if device.HasField("longitude") else None,
            labels=dict(device.labels),
            external_id=device.external_id,
        )
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
