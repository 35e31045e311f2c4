"""The baseline's gRPC server: grpc.aio, protobuf objects, clickhouse-connect's ordinary insert."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import clickhouse_connect
import grpc
import uvloop

from cityfleet.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

_COLUMNS = ["device_id", "metric", "ts_ms", "value", "received_ms"]
_MAX_ROWS = 50_000
_MAX_AGE_S = 0.5


class Service(telemetry_pb2_grpc.TelemetryServiceServicer):
    """Acknowledges what it has in memory, as one would write it in an hour."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self.is_full = asyncio.Event()

    async def Publish(
        self, requests: AsyncIterator[telemetry_pb2.PublishRequest], context: Any
    ) -> AsyncIterator[telemetry_pb2.PublishResponse]:
        async for request in requests:
            received_ms, batch, ts = time.time_ns() // 1_000_000, request.batch, request.batch.base_time_ms
            metric = batch.metrics[0]
            for index, delta, value in zip(batch.device_index, batch.time_delta_ms, batch.value, strict=True):
                ts += delta
                self.rows.append([batch.devices[index], metric, ts, value, received_ms])
            if len(self.rows) >= _MAX_ROWS:
                self.is_full.set()
            yield telemetry_pb2.PublishResponse(acked_sequence=request.sequence)


async def main(host: str, store_port: int) -> None:
    store = await clickhouse_connect.get_async_client(
        host=host, port=store_port, username="admin", password=os.environ["BENCH_ADMIN_KEY"]
    )
    await store.command(
        "CREATE TABLE IF NOT EXISTS cityfleet.bench_baseline (device_id LowCardinality(String), "
        "metric LowCardinality(String), ts_ms Int64, value Float64, received_ms Int64) "
        "ENGINE = MergeTree ORDER BY (device_id, metric, ts_ms)"
    )
    service, server = Service(), grpc.aio.server()
    telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    while True:
        try:
            async with asyncio.timeout(_MAX_AGE_S):
                await service.is_full.wait()
        except TimeoutError:
            pass
        service.is_full.clear()
        rows, service.rows = service.rows, []
        if rows:
            await store.insert("cityfleet.bench_baseline", rows, column_names=_COLUMNS)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
