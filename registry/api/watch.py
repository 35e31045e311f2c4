"""WatchDevices: the streams of the watchers (registry/devices/watching.py has the rules of one)."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator

from cityfleet.registry.v1 import device_pb2 as pb
from registry import metrics
from registry.api.call import Call
from registry.api.device_message import shown
from registry.devices.watching import Step, Watch
from registry.errors import StoppingError, TooManyError
from registry.state.described import Described

# Each reads the database after each change.
MAX_WATCHERS = 100
# Who falls silent is told within this, although nothing is written.
TICK_S = 5.0
BOOKMARK_S = 10.0
# Changes are gathered for so long, so that many small ones are one message.
GATHER_S = 0.1
# Clients take 4 MiB without being told to.
MAX_BYTES = 1 << 20
Response = pb.WatchDevicesResponse


class Watchers:
    """Those of one registry process."""

    def __init__(self) -> None:
        self._count = 0

    async def serve(self, request: pb.WatchDevicesRequest, call: Call) -> AsyncIterator[Response]:
        """A snapshot unless it goes on from a token, then changes without end.

        Raises: InvalidError, ResumeTokenError, TooManyError; StoppingError when the registry leaves.
        """
        if self._count >= MAX_WATCHERS:
            text = f"{MAX_WATCHERS} watches are open at this registry; end some, or come back later"
            raise TooManyError(text, reason="TOO_MANY_WATCHES")
        self._count += 1
        metrics.device_watchers.inc()
        try:
            watch = Watch(request.filter, with_documents=request.view == pb.DEVICE_VIEW_FULL)
            async for response in _stream(watch, request.resume_token, call):
                yield response
        finally:
            metrics.device_watchers.dec()
            self._count -= 1


async def _stream(watch: Watch, resume_token: str, call: Call) -> AsyncIterator[Response]:
    if resume_token:
        await call.read(watch.resume, resume_token)
    else:
        await call.read(watch.begin)
        while part := await call.read(watch.snapshot_part):
            _check_open(call)
            for response in _packed(Response.KIND_SNAPSHOT, part):
                yield response
        yield Response(kind=Response.KIND_SNAPSHOT_COMPLETE, resume_token=watch.token())
    # Who comes back hears at once whether he has missed something.
    bookmark_at = time.monotonic() + (0.0 if resume_token else BOOKMARK_S)
    while True:
        _check_open(call)
        step = await call.read(watch.step)
        for response in _told(step):
            # Without a token it is part of a pass that has to be done again if it breaks off: say when it is over.
            bookmark_at = time.monotonic() + (BOOKMARK_S if response.resume_token else 0.0)
            yield response
        if not step.is_last:
            continue
        if time.monotonic() >= bookmark_at:
            bookmark_at = time.monotonic() + BOOKMARK_S
            yield Response(kind=Response.KIND_BOOKMARK, resume_token=step.resume_token)
        if await call.bell.wait(watch.revision, TICK_S):
            await asyncio.sleep(GATHER_S)


def _check_open(call: Call) -> None:
    if call.bell.is_closed:
        raise StoppingError("the registry is stopping; come back with the resume token")


def _told(step: Step) -> list[Response]:
    """The responses of a step, the last of which has its token; none if nothing of interest happened."""
    found = list(_packed(Response.KIND_CHANGED, step.changed))
    if step.removed:
        gone = [pb.Device(name=f"devices/{device_id}") for device_id in step.removed]
        found.append(Response(kind=Response.KIND_REMOVED, devices=gone))
    if found:
        found[-1].resume_token = step.resume_token
    return found


def _packed(kind: Response.Kind.ValueType, devices: Iterable[Described]) -> Iterator[Response]:
    response, size = Response(kind=kind), 0
    for described in devices:
        device = shown(described)
        size += device.ByteSize()
        if size > MAX_BYTES and response.devices:
            yield response
            response, size = Response(kind=kind), device.ByteSize()
        response.devices.append(device)
    if response.devices:
        yield response
