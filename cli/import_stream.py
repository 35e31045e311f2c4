"""The import as a stream: batches out, verdicts in; rows whose gateway comes later in the file are sent again."""

import threading
from collections.abc import Iterable, Iterator

from cityfleet.registry.v1 import device_pb2 as pb
from cli.import_file import RowError
from cli.registry_client import RegistryClient

BATCH_ROWS = 1000
MAX_BATCHES_IN_FLIGHT = 4
_WAITS_FOR_GATEWAY = "GATEWAY_UNKNOWN"


class Verdict:
    """What became of one row: `outcome` is created, unchanged or failed; `token` is a new device's, made for it."""

    __slots__ = ("device_id", "errors", "outcome", "token")

    def __init__(self, device_id: str, outcome: str, token: str = "", errors: Iterable[RowError] = ()) -> None:
        self.device_id = device_id
        self.outcome = outcome
        self.token = token
        self.errors = list(errors)


_OUTCOMES = {
    pb.ImportRowResult.OUTCOME_CREATED: "created",
    pb.ImportRowResult.OUTCOME_UNCHANGED: "unchanged",
    pb.ImportRowResult.OUTCOME_FAILED: "failed",
}


class ImportStream:
    """One import. The requests are made in a thread of gRPC, the answers are read in ours."""

    def __init__(self, rows: Iterator[pb.ImportRow | RowError], dry_run: bool) -> None:
        self._rows = rows
        self._dry_run = dry_run
        self._lock = threading.Condition()
        self._in_flight: dict[int, pb.ImportRow] = {}
        self._batches = 0
        self._late: list[pb.ImportRow] = []
        self._refused: list[RowError] = []
        self._is_last_round = False
        self._over = False
        self._failure: Exception | None = None

    def run(self, client: RegistryClient) -> Iterator[Verdict]:
        """Verdicts as they come. Raises: grpc.RpcError, and whatever reading the rows raises."""
        try:
            for response in client.devices.ImportDevices(self._requests()):
                verdicts = [self._verdict(result) for result in response.results]
                yield from (verdict for verdict in verdicts if verdict is not None)
                with self._lock:
                    self._batches -= 1
                    self._lock.notify_all()
                yield from self._refusals()
        finally:
            with self._lock:
                self._over = True
                self._lock.notify_all()
        yield from self._refusals()
        if self._failure is not None:
            raise self._failure

    def _requests(self) -> Iterator[pb.ImportDevicesRequest]:
        try:
            for batch in _batched(self._accepted(self._rows)):
                if not self._may_send(batch):
                    return
                yield pb.ImportDevicesRequest(rows=batch, validate_only=self._dry_run)
            with self._lock:
                self._lock.wait_for(lambda: self._batches == 0 or self._over)
                self._is_last_round = True
            for batch in _batched(iter(self._late)):
                if not self._may_send(batch):
                    return
                yield pb.ImportDevicesRequest(rows=batch, validate_only=self._dry_run)
        except Exception as exc:  # in gRPC's thread it would only be logged
            self._failure = exc

    def _accepted(self, rows: Iterator[pb.ImportRow | RowError]) -> Iterator[pb.ImportRow]:
        for row in rows:
            if isinstance(row, RowError):
                with self._lock:
                    self._refused.append(row)
            else:
                yield row

    def _may_send(self, batch: list[pb.ImportRow]) -> bool:
        with self._lock:
            self._lock.wait_for(lambda: self._batches < MAX_BATCHES_IN_FLIGHT or self._over)
            self._batches += 1
            self._in_flight.update((row.row, row) for row in batch)
            return not self._over

    def _verdict(self, result: pb.ImportRowResult) -> Verdict | None:
        sent = self._in_flight.pop(result.row)
        if not self._is_last_round and [error.reason for error in result.errors] == [_WAITS_FOR_GATEWAY]:
            self._late.append(sent)
            return None
        device_id = sent.device.name.removeprefix("devices/")
        errors = [
            RowError(result.row, device_id, error.field, error.reason, error.description) for error in result.errors
        ]
        return Verdict(device_id, _OUTCOMES[result.outcome], result.token, errors)

    def _refusals(self) -> Iterator[Verdict]:
        with self._lock:
            refused, self._refused = self._refused, []
        yield from (Verdict(error.device_id, "failed", "", [error]) for error in refused)


def _batched(rows: Iterator[pb.ImportRow]) -> Iterator[list[pb.ImportRow]]:
    batch: list[pb.ImportRow] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
