"""The import as a stream: batches out, verdicts in; rows whose gateway comes later in the file are sent again."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import msgspec

from cityfleet.registry.v1 import device_pb2 as pb
from cli.import_file import FileRow, FileRows, RowError
from cli.import_lines import Position
from cli.import_state import LateRows
from cli.registry_client import RegistryClient

BATCH_ROWS = 5000
# A registry takes messages of 16 MB; a row has less than one.
BATCH_BYTES = 4 << 20
MAX_BATCHES_IN_FLIGHT = 4
_WAITS_FOR_GATEWAY = "GATEWAY_UNKNOWN"


class Verdict(msgspec.Struct, frozen=True):
    """What became of one row: `outcome` is created, updated, unchanged or failed; `token` is one made for it."""

    device_id: str
    outcome: str
    token: str = ""
    errors: tuple[RowError, ...] = ()


class Options(msgspec.Struct, frozen=True):
    """`token_of` makes the token of a new device that brings none; without it such a device is refused."""

    dry_run: bool = False
    update_existing: bool = False
    token_of: Callable[[str], str] | None = None


class Answered(msgspec.Struct, frozen=True):
    """A batch whose rows are settled: durable, or refused, or put off until the others are through.

    `position` or, in the last round, `late_done` is where an import that stops after it goes on. `operation`
    is the import's name in the registry; in the first.
    """

    verdicts: list[Verdict]
    position: Position | None = None
    late_done: int = 0
    operation: str = ""


class _Batch(msgspec.Struct):
    request: pb.ImportDevicesRequest
    refused: list[RowError] = []
    masks: dict[tuple[str, ...], int] = {}
    size_bytes: int = 0
    position: Position | None = None
    late_done: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.request.rows) + len(self.refused) >= BATCH_ROWS or self.size_bytes >= BATCH_BYTES


_OUTCOMES = {
    pb.ImportRowResult.OUTCOME_CREATED: "created",
    pb.ImportRowResult.OUTCOME_UPDATED: "updated",
    pb.ImportRowResult.OUTCOME_UNCHANGED: "unchanged",
    pb.ImportRowResult.OUTCOME_FAILED: "failed",
}


class ImportStream:
    """One import. The requests are made in a thread of gRPC, the answers are read in ours."""

    def __init__(self, rows: FileRows, late: LateRows, options: Options, late_done: int | None = None) -> None:
        """Args: late_done: an earlier run has sent the whole file, and the late rows up to this byte."""
        self._rows = rows
        self._late = late
        self._options = options
        self._late_done = late_done
        self._lock = threading.Condition()
        self._in_flight: deque[_Batch] = deque()
        self._over = False
        self._failure: Exception | None = None

    def run(self, client: RegistryClient) -> Iterator[Answered]:
        """Batches as they are answered, in order. Raises: grpc.RpcError, and whatever reading the rows raises."""
        try:
            for response in client.devices.ImportDevices(self._requests()):
                batch = self._in_flight[0]
                verdicts = [Verdict(error.resource_id, "failed", "", (error,)) for error in batch.refused]
                for row, result in zip(batch.request.rows, response.results, strict=True):
                    verdict = self._verdict(row, result, batch)
                    if verdict is not None:
                        verdicts.append(verdict)
                yield Answered(verdicts, batch.position, batch.late_done, response.operation)
                with self._lock:
                    self._in_flight.popleft()
                    self._lock.notify_all()
        finally:
            with self._lock:
                self._over = True
                self._lock.notify_all()
        if self._failure is not None:
            raise self._failure

    def _requests(self) -> Iterator[pb.ImportDevicesRequest]:
        try:
            batches = self._batches() if self._late_done is None else iter(())
            for batch in batches:
                if not self._may_send(batch):
                    return
                yield batch.request
            with self._lock:
                self._lock.wait_for(lambda: not self._in_flight or self._over)
            for batch in self._late_batches(self._late_done or 0):
                if not self._may_send(batch):
                    return
                yield batch.request
        except Exception as exc:  # in gRPC's thread it would only be logged
            self._failure = exc

    def _batches(self) -> Iterator[_Batch]:
        batch = self._new_batch()
        for row in self._rows:
            if isinstance(row, RowError):
                batch.refused.append(row)
            else:
                self._add(batch, row)
            if batch.is_full:
                yield self._in_file(batch)
                batch = self._new_batch()
        if batch.request.rows or batch.refused:
            yield self._in_file(batch)

    def _in_file(self, batch: _Batch) -> _Batch:
        """A batch of the first round: whoever waits for a gateway comes again in the last."""
        batch.position = self._rows.position()
        batch.request.repeats_late = True
        return batch

    def _late_batches(self, start: int) -> Iterator[_Batch]:
        batch = self._new_batch()
        for late, at in self._late.read(start):
            (row,) = late.rows
            row.field_mask = _mask(batch, tuple(late.field_masks[0].paths))
            batch.request.rows.append(row)
            batch.size_bytes += row.ByteSize()
            batch.late_done = at
            if batch.is_full:
                yield batch
                batch = self._new_batch()
        if batch.request.rows:
            yield batch

    def _new_batch(self) -> _Batch:
        request = pb.ImportDevicesRequest(
            validate_only=self._options.dry_run,
            update_existing=self._options.update_existing,
            own_tokens_only=self._options.token_of is None and not self._options.dry_run,
        )
        return _Batch(request)

    def _add(self, batch: _Batch, row: FileRow) -> None:
        is_made = not row.token and self._options.token_of is not None
        token = self._options.token_of(row.resource_id) if is_made and self._options.token_of else row.token
        try:
            sent = pb.ImportRow(row=row.row, device=pb.Device(**row.resource), token=token)
        except (UnicodeEncodeError, ValueError):
            shown = row.resource_id.encode("ascii", "replace").decode()
            batch.refused.append(RowError(row.row, shown, "", "NOT_UTF8", "not UTF-8 text; convert the file to UTF-8"))
            return
        sent.field_mask = _mask(batch, row.fields)
        sent.is_token_for_new = is_made
        batch.request.rows.append(sent)
        batch.size_bytes += sent.ByteSize()

    def _may_send(self, batch: _Batch) -> bool:
        with self._lock:
            self._lock.wait_for(lambda: len(self._in_flight) < MAX_BATCHES_IN_FLIGHT or self._over)
            self._in_flight.append(batch)
            return not self._over

    def _verdict(self, row: pb.ImportRow, result: pb.ImportRowResult, batch: _Batch) -> Verdict | None:
        """None: it is put off."""
        reasons = [error.reason for error in result.errors]
        if batch.position is not None and _WAITS_FOR_GATEWAY in reasons:
            mask = batch.request.field_masks[row.field_mask - 1]
            self._late.add(pb.ImportDevicesRequest(rows=[row], field_masks=[mask]))
            return None
        device_id = row.device.name.removeprefix("devices/")
        return Verdict(device_id, _OUTCOMES[result.outcome], result.token, _errors(result, device_id))


def _mask(batch: _Batch, fields: tuple[str, ...]) -> int:
    mask = batch.masks.get(fields)
    if mask is None:
        batch.request.field_masks.add(paths=fields)
        mask = batch.masks[fields] = len(batch.masks) + 1
    return mask


def _errors(result: pb.ImportRowResult, device_id: str) -> tuple[RowError, ...]:
    found: Iterable[pb.ImportRowError] = result.errors
    return tuple(RowError(result.row, device_id, error.field, error.reason, error.description) for error in found)
