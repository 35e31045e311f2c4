"""DeviceIndexService: the feed of the ingest nodes' device index.

A watcher holds one message in memory and nothing else: what it has not sent yet it reads from the database by
revision, so a slow watcher costs nothing and a watcher that falls behind gets each row's newest state only.
"""

import time
from collections.abc import AsyncIterator, Iterable

import msgspec
from sqlalchemy import Connection

from cityfleet.registry.v1 import device_index_pb2 as pb
from cityfleet.registry.v1 import device_index_pb2_grpc
from registry import metrics
from registry.api.call import Call, called
from registry.api.decoder import decoder_message
from registry.api.quality import tests_message
from registry.db import catalogue, index, operators, sequence
from registry.db.engine import Database
from registry.db.index import IndexRow
from registry.devices.model import DeviceType, Metric, Operator, State
from registry.errors import ResumeTokenError, StoppingError

CHUNK_DEVICES = 5000
BOOKMARK_S = 10.0
Response = pb.WatchDeviceIndexResponse


class Catalogue(msgspec.Struct, frozen=True):
    """Metrics, types and operators as of `revision`; `numbers` has every metric's number, changed or not."""

    registry_id: str
    revision: int
    metrics: list[Metric]
    types: list[DeviceType]
    operators: list[Operator]
    numbers: dict[str, int]


class DeviceIndexServicer(device_index_pb2_grpc.DeviceIndexServiceServicer):
    def __init__(self, database: Database, bookmark_s: float = BOOKMARK_S) -> None:
        self._database = database
        self._bookmark_s = bookmark_s

    @called
    async def WatchDeviceIndex(self, request: pb.WatchDeviceIndexRequest, call: Call) -> AsyncIterator[Response]:
        metrics.index_watchers.inc()
        try:
            async for response in self._watch(request.resume_token):
                yield response
        finally:
            metrics.index_watchers.dec()

    async def _watch(self, resume_token: str) -> AsyncIterator[Response]:
        head = await self._database.read(sequence.head)
        if resume_token:
            revision = _resumed(resume_token, head)
            if revision > head.revision:  # the database was put back to an older state
                raise ResumeTokenError("the resume token is from the future; come back without it")
        else:
            revision = head.revision
            async for response in self._snapshot(head):
                yield response
        # Who comes back hears at once whether he has missed something.
        bookmark_at = time.monotonic() + (0.0 if resume_token else self._bookmark_s)
        while True:
            rung = await self._database.bell.wait(revision, max(0.0, bookmark_at - time.monotonic()))
            if self._database.bell.is_closed:
                raise StoppingError("the registry is stopping; come back with the resume token")
            # Also without the bell: another process may have written to the same database.
            async for response in self._changes(revision):
                revision = _resumed(response.resume_token, head)
                bookmark_at = time.monotonic() + self._bookmark_s
                yield response
            if not rung and time.monotonic() >= bookmark_at:
                bookmark_at = time.monotonic() + self._bookmark_s
                yield Response(phase=Response.PHASE_BOOKMARK, resume_token=_token(head.registry_id, revision))

    async def _snapshot(self, head: sequence.Head) -> AsyncIterator[Response]:
        """Everything, as of `head` or newer; what changes meanwhile comes again as a change after `head`."""
        first = await self._database.read(_catalogue, 0)
        yield Response(
            phase=Response.PHASE_SNAPSHOT,
            is_first_of_snapshot=True,
            metrics=[_metric(metric) for metric in first.metrics],
            types=[_type(kind, first.numbers) for kind in first.types],
            operators=[_operator(operator) for operator in first.operators if operator.is_active],
        )
        last_num = 0
        while (part := await self._database.read(_snapshot_part, last_num)).devices:
            last_num = part.devices[-1].device_num
            metrics.index_rows.labels("snapshot").inc(len(part.devices))
            yield part
        yield Response(phase=Response.PHASE_SNAPSHOT_COMPLETE, resume_token=_token(head.registry_id, head.revision))

    async def _changes(self, revision: int) -> AsyncIterator[Response]:
        """Everything after `revision`, in pieces; each has all metrics, types and operators changed since it, because
        a device may be of a type that changed again later. They may come twice, which is harmless."""
        while True:
            # Read together, so that a device never comes before its type.
            changed, response, last_revision = await self._database.read(_changes, revision)
            if changed.revision <= revision:
                return
            is_last = len(response.devices) < CHUNK_DEVICES
            revision = changed.revision if is_last else last_revision
            metrics.index_rows.labels("changes").inc(len(response.devices))
            response.metrics.extend(_metric(metric) for metric in changed.metrics)
            response.types.extend(_type(kind, changed.numbers) for kind in changed.types)
            response.operators.extend(_operator(operator) for operator in changed.operators)
            response.resume_token = _token(changed.registry_id, revision)
            yield response
            if is_last:
                return


def _catalogue(connection: Connection, revision: int) -> Catalogue:
    head = sequence.head(connection)
    return Catalogue(
        head.registry_id,
        head.revision,
        catalogue.metrics_since(connection, revision),
        catalogue.types_since(connection, revision),
        operators.operators_since(connection, revision),
        catalogue.metric_nums(connection),
    )


def _snapshot_part(connection: Connection, after_num: int) -> Response:
    response = Response(phase=Response.PHASE_SNAPSHOT)
    _add_devices(response, index.rows_by_num(connection, after_num, CHUNK_DEVICES))
    return response


def _changes(connection: Connection, revision: int) -> tuple[Catalogue, Response, int]:
    """What has changed after `revision`; the response has the devices so far, the number is the last one's revision."""
    rows = index.rows_since(connection, revision, CHUNK_DEVICES)
    response = Response(phase=Response.PHASE_CHANGES)
    _add_devices(response, rows)
    return _catalogue(connection, revision), response, rows[-1].revision if rows else revision


def _token(registry_id: str, revision: int) -> str:
    return f"{registry_id}:{revision}"


def _resumed(token: str, head: sequence.Head) -> int:
    """The revision of a resume token. Raises: ResumeTokenError if it is not one of this registry."""
    registry_id, _, revision = token.partition(":")
    if registry_id != head.registry_id or not revision.isdecimal():
        raise ResumeTokenError("the resume token is from another registry; come back without it")
    return int(revision)


def _metric(metric: Metric) -> pb.IndexMetric:
    return pb.IndexMetric(metric_num=metric.metric_num, metric=metric.metric_id, unit=metric.unit)


def _type(kind: DeviceType, numbers: dict[str, int]) -> pb.IndexType:
    return pb.IndexType(
        type_num=kind.type_num,
        device_type=kind.spec.type_id,
        is_gateway=kind.spec.is_gateway,
        default_encoding=kind.spec.default_encoding,
        metrics=[
            pb.IndexTypeMetric(
                metric_num=numbers[entry.metric],
                min_value=entry.min_value,
                max_value=entry.max_value,
                source=entry.source,
                source_unit=entry.source_unit,
                tests=tests_message(entry.tests),
            )
            for entry in kind.spec.metrics
        ],
        decoder=decoder_message(kind.spec.decoder),
    )


def _add_devices(response: Response, rows: Iterable[IndexRow]) -> None:
    # A million of them in a snapshot: made in place, and only what is set, takes half the time.
    add, last_num = response.devices.add, 0
    for device_num, device_id, type_num, ward_code, gateway_num, state, external_id, _, token_sha256 in rows:
        if device_num != last_num:
            last_num = device_num
            device = add(
                device_num=device_num, device_id=device_id, type_num=type_num, ward_code=ward_code,
                is_active=state == State.ACTIVE,
            )  # fmt: skip
            if gateway_num:
                device.gateway_num = gateway_num
            if external_id:
                device.external_id = external_id
        if token_sha256 is not None:
            device.token_sha256.append(token_sha256)


def _operator(operator: Operator) -> pb.IndexOperator:
    spec = operator.spec
    return pb.IndexOperator(
        operator=spec.operator_id,
        token_sha256=operator.token_sha256 if operator.is_active else b"",
        subscribe_filters=spec.subscribe_filters,
        publish_filters=spec.publish_filters,
        is_active=operator.is_active,
    )
