"""Traffic of the end-to-end scenarios: packets to patch, and the generator in a process of its own."""

import multiprocessing
import os
import struct
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from cityfleet.telemetry.v1 import telemetry_pb2
from ext.loadgen.generator import TIME_VARINT, Generator, Template

# Event times begin here and go on by a step per message: no two readings of a series have the same.
BASE_MS = 1_700_000_000_000
STEP_MS = 100
_PACKET_ID = b"\x00\x01"


def publish(client_id: str, token: str, topic: str, payload: bytes, time_at: int) -> Template:
    """A PUBLISH of QoS 1; `time_at` is the place of the time in the payload."""
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + _PACKET_ID + payload
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            break
    head = b"\x32" + bytes(length)
    id_at = len(head) + 2 + len(name)
    return Template(client_id, token, head + body, id_at, id_at + 2 + time_at)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def time_place(payload: bytes) -> int:
    """Where the six bytes of `base_time_ms` stand."""
    stamp = _varint(BASE_MS << 1)  # zigzag
    if payload.count(stamp) != 1 or len(stamp) != 6:
        raise ValueError("the time cannot be found in the payload")
    return payload.index(stamp)


def packed(tokens: Mapping[str, str], connections: int, per_message: int) -> list[Template]:
    """Gateways `gw-N`; each message has one sample of each of its gauges `wl-M`."""
    templates = []
    for number in range(connections):
        gateway = f"gw-{number}"
        payload = telemetry_pb2.ReadingBatch(
            base_time_ms=BASE_MS,
            devices=[f"wl-{number + connections * index}" for index in range(per_message)],
            metrics=["water_level_m"],
            device_index=range(per_message),
            metric_index=[0],
            value=[5 + (number + index) % 997 / 100 for index in range(per_message)],
        ).SerializeToString()
        topic = f"cf/v1/g/{gateway}/telemetry/batch"
        templates.append(publish(gateway, tokens[gateway], topic, payload, time_place(payload)))
    return templates


def single_batch(tokens: Mapping[str, str], connections: int, first: int = 0) -> list[Template]:
    """Gauges from `wl-{first}` on, each message a `ReadingBatch` of one reading."""
    templates = []
    for number in range(first, first + connections):
        device = f"wl-{number}"
        payload = telemetry_pb2.ReadingBatch(
            base_time_ms=BASE_MS, metrics=["water_level_m"], value=[5 + number % 997 / 100]
        ).SerializeToString()
        topic = f"cf/v1/d/{device}/telemetry/batch"
        templates.append(publish(device, tokens[device], topic, payload, time_place(payload)))
    return templates


def single_senml_json(tokens: Mapping[str, str], connections: int) -> list[Template]:
    """Gauges, each message one SenML record."""
    templates = []
    for number in range(connections):
        device = f"wl-{number}"
        payload = f'[{{"n":"water_level_m","u":"m","t":1700000000.000,"v":{5 + number % 997 / 100}}}]'.encode()
        topic = f"cf/v1/d/{device}/telemetry/senml-json"
        templates.append(publish(device, tokens[device], topic, payload, payload.index(b"1700")))
    return templates


def _serve(
    control: "Connection[object, object]",
    port: int,
    templates: Sequence[Template],
    time_kind: int,
    base_ms: int,
    step_ms: int,
    sources: Sequence[str],
    nice: int,
) -> None:
    os.nice(nice)
    generator = Generator("127.0.0.1", port, templates, time_kind, base_ms, step_ms, sources)
    try:
        control.send(generator.connect(120.0))
        while (order := control.recv()) is not None:
            assert isinstance(order, dict)
            found = generator.run(**order)
            found["unacked"] = generator.drain(60.0)
            found["latencies_us"] = generator.latencies_us()  # type: ignore[assignment]
            control.send(found)
    except (OSError, ConnectionError) as exc:
        control.send(exc)
    finally:
        generator.close()


class Load:
    """A generator in a process of its own: `with Load(...) as load: load.start(...); load.wait()`.

    Raises: ConnectionError, TimeoutError from the generator, at `__enter__` and `wait`.
    """

    def __init__(
        self,
        port: int,
        templates: Sequence[Template],
        time_kind: int = TIME_VARINT,
        base_ms: int = BASE_MS,
        step_ms: int = STEP_MS,
        sources: Sequence[str] = (),
        nice: int = 0,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._control, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, port, templates, time_kind, base_ms, step_ms, sources, nice), daemon=True
        )
        self.connect_s = 0.0

    def __enter__(self) -> "Load":
        self._process.start()
        self.connect_s = self._answer(180.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.is_alive():
            self._control.send(None)
            self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def start(self, duration_s: float, window: int, rate: float = 0.0, max_per_link: int = 0) -> None:
        """As `Generator.run`."""
        self._limit_s = duration_s + 90.0
        self._control.send({"duration_s": duration_s, "window": window, "rate": rate, "max_per_link": max_per_link})

    def wait(self) -> dict[str, float]:
        """When the run is over and acknowledged: what `Generator.run` says, `unacked`, `latencies_us`."""
        found: dict[str, float] = self._answer(self._limit_s)
        return found

    def _answer(self, timeout_s: float) -> Any:
        if not self._control.poll(timeout_s):
            raise TimeoutError("the generator does not answer")
        try:
            answer = self._control.recv()
        except EOFError as exc:
            raise ConnectionError("the generator died") from exc
        if isinstance(answer, Exception):
            raise answer
        return answer
