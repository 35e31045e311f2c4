"""The baseline's consumer: aiomqtt, json and clickhouse-connect's ordinary insert, as one would write it in an hour."""

import asyncio
import json
import os
import sys
import time
from typing import Any

import aiomqtt
import clickhouse_connect
import uvloop

from cityfleet.telemetry.v1 import telemetry_pb2

_COLUMNS = ["device_id", "metric", "ts_ms", "value", "received_ms"]
_MAX_ROWS = 50_000
_MAX_AGE_S = 0.5


def rows_of(topic: str, payload: bytes) -> list[list[Any]]:
    """SenML JSON by the json module, a ReadingBatch by the protobuf runtime."""
    received_ms = time.time_ns() // 1_000_000
    if not topic.endswith("/batch"):
        device = topic.split("/")[3]
        return [[device, r["n"], int(r["t"] * 1000), float(r["v"]), received_ms] for r in json.loads(payload)]
    batch = telemetry_pb2.ReadingBatch.FromString(payload)
    devices, metric, ts = batch.devices or [topic.split("/")[3]], batch.metrics[0], batch.base_time_ms
    indexes = batch.device_index or [0] * len(batch.value)
    return [[devices[index], metric, ts, value, received_ms] for index, value in zip(indexes, batch.value, strict=True)]


async def main(broker_port: int, host: str, store_port: int) -> None:
    store = await clickhouse_connect.get_async_client(
        host=host, port=store_port, username="admin", password=os.environ["BENCH_ADMIN_KEY"]
    )
    await store.command(
        "CREATE TABLE IF NOT EXISTS cityfleet.bench_baseline (device_id LowCardinality(String), "
        "metric LowCardinality(String), ts_ms Int64, value Float64, received_ms Int64) "
        "ENGINE = MergeTree ORDER BY (device_id, metric, ts_ms)"
    )
    rows: list[list[Any]] = []

    async def flush() -> None:
        nonlocal rows
        taken, rows = rows, []
        if taken:
            await store.insert("cityfleet.bench_baseline", taken, column_names=_COLUMNS)

    async def flush_by_age() -> None:
        while True:
            await asyncio.sleep(_MAX_AGE_S)
            await flush()

    async with aiomqtt.Client("127.0.0.1", broker_port, identifier="baseline") as client:
        await client.subscribe("cf/v1/#", qos=1)
        timer = asyncio.create_task(flush_by_age())
        print("ready", flush=True)
        async for message in client.messages:
            rows.extend(rows_of(str(message.topic), bytes(message.payload)))
            if len(rows) >= _MAX_ROWS:
                await flush()
        timer.cancel()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
