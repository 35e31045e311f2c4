"""What the devices of the city are like, as ingest would tell it after some weeks: most well, some late, some gone."""

import json
import time
from collections.abc import Iterator

from cityfleet.registry.v1 import device_state_pb2 as pb
from cityfleet.registry.v1 import device_state_pb2_grpc
from loadtest.bench.registry_stage import RegistryStage
from loadtest.fleet.noise import spread, unit

REPORTS = 20_000
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
# Every so many devices one has told its firmware: a document is written one by one.
_TOLD = 50
_FIRMWARE = ("2.4.1",) + ("2.5.0",) * 6 + ("2.6.0",) * 3


async def put_states(stage: RegistryStage, devices: int) -> float:
    """Report the states of the devices with the numbers 1 to `devices`; returns reports a second."""
    now_ms, started = time.time_ns() // 1_000_000, time.monotonic()
    async with stage.channel() as channel:
        reports = device_state_pb2_grpc.DeviceStateServiceStub(channel)
        requests = (
            pb.ReportDeviceStatesRequest(node="bench", run=1, reports=_reports(first, devices, now_ms))
            for first in range(1, devices + 1, REPORTS)
        )
        call = reports.ReportDeviceStates(requests, metadata=stage.ingest_metadata)
        accepted = sum([answer.accepted async for answer in call])
    return float(accepted / (time.monotonic() - started))


def _reports(first: int, devices: int, now_ms: int) -> Iterator[pb.DeviceStateReport]:
    for number in range(first, min(first + REPORTS, devices + 1)):
        kind, age = unit(7, number, 1), spread(7, number, 2, 0.0, 1.0)
        if kind < 0.01:
            continue  # never heard
        report = pb.DeviceStateReport(device_num=number)
        if kind < 0.03:  # offline
            report.last_seen_ms = report.last_reading_ms = now_ms - 6 * _HOUR_MS - int(age * 30 * _DAY_MS)
            report.connection = pb.DeviceStateReport.CONNECTION_CLOSED
            report.connection_ms, report.disconnect_reason = report.last_seen_ms, "keepalive_timeout"
        elif kind < 0.05:  # there, and measures nothing any more
            report.last_seen_ms = now_ms
            report.last_reading_ms = now_ms - 6 * _HOUR_MS - int(age * _DAY_MS)
        elif kind < 0.06:  # late
            report.last_seen_ms = report.last_reading_ms = now_ms - 2 * _HOUR_MS - int(age * _HOUR_MS)
        else:
            report.last_seen_ms = report.last_reading_ms = now_ms - int(age * 0.8 * _HOUR_MS)
        if kind >= 0.5:
            report.connection, report.connection_ms = pb.DeviceStateReport.CONNECTION_OPEN, report.last_seen_ms
        if number % _TOLD == 0:
            version = _FIRMWARE[number // _TOLD % len(_FIRMWARE)]
            report.document = json.dumps({"firmware_version": version, "config_version": 3}).encode()
            report.document_ms = report.last_seen_ms
        yield report
