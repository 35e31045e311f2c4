"""Redelivered readings are seen once: whenever, however and by whoever they come again, in every table and view."""

import asyncio
import itertools
import json
import os
import signal
import time
from collections.abc import Callable

import aiomqtt
import grpc
import pytest

from cityfleet.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc
from loadtest.platform import Platform, running_platform
from tests.support.provision import Provisioner

DEVICE, GATEWAY = "wl-again-01", "gw-again-01"
# Three months of two years, so three partitions; the last is the newest.
TIMES_MS = (1_672_531_200_000, 1_700_000_000_000, 1_700_000_001_250, 1_711_929_599_999)
NUMBERS = {"water_level_m": (1.5, 2.5, 3.5, 4.5), "rain_mm": (0.25, 0.5, 0.75, 1.0)}
TEXTS = ("above the gauge", "ice", "ice", "open water")
STORED = len(TIMES_MS) * 3
TABLES = ("readings", "readings_text", "latest")
# What each view of readings shows of the device, as one row. `ioc.devices` has no readings.
VIEWS = {
    "readings": f"SELECT count(), sum(value), uniqExact(ts, metric) FROM ioc.readings WHERE device_id = '{DEVICE}'",
    "readings_of": f"SELECT count(), sum(value), uniqExact(ts, metric) FROM ioc.readings_of(device_id = '{DEVICE}')",
    "series_of": "SELECT count(), sum(value), uniqExact(ts) "
    f"FROM ioc.series_of(device_id = '{DEVICE}', metric = 'water_level_m')",
    "readings_text": f"SELECT count(), uniqExact(ts), max(value) FROM ioc.readings_text WHERE device_id = '{DEVICE}'",
    "latest": "SELECT count(), sum(value), max(toUnixTimestamp64Milli(ts)) FROM ioc.latest "
    f"WHERE device_id = '{DEVICE}'",
}
# These read the rows behind `ioc.latest` as it does, FINAL: a copy changes them no more than it.
NEWEST = {"silent_devices", "devices_to_service"}
SEEN = {
    "readings": [["8", "14.5", "8"]],
    "readings_of": [["8", "14.5", "8"]],
    "series_of": [["4", "12", "4"]],
    "readings_text": [["4", "4", "open water"]],
    "latest": [["2", "5.5", str(TIMES_MS[-1])]],
}


class World:
    def __init__(self, platform: Platform, tokens: dict[str, str]) -> None:
        self.platform = platform
        self.tokens = tokens

    def seen(self) -> dict[str, list[list[str]]]:
        return {view: self.platform.query(sql) for view, sql in VIEWS.items()}

    def rows(self) -> int:
        """Of the device in the tables of readings, copies included."""
        query = "SELECT count() FROM cityfleet.{} WHERE device_num IN (SELECT device_num FROM ioc.devices WHERE "
        device = f"device_id = '{DEVICE}')"
        return sum(int(self.platform.query(query.format(table) + device)[0][0]) for table in TABLES[:2])

    def stored(self) -> float:
        try:
            return self.platform.metric("ingest", 'cityfleet_ingest_ledger_readings_total{entry="stored"}')
        except OSError:
            return -1.0

    def admin(self, sql: str) -> None:
        self.platform.query(sql, "admin")

    async def comes_again(self, deliver: Callable[["World"], object], *, is_restarted: bool = False) -> None:
        """Deliver, and hold that the store took all of it and that nothing is seen twice."""
        before = 0.0 if is_restarted else self.stored()
        deadline = time.monotonic() + 60
        while True:
            try:
                await asyncio.to_thread(deliver, self)
                break
            except (aiomqtt.MqttError, grpc.RpcError):  # ingest is on its way back
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
        while await asyncio.to_thread(self.stored) < before + STORED:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert self.seen() == SEEN

    async def kill(self, role: str) -> None:
        killed = self.platform.pid(role)
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while self.platform.find_pid(role) in (None, killed):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


def pack(prefix: str = "") -> bytes:
    records = [
        {"n": prefix + metric, "t": time_ms / 1000, "v": value}
        for metric, values in NUMBERS.items()
        for time_ms, value in zip(TIMES_MS, values, strict=True)
    ]
    texts = zip(TIMES_MS, TEXTS, strict=True)
    return json.dumps(
        records + [{"n": f"{prefix}temperature_cel", "t": time_ms / 1000, "vs": text} for time_ms, text in texts]
    ).encode()


def over_mqtt(world: World) -> None:
    asyncio.run(_publish(world, DEVICE, f"cf/v1/d/{DEVICE}/telemetry", pack()))


def over_its_gateway(world: World) -> None:
    asyncio.run(_publish(world, GATEWAY, f"cf/v1/g/{GATEWAY}/telemetry", pack(f"{DEVICE}:")))


async def _publish(world: World, who: str, topic: str, payload: bytes) -> None:
    async with aiomqtt.Client(
        "127.0.0.1", world.platform.mqtt_port, username=who, password=world.tokens[who], timeout=10
    ) as client:
        await client.publish(topic, payload, qos=1)


def over_grpc(world: World) -> None:
    numbers = [
        (metric, time_ms, value)
        for metric, values in enumerate(NUMBERS.values())
        for time_ms, value in zip(TIMES_MS, values, strict=True)
    ]
    times = [TIMES_MS[0], *(time_ms for _, time_ms, _ in numbers)]
    texts = [
        telemetry_pb2.TextReading(metric_index=2, time_delta_ms=time_ms - TIMES_MS[0], text=text)
        for time_ms, text in zip(TIMES_MS, TEXTS, strict=True)
    ]
    batch = telemetry_pb2.ReadingBatch(
        base_time_ms=TIMES_MS[0], metrics=[*NUMBERS, "temperature_cel"], metric_index=[one[0] for one in numbers],
        time_delta_ms=[after - before for before, after in itertools.pairwise(times)],
        value=[one[2] for one in numbers], texts=texts,
    )  # fmt: skip
    metadata = (("cf-device-id", DEVICE), ("authorization", f"Bearer {world.tokens[DEVICE]}"))
    with grpc.insecure_channel(world.platform.grpc) as channel:
        stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        requests = iter([telemetry_pb2.PublishRequest(sequence=1, batch=batch)])
        assert [answer.acked_sequence for answer in stub.Publish(requests, metadata=metadata, timeout=60)] == [1]


async def test_a_redelivery_is_seen_once_through_restarts_merges_and_every_door(tmp_path):
    with running_platform(tmp_path) as platform, Provisioner(platform.registry_channel(), platform.mqtt_port) as fleet:
        fleet.type("gauge", {"water_level_m": (0, 20), "rain_mm": None, "temperature_cel": None})
        fleet.type("gateway", {"battery_pct": (0, 100)}, is_gateway=True)
        tokens = {GATEWAY: fleet.device(GATEWAY, "gateway"), DEVICE: fleet.device(DEVICE, "gauge", gateway=GATEWAY)}
        world = World(platform, tokens)
        for table in TABLES:
            world.admin(f"SYSTEM STOP MERGES cityfleet.{table}")
        # The registry tells the store of its devices meanwhile, and readings may be quicker.
        known = f"SELECT count() FROM ioc.devices WHERE device_id IN ('{DEVICE}', '{GATEWAY}')"
        await asyncio.to_thread(platform.wait_for, known, [["2"]])
        await world.comes_again(over_mqtt)
        await world.comes_again(over_mqtt)
        await world.comes_again(over_grpc)
        await world.comes_again(over_its_gateway)
        assert world.rows() == 4 * STORED
        await world.kill("ingest")
        await world.comes_again(over_grpc, is_restarted=True)
        await world.kill("store")
        for table in TABLES:
            world.admin(f"OPTIMIZE TABLE cityfleet.{table} FINAL")
        assert world.seen() == SEEN
        assert world.rows() == STORED
        await world.comes_again(over_mqtt)
        assert platform.stop() == 0


@pytest.mark.parametrize("is_merged", [False, True])
def test_copies_received_hours_apart_are_one_and_the_later_counts(platform, fleet, is_merged):
    """The clock cannot be turned here, so the copies are inserted: three, the last of them received in the middle."""
    device = f"wl-hours-{int(is_merged)}"
    fleet.device(device, "gauge")
    (row,) = platform.query(f"SELECT device_num FROM ioc.devices WHERE device_id = '{device}'") or [["0"]]
    deadline = time.monotonic() + 60
    while row[0] == "0" and time.monotonic() < deadline:
        time.sleep(0.1)
        (row,) = platform.query(f"SELECT device_num FROM ioc.devices WHERE device_id = '{device}'") or [["0"]]
    for hour, value in ((8, 1), (14, 3), (11, 2)):
        at = f"toDateTime64('2026-03-05 {hour:02}:00:00', 3, 'UTC')"
        for month in ("01", "02"):
            key = f"{row[0]}, 1, toDateTime64('2026-{month}-07 00:00:00', 3, 'UTC')"
            platform.query(f"INSERT INTO cityfleet.readings SELECT {key}, {value}, 1, 0, '00070', {at}", "writer")
            platform.query(
                f"INSERT INTO cityfleet.readings_text SELECT {key}, 'string', '{value}', 2, '00070', {at}", "writer"
            )
    if is_merged:
        for table in ("readings", "readings_text"):
            platform.query(f"OPTIMIZE TABLE cityfleet.{table} FINAL", "admin")
    for view in ("readings", "readings_text"):
        query = f"SELECT toMonth(ts), toString(value), toHour(received_at) FROM ioc.{view} WHERE device_id = '{device}'"
        assert platform.query(f"{query} ORDER BY ts") == [["1", "3", "14"], ["2", "3", "14"]]


async def test_two_values_for_one_identity_are_one_reading_and_latest_agrees(platform, fleet):
    """A device that corrects itself at once: both copies have the same whole second of receipt, maybe one segment."""
    token = fleet.device("wl-corrects-1", "gauge")
    async with aiomqtt.Client(
        "127.0.0.1", platform.mqtt_port, username="wl-corrects-1", password=token, timeout=10
    ) as client:
        for value in range(20):
            record = [{"n": "water_level_m", "t": 1_700_000_000, "v": value}]
            await client.publish("cf/v1/d/wl-corrects-1/telemetry", json.dumps(record), qos=1)
    for view in ("readings", "latest"):
        platform.wait_for(f"SELECT value FROM ioc.{view} WHERE device_id = 'wl-corrects-1'", [["19"]])


def test_every_view_of_readings_is_among_those_that_are_tried(platform, fleet):
    """The other views answer from rollups and what follows from them (tests/integration/store)."""
    tables = "cityfleet[.](readings|readings_text|latest)([^a-z0-9_]|$)"
    query = f"SELECT name FROM system.tables WHERE database = 'ioc' AND match(create_table_query, '{tables}')"
    assert {row[0] for row in platform.query(query, "admin")} <= set(VIEWS) | NEWEST


def test_nothing_is_summed_from_copies_at_insert(platform, fleet):
    """A view at insert sees every copy: such views may tell what has changed, what is newest, and numbers of names."""
    query = "SELECT name FROM system.tables WHERE database = 'cityfleet' AND engine = 'MaterializedView'"
    assert {row[0] for row in platform.query(query, "admin")} == {
        "rollup_due", "quality_latest_of_flags", "device_numbers_of_rows", "metric_numbers_of_rows",
    }  # fmt: skip
