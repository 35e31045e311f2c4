"""The parent of the workers: reserves the ports, starts the processes, starts again what dies, speaks for all."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

from ingest.settings import IngestSettings
from ingest.transport.address import bind
from ingest.workers.front import Front
from runtime import runfile
from runtime.settings import ENV_PREFIX
from runtime.supervisor import Role, Supervisor

log = structlog.get_logger()

# A worker drains for 15 s, then its connections have 2 s to close.
_STOP_S = 30.0


def role_of(number: int) -> str:
    """The name of a worker's run file, lock and logs."""
    return f"ingest-{number}"


async def run_workers(
    settings: IngestSettings,
    data_dir: Path,
    command: Callable[[int], Sequence[str]],
    stop: asyncio.Event,
    on_listening: Callable[[dict[str, str]], None],
) -> None:
    """Keep `settings.workers` workers running until `stop`.

    Args: command: starts the worker of a number.
    Raises: ConfigError, OSError (address), RoleFailedError (a worker could not be started at all).
    """
    count = settings.workers
    restarts = dict.fromkeys(range(count), 0)
    seen: set[str] = set()
    with ExitStack() as reserved:
        addresses, environment = await _reserve(settings, reserved)
        roles = [Role(role_of(number), command(number), _STOP_S, environment) for number in range(count)]

        def metrics() -> dict[int, str | None]:
            found = {number: runfile.read(data_dir, role_of(number)) for number in range(count)}
            return {number: run.addresses.get("metrics") if run else None for number, run in found.items()}

        async with Front(settings.http, metrics, restarts) as front:
            addresses["metrics"] = f"http://{settings.http.host}:{front.port}/metrics"

            def started(name: str, _: dict[str, str]) -> None:
                if name in seen:
                    restarts[int(name.rpartition("-")[2])] += 1
                    log.info("worker_back", worker=name)
                    return
                seen.add(name)
                if len(seen) == count:
                    on_listening(addresses)

            await Supervisor(roles, data_dir, started, are_independent=True).run(stop)


async def _reserve(settings: IngestSettings, reserved: ExitStack) -> tuple[dict[str, str], dict[str, str]]:
    """Bind every port without listening, so that it is ours as long as we live, also while a worker is away.

    Returns: addresses by kind, and the settings that give the workers the same ports, as environment variables.
    """
    mqtt = settings.mqtt
    listeners = (
        ("mqtt", "mqtt", mqtt.host, mqtt.port, mqtt.enabled),
        ("mqtts", "mqtt.tls", mqtt.tls.host, mqtt.tls.port, mqtt.tls.enabled),
        ("ws", "mqtt.websocket", mqtt.websocket.host, mqtt.websocket.port, mqtt.websocket.enabled),
        ("wss", "mqtt.websocket_tls", mqtt.websocket_tls.host, mqtt.websocket_tls.port, mqtt.websocket_tls.enabled),
        ("grpc", "grpc", settings.grpc.host, settings.grpc.port, True),
    )
    addresses, environment = {}, {_variable("http.port"): "0", _variable("http.host"): "127.0.0.1"}
    for kind, section, own_host, wanted, is_enabled in listeners:
        if not is_enabled:
            continue
        host = own_host or mqtt.host
        setting = f"ingest.{section}"
        port = wanted
        if wanted:
            # A port that another program listens on would otherwise be shared with it, if it shares too.
            for probe in await bind(host, wanted, setting, shares_port=False):
                probe.close()
        bound: list[socket.socket] = await bind(host, wanted, setting, shares_port=True)
        for one in bound:
            reserved.callback(one.close)
        port = bound[0].getsockname()[1]
        addresses[kind] = f"{host}:{port}"
        environment[_variable(f"{section}.port")] = str(port)
    return addresses, environment


def _variable(setting: str) -> str:
    return ENV_PREFIX + "INGEST__" + setting.upper().replace(".", "__")
