"""Real ingest beside the questions: the filled city's gateways send over MQTT, by the clock.

The registry gives numbers from 1 on, so its devices are those of the fill; what they send is a metric of which no
question asks.
"""

import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from cityfleet.registry.v1 import device_pb2, device_pb2_grpc, device_type_pb2, device_type_pb2_grpc
from cityfleet.telemetry.v1 import telemetry_pb2
from ext.loadgen.generator import Template
from loadtest.bench import traffic
from loadtest.bench.endtoend import STORED
from loadtest.bench.processes import Meter
from loadtest.fill.kinds import LOAD_METRIC
from loadtest.fleet.places import wards
from loadtest.platform import Deployment
from runtime.secrets import secret

# Of a message of a gateway: itself and the devices behind it.
PER_GATEWAY = 250
_ROWS = 2000
# The city's gateways have processors of their own: a question does not wait for a slice of who plays them.
_NICE = 10
_ROUND_S = 10.0
_WINDOW = 64
_COMMIT_S = 120.0
_KNOWN_S = 180.0


class Loaded(NamedTuple):
    """What was sent and stored, and CPU-us a reading by process."""

    readings: int
    seconds: float
    late_s: float
    cpu_us: dict[str, float]


def provision(platform: Deployment, devices: int) -> dict[str, str]:
    """Gateways first, then what is behind them; those that are there stay. Returns the gateways' tokens.

    Raises: RuntimeError if one is refused, TimeoutError if ingest does not hear of all.
    """
    gateways = max(1, devices // PER_GATEWAY)
    spots = wards()
    tokens = {_gateway(number): f"{secret(platform.data_dir, 'bench-load')}-{number}" for number in range(gateways)}

    def row(number: int) -> device_pb2.ImportRow:
        is_gateway = number < gateways
        device = device_pb2.Device(
            name=f"devices/{_gateway(number) if is_gateway else _gauge(number)}",
            device_type="bench-gateway" if is_gateway else "bench-gauge",
            gateway="" if is_gateway else _gateway(number % gateways),
            # As the fill places the device of that number.
            ward_code=spots[(number + 1) % len(spots)].ward_code,
        )
        token = tokens[_gateway(number)] if is_gateway else ""
        return device_pb2.ImportRow(row=number, device=device, token=token, is_token_for_new=bool(token))

    def requests() -> Iterator[device_pb2.ImportDevicesRequest]:
        for at in range(0, devices, _ROWS):
            rows = [row(number) for number in range(at, min(at + _ROWS, devices))]
            yield device_pb2.ImportDevicesRequest(rows=rows)

    with platform.registry_channel() as channel:
        types = device_type_pb2_grpc.DeviceTypeServiceStub(channel)
        metrics = [device_type_pb2.DeviceTypeMetric(metric=LOAD_METRIC, min_value=-30, max_value=30)]
        for name, is_gateway in (("bench-gauge", False), ("bench-gateway", True)):
            kind = device_type_pb2.DeviceType(name=f"deviceTypes/{name}", is_gateway=is_gateway, metrics=metrics)
            types.ApplyDeviceType(device_type_pb2.ApplyDeviceTypeRequest(device_type=kind))
        for answer in device_pb2_grpc.DeviceServiceStub(channel).ImportDevices(requests()):
            for result in answer.results:
                if result.outcome == device_pb2.ImportRowResult.OUTCOME_FAILED:
                    raise RuntimeError(f"device {result.row + 1}: {result.errors}")
    deadline = time.monotonic() + _KNOWN_S
    while platform.metric("ingest", "cityfleet_ingest_index_devices") < devices:
        if time.monotonic() > deadline:
            raise TimeoutError("ingest has not heard of all devices")
        time.sleep(0.1)
    return tokens


def templates(tokens: dict[str, str], devices: int) -> list[Template]:
    """A message of each gateway, with one reading of each device behind it."""
    found = []
    for number, (gateway, token) in enumerate(tokens.items()):
        behind = [_gauge(at) for at in range(len(tokens), devices) if at % len(tokens) == number]
        payload = telemetry_pb2.ReadingBatch(
            base_time_ms=traffic.BASE_MS,
            devices=behind,
            metrics=[LOAD_METRIC],
            device_index=range(len(behind)),
            metric_index=[0],
            value=[(number + index) % 97 / 10 for index in range(len(behind))],
        ).SerializeToString()
        topic = f"cf/v1/g/{gateway}/telemetry/batch"
        found.append(traffic.publish(gateway, token, topic, payload, traffic.time_place(payload)))
    return found


class IngestLoad(threading.Thread):
    """Sends `rate` readings a second until it is stopped; `platform` runs all roles."""

    def __init__(self, platform: Deployment, devices: int, rate: float) -> None:
        super().__init__(daemon=True)
        self._platform = platform
        tokens = provision(platform, devices)
        self._templates = templates(tokens, devices)
        self._per_message = (devices - len(tokens)) / len(tokens)
        self._messages_per_s = rate / self._per_message
        self._stopped = threading.Event()
        self._ready = threading.Event()
        self._sent = 0
        self._late_s = 0.0
        self._failure: Exception | None = None

    def run(self) -> None:
        step_ms = max(1, round(len(self._templates) / self._messages_per_s * 1000))
        base_ms = time.time_ns() // 1_000_000
        try:
            with traffic.Load(
                self._platform.mqtt_port, self._templates, base_ms=base_ms, step_ms=step_ms, nice=_NICE
            ) as load:
                self._ready.set()
                while not self._stopped.is_set():
                    load.start(_ROUND_S, _WINDOW, self._messages_per_s)
                    done = load.wait()
                    self._sent += int(done["sent"])
                    self._late_s = max(self._late_s, done["late_s"])
                    if done["unacked"]:
                        raise RuntimeError(f"{done['unacked']:.0f} messages without PUBACK")
        except (OSError, RuntimeError) as exc:
            self._failure = exc
            self._ready.set()

    def begin(self) -> None:
        """Connect, and let it go."""
        self._before = self._platform.metric("ingest", STORED)
        self._meter = Meter({"ingest": self._platform.pid("ingest"), "store": self._platform.pid("store")})
        self.start()
        self._ready.wait(200.0)
        self._began_s = time.monotonic()

    def stop(self) -> Loaded:
        """Raises: what stopped it; RuntimeError if not all that was sent is stored."""
        self._stopped.set()
        self.join(_ROUND_S + 120.0)
        if self._failure is not None:
            raise self._failure
        seconds = time.monotonic() - self._began_s
        readings = round(self._sent * self._per_message)
        deadline = time.monotonic() + _COMMIT_S
        while (stored := self._platform.metric("ingest", STORED) - self._before) < readings:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{stored:,.0f} of {readings:,} readings stored")
            time.sleep(0.1)
        cpu_us = {name: self._meter.total_s(name) / max(readings, 1) * 1e6 for name in ("ingest", "store")}
        return Loaded(readings, seconds, self._late_s, cpu_us)


def _gateway(number: int) -> str:
    return f"bench-gw-{number}"


def _gauge(number: int) -> str:
    return f"bench-{number}"
