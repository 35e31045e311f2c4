"""DeviceStateService: ingest nodes tell what devices are like now. And how that looks in a Device."""

from collections.abc import AsyncIterator

from cityfleet.registry.v1 import device_pb2, device_state_pb2_grpc
from cityfleet.registry.v1 import device_state_pb2 as pb
from registry import metrics
from registry.api.call import Call, called
from registry.api.names import timestamp
from registry.db.engine import Database
from registry.db.states import Known
from registry.errors import InvalidError, Violation
from registry.state.model import Connection, Document, Report, judge
from registry.state.reports import NotAnObjectError, read_document, take_reports

MAX_REPORTS = 20_000
CHUNK_REPORTS = 5000
MAX_NAME = 63
# The last that a Timestamp can say.
MAX_TIME_MS = 253_402_300_799_999


class DeviceStateServicer(device_state_pb2_grpc.DeviceStateServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    @called
    async def ReportDeviceStates(
        self, requests: AsyncIterator[pb.ReportDeviceStatesRequest], call: Call
    ) -> AsyncIterator[pb.ReportDeviceStatesResponse]:
        """Each answer comes when its request is committed; what was not answered may be sent again."""
        async for request in requests:
            yield await self._take(request)

    async def _take(self, request: pb.ReportDeviceStatesRequest) -> pb.ReportDeviceStatesResponse:
        _check(request)
        refused = 0
        # The last of a device counts: the statements take each once.
        found: dict[int, Report] = {}
        for given in request.reports:
            document = None
            if given.document:
                try:
                    document = read_document(given.document, given.document_ms)
                except NotAnObjectError:
                    refused += 1
            found[given.device_num] = _report(given, document)
        reports = list(found.values())
        for at in range(0, max(1, len(reports)), CHUNK_REPORTS):
            chunk = reports[at : at + CHUNK_REPORTS]
            self._database.grew(await self._database.write(take_reports, request.node, str(request.run), chunk))
        metrics.state_reports.inc(len(reports))
        metrics.state_documents_refused.inc(refused)
        return pb.ReportDeviceStatesResponse(accepted=len(reports), refused_documents=refused)


def fill(device: device_pb2.Device, known: Known, now_ms: int, document: tuple[str, int] | None = None) -> None:
    """Set what ingest reported and what follows from it.

    Args: document: as of registry.db.states.documents_of; None: the view has none.
    """
    found = judge(known.reported, known.interval_s, known.gateway, now_ms)
    device.connectivity = device_pb2.Connectivity.ValueType(found.connectivity)
    device.health = device_pb2.Health.ValueType(found.health)
    device.health_reasons.extend(found.reasons)
    state = known.reported
    if state is None:
        return
    reported = device.reported
    reported.is_connected = state.is_connected
    reported.disconnect_reason = state.disconnect_reason
    reported.firmware_version = state.firmware_version
    reported.config_version = state.config_version
    reported.hardware_revision = state.hardware_revision
    for name, time_ms in (
        ("connect_time", state.connect_time_ms),
        ("disconnect_time", state.disconnect_time_ms),
        ("last_seen_time", state.last_seen_ms),
        ("last_reading_time", state.last_reading_ms),
    ):
        if time_ms is not None:
            getattr(reported, name).CopyFrom(timestamp(time_ms))
    if document is not None:
        reported.document = document[0]
        reported.document_time.CopyFrom(timestamp(document[1]))


def _check(request: pb.ReportDeviceStatesRequest) -> None:
    found = []
    if not 1 <= len(request.node) <= MAX_NAME:
        found.append(Violation("node", "NODE_INVALID", f"1 to {MAX_NAME} characters"))
    if len(request.reports) > MAX_REPORTS:
        found.append(Violation("reports", "TOO_MANY_REPORTS", f"at most {MAX_REPORTS} a request"))
    for at, report in enumerate(request.reports):
        times = (
            report.last_seen_ms,
            report.last_reading_ms,
            report.connection_ms,
            report.document_ms,
            report.opened_ms,
        )
        if not all(0 <= time_ms <= MAX_TIME_MS for time_ms in times):
            found.append(Violation(f"reports[{at}]", "TIME_INVALID", "UTC milliseconds until the year 9999"))
            break
        if report.connection not in (0, 1, 2):
            found.append(Violation(f"reports[{at}].connection", "CONNECTION_UNKNOWN", "of another version of ours"))
            break
    if found:
        raise InvalidError(found)


def _report(given: pb.DeviceStateReport, document: Document | None) -> Report:
    return Report(
        device_num=given.device_num,
        last_seen_ms=given.last_seen_ms,
        last_reading_ms=given.last_reading_ms,
        connection=Connection(given.connection),
        connection_ms=given.connection_ms,
        disconnect_reason=given.disconnect_reason[:MAX_NAME].replace("\x00", ""),
        opened_ms=given.opened_ms,
        document=document,
    )
