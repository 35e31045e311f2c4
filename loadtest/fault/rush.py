"""Too many at the door: all devices come again at once, or clients come that never finish their CONNECT.

Those inside are served all the while, everybody who can wait is let in, memory stays in its bounds.
"""

import asyncio
import contextlib
import resource
import time
from collections import Counter
from collections.abc import Callable

from loadtest.fault.connects import connect_packet
from loadtest.fault.outcome import Outcome
from loadtest.fault.stage import Stage, staged
from loadtest.fault.trial import Trial

_RECONNECTS, _WITHIN_S = 20_000, 5.0
_CLIENTS = 4_000
_SLOW = 4_000
_CONNECT_TIMEOUT_S = 2.0
_PATIENCE_S = 120.0


async def run(trial: Trial) -> Outcome:
    _raise_file_limit()
    return await (_storm(trial) if trial.id == "reconnect_storm" else _loris(trial))


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Client(asyncio.Protocol):
    """Logs in as one of many client ids; the next connection of the same id takes it over."""

    def __init__(self, packet: bytes, answers: Counter[str], again: Callable[[], object]) -> None:
        """`again`: called if the connection ends without a CONNACK; devices come again then."""
        self._packet = packet
        self._answers = answers
        self._again = again
        self._answer = ""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        assert self.transport is not None
        self.transport.write(self._packet)

    def data_received(self, data: bytes) -> None:
        if not self._answer:
            code = data[3] if len(data) > 3 and data[0] == 0x20 else 0xFF
            self._tell("let in" if code == 0 else f"refused 0x{code:02x}")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer:
            self._tell("closed without an answer")
            self._again()

    def _tell(self, answer: str) -> None:
        self._answer = answer
        self._answers[answer] += 1


async def _storm(trial: Trial) -> Outcome:
    reconnects, clients = round(_RECONNECTS * trial.scale), round(_CLIENTS * trial.scale)
    answers: Counter[str] = Counter()
    async with staged(trial) as stage:
        fleet, port = stage.fleet, stage.roles.mqtt_port
        packets = []
        for number in range(clients):
            user = f"gw-{number % 6}"
            packets.append(connect_packet(f"storm-{number}", user, stage.tokens[user]))
        loop, held = asyncio.get_running_loop(), []
        before, began = fleet.acked_messages, time.monotonic()
        trial.fault("storm", reconnects=reconnects)

        async def open_one(number: int) -> None:
            try:
                _, one = await loop.create_connection(
                    lambda: _Client(packets[number % clients], answers, lambda: come(number)), "127.0.0.1", port
                )
                held.append(one)
            except OSError:
                answers["no connection"] += 1
                come(number)

        opening: set[asyncio.Task[None]] = set()

        def come(number: int) -> None:
            task = asyncio.create_task(open_one(number))
            opening.add(task)
            task.add_done_callback(opening.discard)

        for number in range(reconnects):
            due = began + number * _WITHIN_S * trial.scale / reconnects
            if due - time.monotonic() > 0.001:
                await asyncio.sleep(due - time.monotonic())
            come(number)
        offered_s = time.monotonic() - began
        while answers["let in"] < reconnects and time.monotonic() - began < _PATIENCE_S:
            await asyncio.sleep(0.05)
        answered_s = time.monotonic() - began
        meanwhile = fleet.acked_messages - before
        await fleet.acknowledges(50)
        open_now = sum(one.transport is not None and not one.transport.is_closing() for one in held)
        problems = []
        if answers["let in"] != reconnects:
            problems.append(f"of {reconnects:,} connections: {dict(answers)}")
        if open_now < clients:
            problems.append(f"{open_now:,} of {clients:,} clients are connected in the end")
        if not meanwhile:
            problems.append("nobody was served during the storm")
        for one in held:
            if one.transport is not None:
                one.transport.abort()
        return await stage.finish(
            recovery_s=answered_s - offered_s,
            problems=tuple(problems),
            notes=(
                f"{reconnects:,} connections of {clients:,} clients offered in {offered_s:.1f} s, answered in "
                f"{answered_s:.1f} s: {dict(answers)}; meanwhile {meanwhile / answered_s:,.0f} messages a second",
            ),
        )


async def _loris(trial: Trial) -> Outcome:
    """There is room for half of them, and they come again at once: who is honest gets in all the same."""
    slow = round(_SLOW * trial.scale)
    settings = f"ingest.mqtt.connect_timeout_s = {_CONNECT_TIMEOUT_S}\ningest.mqtt.max_connections = {slow // 2 + 50}\n"
    async with staged(trial, settings) as stage:
        counts: Counter[str] = Counter()
        before, began = stage.fleet.acked_messages, time.monotonic()
        trial.fault("slow CONNECTs", connections=slow)
        async with asyncio.TaskGroup() as group:
            crawling = [group.create_task(_crawl(stage, number, counts)) for number in range(slow)]
            # Everybody at the door is cut off at least twice.
            await _until(lambda: counts["cut off"] >= 2 * slow, _PATIENCE_S)
            honest_s = await _log_in(stage)
            meanwhile = stage.fleet.acked_messages - before
            for task in crawling:
                task.cancel()
        seconds = time.monotonic() - began
        problems = []
        if counts["cut off"] < 2 * slow:
            problems.append(f"only {counts['cut off']:,} of {slow:,} slow clients were cut off")
        if counts["let in"]:
            problems.append(f"{counts['let in']:,} slow clients were let in")
        if not meanwhile:
            problems.append("nobody was served meanwhile")
        return await stage.finish(
            recovery_s=honest_s,
            problems=tuple(problems),
            notes=(
                f"{slow:,} slow clients, cut off {counts['cut off']:,} times in {seconds:.1f} s; an honest one got in "
                f"after {honest_s:.1f} s; meanwhile {meanwhile / seconds:,.0f} messages a second",
            ),
        )


async def _crawl(stage: Stage, number: int, counts: Counter[str]) -> None:
    """Send nothing, or a byte now and then; when cut off, come again."""
    packet = connect_packet(f"loris-{number}", "gw-0", stage.tokens["gw-0"])
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.roles.mqtt_port)
        except OSError:
            counts["no connection"] += 1
            await asyncio.sleep(0.2)
            continue
        try:
            if number % 3:
                # So slow that the end of the packet is never reached in time.
                for byte in packet[: number % len(packet)]:
                    writer.write(bytes((byte,)))
                    await asyncio.sleep(4 * _CONNECT_TIMEOUT_S / len(packet))
            counts["let in" if await reader.read(4) == b"\x20\x03\x00\x00" else "cut off"] += 1
        except (OSError, RuntimeError):  # uvloop's word for writing to what the other side has closed
            counts["cut off"] += 1
        finally:
            writer.transport.abort()


async def _log_in(stage: Stage) -> float:
    """Seconds until somebody with a whole CONNECT is inside. Raises: TimeoutError."""
    began = time.monotonic()
    packet = connect_packet("honest", "gw-1", stage.tokens["gw-1"])
    while time.monotonic() - began < _PATIENCE_S:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.roles.mqtt_port)
            try:
                writer.write(packet)
                answer = await reader.read(4)
            finally:
                writer.transport.abort()
            if len(answer) == 4 and answer[0] == 0x20 and answer[3] == 0:
                return time.monotonic() - began
        await asyncio.sleep(0.05)
    raise TimeoutError("nobody gets in beside the slow ones")


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
