"""The devices of a scenario, created through the registry, and known to ingest and to the store before it begins."""

import asyncio
import time
from collections.abc import Iterator

from cityfleet.registry.v1 import device_pb2, device_pb2_grpc, device_type_pb2, device_type_pb2_grpc
from loadtest.platform import Deployment

METRIC = "water_level_m"
_WARD = "00070"


async def provision(
    roles: Deployment, gateways: int, gauges: int, alone: int = 0, prefix: str = "wl", seconds: float = 60.0
) -> dict[str, str]:
    """Gateways `gw-N`, gauges `{prefix}-N` behind them in turn, and after those gauges that speak for themselves.

    Returns: tokens by device id, when ingest and the store know the devices. Raises: TimeoutError, RuntimeError.
    """
    before = roles.metric("ingest", "cityfleet_ingest_index_devices")
    tokens = await asyncio.to_thread(_import, roles, list(_rows(gateways, gauges, alone, prefix)))
    deadline = time.monotonic() + seconds
    wanted = [[str(gauges + alone)]]
    sql = f"SELECT count() FROM ioc.devices WHERE startsWith(device_id, '{prefix}-')"
    while (
        roles.metric("ingest", "cityfleet_ingest_index_devices") < before + len(tokens)
        or await asyncio.to_thread(roles.query, sql) != wanted
    ):
        if time.monotonic() > deadline:
            raise TimeoutError("ingest or the store has not heard of all devices")
        await asyncio.sleep(0.05)
    return tokens


def _rows(gateways: int, gauges: int, alone: int, prefix: str) -> Iterator[device_pb2.Device]:
    for number in range(gateways):
        yield device_pb2.Device(name=f"devices/gw-{number}", device_type="fault-gateway", ward_code=_WARD)
    for number in range(gauges + alone):
        yield device_pb2.Device(
            name=f"devices/{prefix}-{number}",
            device_type="fault-gauge",
            gateway=f"gw-{number % gateways}" if number < gauges else "",
            ward_code=_WARD,
        )


def _import(roles: Deployment, devices: list[device_pb2.Device]) -> dict[str, str]:
    with roles.registry_channel() as channel:
        types = device_type_pb2_grpc.DeviceTypeServiceStub(channel)
        metrics = [device_type_pb2.DeviceTypeMetric(metric=METRIC, min_value=0, max_value=20)]
        for name, is_gateway in (("fault-gauge", False), ("fault-gateway", True)):
            kind = device_type_pb2.DeviceType(name=f"deviceTypes/{name}", is_gateway=is_gateway, metrics=metrics)
            types.ApplyDeviceType(device_type_pb2.ApplyDeviceTypeRequest(device_type=kind))
        rows = [device_pb2.ImportRow(row=number, device=device) for number, device in enumerate(devices)]
        requests = [device_pb2.ImportDevicesRequest(rows=rows[at : at + 2000]) for at in range(0, len(rows), 2000)]
        tokens = {}
        for answer in device_pb2_grpc.DeviceServiceStub(channel).ImportDevices(iter(requests)):
            for result in answer.results:
                name = devices[result.row].name.removeprefix("devices/")
                if result.outcome == device_pb2.ImportRowResult.OUTCOME_FAILED:
                    raise RuntimeError(f"{name}: {result.errors}")
                tokens[name] = result.token
    return tokens
