"""What engineers ask a registry of a city: one device, pages by every kind of filter and order, counts."""

import random
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from grpc_health.v1 import health_pb2, health_pb2_grpc

from cityfleet.registry.v1 import device_pb2, device_pb2_grpc
from loadtest.bench.registry_stage import RegistryStage
from loadtest.fleet.devices import RAIN, STREETS, TRAFFIC
from loadtest.fleet.places import wards
from loadtest.fleet.registered import BATCHES, OWNERS, PROJECTS, RegisteredCity

PAGE = 100
# Pages asked for one after the other by their tokens.
_PAGES = 3
_GETS_IN_TURN = 500


class Question(NamedTuple):
    """A kind of list. `filter` makes one, with other words each time."""

    name: str
    filter: Callable[[random.Random, RegisteredCity], str]
    order_by: str = ""


def _ward(chance: random.Random) -> str:
    return chance.choice(wards()).ward_code


def _device(chance: random.Random, city: RegisteredCity) -> str:
    return city.device_id(chance.randrange(city.devices))


def _fixed(text: str) -> Callable[[random.Random, RegisteredCity], str]:
    return lambda chance, city: text


def _near(chance: random.Random, city: RegisteredCity) -> str:
    spot = chance.choice(wards())
    return f"near({spot.lat}, {spot.lon}, 1500)"


QUESTIONS = (
    Question("all", _fixed("")),
    Question("id", lambda chance, city: f'device_id = "{_device(chance, city)}"'),
    Question("id prefix", lambda chance, city: f'device_id = "{_device(chance, city)[:6]}*"'),
    Question("id suffix", lambda chance, city: f'device_id = "*{chance.randrange(100):02d}"'),
    Question("external id", lambda chance, city: f'external_id = "70b3d57e{chance.randrange(city.devices):08x}"'),
    Question("ward", lambda chance, city: f'ward_code = "{_ward(chance)}"'),
    Question("not ward", lambda chance, city: f'ward_code != "{_ward(chance)}"'),
    Question("type", lambda chance, city: f'device_type = "{chance.choice((RAIN, TRAFFIC))}"'),
    Question("type and ward", lambda chance, city: f'device_type = "{RAIN}" AND ward_code = "{_ward(chance)}"'),
    Question("gateway", lambda chance, city: f'gateway = "gw-{chance.randrange(city.sites):05d}"'),
    Question("no gateway", _fixed('gateway = ""')),
    Question("site", lambda chance, city: f'site_id = "{city.site(chance.randrange(city.sites)).site_id}"'),
    Question("site prefix", _fixed('site_id = "bridge-*"')),
    Question("common label", lambda chance, city: f'labels.owner = "{chance.choice(OWNERS)}"'),
    Question("label", lambda chance, city: f'labels.project = "project-{chance.randrange(PROJECTS):02d}"'),
    Question("rare label", lambda chance, city: f'labels.batch = "batch-{chance.randrange(BATCHES):03d}"'),
    Question("label is there", _fixed("labels.owner:*")),
    Question("label nobody has", _fixed('labels.nobody = "x"')),
    Question(
        "two labels",
        lambda chance, city: f'labels.owner = "{OWNERS[0]}" AND labels.batch = "batch-{chance.randrange(BATCHES):03d}"',
    ),
    Question(
        "label and ward",
        lambda chance, city: f'labels.owner = "{chance.choice(OWNERS)}" AND ward_code = "{_ward(chance)}"',
    ),
    Question("ward or ward", lambda chance, city: f'ward_code = "{_ward(chance)}" OR ward_code = "{_ward(chance)}"'),
    Question("name", lambda chance, city: f'display_name = "{chance.choice(STREETS)}*"'),
    Question("name nobody has", _fixed('display_name = "Nowhere"')),
    Question("word in a name", lambda chance, city: f'display_name:"{chance.choice(STREETS)}"'),
    Question("active", _fixed("state = active")),
    Question("decommissioned", _fixed("state = decommissioned")),
    Question("created since", _fixed('create_time > ago("1h")')),
    Question("updated long ago", _fixed('update_time < ago("30d")')),
    Question("near", _near),
    Question("near, of a type", lambda chance, city: f'{_near(chance, city)} AND device_type = "{TRAFFIC}"'),
    Question("offline", _fixed("connectivity = offline")),
    Question("never seen", _fixed("connectivity = never_seen")),
    Question("unhealthy", _fixed("health = bad")),
    Question("unhealthy in a ward", lambda chance, city: f'health = bad AND ward_code = "{_ward(chance)}"'),
    Question("firmware", _fixed('reported.firmware_version = "2.4.1"')),
    Question("seen long ago", _fixed('reported.last_seen_time < ago("1h")')),
    Question("all by id", _fixed(""), "device_id"),
    Question("all by id, backwards", _fixed(""), "device_id desc"),
    Question("all by ward", _fixed(""), "ward_code"),
    Question("all by type and id", _fixed(""), "device_type, device_id"),
    Question("all by change", _fixed(""), "update_time desc"),
    Question("all by name", _fixed(""), "display_name"),
    Question("all by last seen", _fixed(""), "reported.last_seen_time desc"),
    Question("ward by id", lambda chance, city: f'ward_code = "{_ward(chance)}"', "device_id"),
    Question("label by change", lambda chance, city: f'labels.owner = "{OWNERS[1]}"', "update_time desc"),
    Question("all by label", _fixed(""), "labels.project"),
    Question("all by health", _fixed(""), "health desc"),
)


class Gets(NamedTuple):
    """Seconds of each call, and CPU seconds of the registry for all gets.

    `empty` are health checks, which ask no database: what gRPC and the machine take.
    """

    seconds: list[float]
    empty: list[float]
    cpu_s: float


async def time_gets(stage: RegistryStage, city: RegisteredCity, calls: int) -> Gets:
    """GetDevice of devices by chance, one after the other, and as many empty calls: some hundreds of each in turn."""
    chance = random.Random(1)
    seconds: list[float] = []
    empty: list[float] = []
    used_s = 0.0
    async with stage.channel() as channel:
        devices = device_pb2_grpc.DeviceServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        while len(seconds) < calls:
            before_s = stage.cpu_s()
            for _ in range(_GETS_IN_TURN):
                request = device_pb2.GetDeviceRequest(name=f"devices/{_device(chance, city)}")
                started = time.perf_counter()
                await devices.GetDevice(request, metadata=stage.metadata)
                seconds.append(time.perf_counter() - started)
            used_s += stage.cpu_s() - before_s
            for _ in range(_GETS_IN_TURN):
                started = time.perf_counter()
                await health.Check(health_pb2.HealthCheckRequest())
                empty.append(time.perf_counter() - started)
    return Gets(seconds, empty, used_s)


class Pages(NamedTuple):
    """By the name of the question: seconds of each page, and CPU seconds of the registry for one, on average."""

    seconds: dict[str, list[float]]
    cpu_s: dict[str, float]


async def time_pages(stage: RegistryStage, city: RegisteredCity, rounds: int) -> Pages:
    """Ask every question for pages of PAGE devices."""
    found: dict[str, list[float]] = {question.name: [] for question in QUESTIONS}
    used_s = dict.fromkeys(found, 0.0)
    async with stage.channel() as channel:
        devices = device_pb2_grpc.DeviceServiceStub(channel)
        for turn in range(rounds):
            for question in QUESTIONS:
                request = device_pb2.ListDevicesRequest(
                    page_size=PAGE, filter=question.filter(random.Random(turn), city), order_by=question.order_by
                )
                before_s = stage.cpu_s()
                for _ in range(_PAGES):
                    started = time.perf_counter()
                    page = await devices.ListDevices(request, metadata=stage.metadata)
                    found[question.name].append(time.perf_counter() - started)
                    request.page_token = page.next_page_token
                    if not request.page_token:
                        break
                used_s[question.name] += stage.cpu_s() - before_s
    return Pages(found, {name: used_s[name] / len(seconds) for name, seconds in found.items()})


async def time_counts(stage: RegistryStage, group_by: str, rounds: int) -> list[float]:
    """Seconds of each AggregateDevices over all devices."""
    found = []
    async with stage.channel() as channel:
        devices = device_pb2_grpc.DeviceServiceStub(channel)
        for _ in range(rounds):
            request = device_pb2.AggregateDevicesRequest(group_by=[group_by])
            started = time.perf_counter()
            await devices.AggregateDevices(request, metadata=stage.metadata)
            found.append(time.perf_counter() - started)
    return found


def p99(seconds: list[float]) -> float:
    """Of few values: the largest."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[98] if len(seconds) > 100 else max(seconds)
