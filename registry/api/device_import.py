"""ImportDevices: a stream of batches in, a verdict per row out."""

from collections import Counter
from collections.abc import AsyncIterator

from cityfleet.registry.v1 import device_pb2 as pb
from registry import metrics
from registry.api.call import Call
from registry.devices.importing import DryRun, Result, Row, import_rows
from registry.devices.model import DeviceSpec
from registry.errors import InvalidError, Violation

MAX_ROWS = 5000
_OUTCOMES = {
    "created": pb.ImportRowResult.OUTCOME_CREATED,
    "unchanged": pb.ImportRowResult.OUTCOME_UNCHANGED,
    "failed": pb.ImportRowResult.OUTCOME_FAILED,
}


async def serve(
    requests: AsyncIterator[pb.ImportDevicesRequest], call: Call
) -> AsyncIterator[pb.ImportDevicesResponse]:
    dry_run: DryRun | None = None
    is_first = True
    async for request in requests:
        if is_first:
            dry_run, is_first = DryRun(planned={}, external_ids={}) if request.validate_only else None, False
        if len(request.rows) > MAX_ROWS:
            text = f"at most {MAX_ROWS} rows a request, not {len(request.rows)}; send more requests"
            raise InvalidError([Violation("rows", "TOO_MANY_ROWS", text)])
        rows = [_row(row) for row in request.rows]
        if dry_run is None:
            results = await call.write(import_rows, rows, None)
        else:
            results = await call.read(import_rows, rows, dry_run)
        for outcome, count in Counter(result.outcome for result in results).items():
            metrics.import_rows.labels(f"dry_run_{outcome}" if dry_run else outcome).inc(count)
        yield pb.ImportDevicesResponse(results=[_result(result) for result in results])


def _row(given: pb.ImportRow) -> Row:
    device = given.device
    spec = DeviceSpec(
        device_id=device.name.removeprefix("devices/"),  # a name of another shape fails the check of the id
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
    return Row(given.row, spec, given.token)


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
