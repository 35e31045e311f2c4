"""Payloads of quarantine to ingest again: those that are good now are taken in, then out of quarantine."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import grpc
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cityfleet.telemetry.v1 import replay_pb2 as pb
from cityfleet.telemetry.v1.replay_pb2_grpc import ReplayServiceStub
from cli.errors import CommandError, ExitCode
from cli.settings import Settings
from runtime import runfile
from runtime.secrets import secret
from store.quarantine import IDS_MAX, Filter, Quarantine, Row

# Decoded and resolved long ago: the payload is a row of a table, and goes to the store itself.
_REFUSED_BY_STORE = "refused_by_store"
_FRAMES_MAX = 2_000
_REQUEST_BYTES = 2_000_000
# Of a frame beside its topic and payload, generously.
_FRAME_BYTES = 512
_CALL_S = 120.0
# A call that fails after others went well is tried again for so long: ingest may be starting again.
_PATIENCE_S = 60.0
_RETRY_S = 0.5
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED})


class Outcome(msgspec.Struct, frozen=True):
    """What one payload would become, or became: `readings` of them if `reason` is empty."""

    row: Row
    readings: int
    reason: str
    detail: str


class Replay:
    """Sends what a filter matches, in the order in which it came in; may be done again, also beside another one."""

    def __init__(self, quarantine: Quarantine, settings: Settings, address: str) -> None:
        """`address` is ingest's HOST:PORT, empty for the one that the settings lead to."""
        self._quarantine = quarantine
        self._address = address or _default_address(settings)
        self._max_bytes = settings.ingest.grpc.max_message_bytes
        self._metadata = (("authorization", f"Bearer {secret(settings.data_path, 'internal')}"),)
        self._channel = grpc.insecure_channel(self._address)
        self._stub = ReplayServiceStub(self._channel)
        self._has_answered = False

    def close(self) -> None:
        self._channel.close()

    async def run(self, wanted: Filter, total: int, *, validate_only: bool) -> AsyncIterator[Outcome]:
        """What each payload becomes. Unless `validate_only`, the good ones are stored and taken out of quarantine.

        Raises: CommandError if ingest does not answer; what was taken by then is out of quarantine.
        """
        taken: list[Row] = []
        with _progress() as progress:
            task = progress.add_task("looking at" if validate_only else "sending", total=total)
            try:
                async for page in self._quarantine.pages(wanted):
                    for group in _groups(page):
                        outcomes = await self._send(group, wanted, validate_only=validate_only)
                        progress.advance(task, len(group))
                        if not validate_only:
                            taken += [outcome.row for outcome in outcomes if not outcome.reason]
                        if len(taken) >= IDS_MAX:
                            await self._take_out(taken)
                        for outcome in outcomes:
                            yield outcome
            finally:
                if taken:
                    await self._take_out(taken)
                    with suppress(Exception):  # only space; the store gets it back at a merge too
                        await self._quarantine.free_removed()

    async def _take_out(self, taken: list[Row]) -> None:
        await self._quarantine.remove(taken)
        taken.clear()

    async def _send(self, group: Sequence[Row], wanted: Filter, *, validate_only: bool) -> list[Outcome]:
        """Rows that somebody else has taken out meanwhile are left out of the answer."""
        payloads = await self._quarantine.payloads(group, wanted)
        outcomes, rows, request = [], [], pb.ReplayRequest(validate_only=validate_only)
        refused: dict[UUID, tuple[str, bytes]] = {}
        for row in group:
            payload = payloads.get(row.id)
            if payload is None:
                continue
            if len(payload) + len(row.topic) + _FRAME_BYTES > self._max_bytes:
                text = f"more than ingest.grpc.max_message_bytes ({self._max_bytes})"
                outcomes.append(Outcome(row, 0, "payload_too_large", text))
                continue
            if row.reason == _REFUSED_BY_STORE:
                refused[row.id] = (row.detail, payload)
                continue
            rows.append(row)
            request.frames.add(
                topic=row.topic,
                device_id=row.device_id,
                transport=row.transport,
                encoding=row.encoding,
                reason=row.reason,
                received_ms=row.received_ms,
                payload=payload,
            )
        if rows:
            answer = await self._ask(request)
            for row, found in zip(rows, answer.outcomes, strict=True):
                outcomes.append(Outcome(row, found.readings, found.reason, found.detail))
        if refused:
            # Only the store can say whether it takes them now.
            still = {} if validate_only else await self._quarantine.insert_refused(refused)
            for row in group:
                if row.id in refused:
                    said = still.get(row.id)
                    detail = said or ("if the store takes it now" if validate_only else "")
                    outcomes.append(Outcome(row, int(said is None), _REFUSED_BY_STORE if said else "", detail))
        return outcomes

    async def _ask(self, request: pb.ReplayRequest) -> pb.ReplayResponse:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                answer: pb.ReplayResponse = await asyncio.to_thread(
                    self._stub.Replay, request, timeout=_CALL_S, metadata=self._metadata
                )
            except grpc.RpcError as exc:
                call: Any = exc  # what a stub raises is a grpc.Call too
                if not self._has_answered or call.code() not in _AWAY or time.monotonic() > deadline:
                    raise self._failure(call) from exc
                await asyncio.sleep(_RETRY_S)
            else:
                self._has_answered = True
                return answer

    def _failure(self, exc: grpc.Call) -> CommandError:
        code, text = exc.code(), exc.details()
        if code is grpc.StatusCode.UNAUTHENTICATED:
            remedy = "use the data folder of that ingest (--data): its secrets/internal is the key"
            return CommandError(f"ingest at {self._address} does not know us: {text}", ExitCode.PERMISSION, remedy)
        remedy = (
            "start it with `cityfleet ingest` or `cityfleet up`, and run this again; --ingest HOST:PORT names another"
        )
        if code is grpc.StatusCode.UNIMPLEMENTED:
            remedy = "it is of an older version: bring it up to date"
        return CommandError(f"ingest at {self._address} does not take payloads: {text} [{code.name}]", remedy=remedy)


def _default_address(settings: Settings) -> str:
    running = runfile.read(settings.data_path, "ingest")
    if running is not None and "grpc" in running.addresses:
        return running.addresses["grpc"]
    return f"{settings.ingest.grpc.host}:{settings.ingest.grpc.port}"


def _groups(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows of one request each; a payload larger than a request is alone in its own."""
    start, size = 0, 0
    for at, row in enumerate(rows):
        added = row.size_bytes + len(row.topic) + _FRAME_BYTES
        if at > start and (size + added > _REQUEST_BYTES or at - start == _FRAMES_MAX):
            yield rows[start:at]
            start, size = at, 0
        size += added
    if start < len(rows):
        yield rows[start:]


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
