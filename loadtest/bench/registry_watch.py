"""The device index as an ingest node fills it: how long a snapshot takes, and when a change has arrived."""

import asyncio
import time

from cityfleet.registry.v1 import device_index_pb2 as pb
from cityfleet.registry.v1 import device_pb2, device_pb2_grpc
from ext.telemetry.index import DeviceIndex
from ext.telemetry.index_feed import DeviceStream
from loadtest.bench.registry_stage import RegistryStage
from loadtest.fleet.places import wards
from loadtest.fleet.registered import RegisteredCity

_METHOD = f"/{pb.DESCRIPTOR.services_by_name['DeviceIndexService'].full_name}/WatchDeviceIndex"
# As ingest's feed does it: so many devices, then the loop has its turn.
_SLICE = 500
_LIMIT_S = 60.0


class Node:
    """An ingest node's copy of the registry, kept by a task of its own while the node is entered."""

    def __init__(self, stage: RegistryStage) -> None:
        self._stage = stage
        self._index = DeviceIndex()
        self._task: asyncio.Task[None] | None = None
        self._arrived: asyncio.Event = asyncio.Event()
        self._waits_for = b""
        self.snapshot_s = 0.0
        self.is_filled = asyncio.Event()

    async def __aenter__(self) -> "Node":
        self._task = asyncio.create_task(self._watch())
        filled = asyncio.create_task(self.is_filled.wait())
        await asyncio.wait((self._task, filled), return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            filled.cancel()
            self._task.result()
            raise RuntimeError("the registry ended the watch")
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))

    def __len__(self) -> int:
        return len(self._index)

    async def time_change(self, city: RegisteredCity, number: int) -> float:
        """Seconds from asking for a change of a device to the moment that the index has it."""
        device_id = city.device_id(number)
        self._waits_for, self._arrived = device_id.encode(), asyncio.Event()
        ward = wards()[number % len(wards())].ward_code
        request = device_pb2.UpdateDeviceRequest(
            device=device_pb2.Device(
                name=f"devices/{device_id}", ward_code=ward, display_name=f"Change {time.time_ns()}"
            ),
        )
        async with self._stage.channel() as channel:
            await channel.channel_ready()
            devices = device_pb2_grpc.DeviceServiceStub(channel)
            started = time.perf_counter()
            await devices.UpdateDevice(request, metadata=self._stage.metadata)
            await asyncio.wait_for(self._arrived.wait(), _LIMIT_S)
            return time.perf_counter() - started

    async def _watch(self) -> None:
        started = time.monotonic()
        async with self._stage.channel() as channel:
            watch = channel.unary_stream(_METHOD, pb.WatchDeviceIndexRequest.SerializeToString)
            async for data in watch(pb.WatchDeviceIndexRequest(), metadata=self._stage.ingest_metadata):
                devices = DeviceStream(data)
                response = pb.WatchDeviceIndexResponse.FromString(devices.rest)
                if response.is_first_of_snapshot:
                    self._index.begin_snapshot()
                for metric in response.metrics:
                    self._index.put_metric(metric.metric_num, metric.metric, metric.unit)
                for kind in response.types:
                    self._index.put_type(kind.type_num, kind.device_type, kind.is_gateway, kind.default_encoding, [])
                while len(devices):
                    devices.apply(self._index, _SLICE)
                    await asyncio.sleep(0)
                if devices.refused:
                    raise RuntimeError(f"{devices.refused} devices were refused: {devices.problem}")
                if response.phase == pb.WatchDeviceIndexResponse.PHASE_SNAPSHOT_COMPLETE:
                    self._index.end_snapshot()
                    self.snapshot_s = time.monotonic() - started
                    self.is_filled.set()
                if self._waits_for and self._waits_for in data:
                    self._arrived.set()
