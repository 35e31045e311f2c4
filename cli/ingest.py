"""`cityfleet ingest`: the ingest role."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError, ExitCode
from cli.role import go_behind, run_role
from cli.settings import ConfigOption, DataOption, Settings, load_settings
from runtime.supervisor import RoleFailedError

WorkerOption = Annotated[int | None, typer.Option(hidden=True, help="Run as this worker; the parent sets it.")]


def ingest(config: ConfigOption = None, data: DataOption = None, worker: WorkerOption = None) -> None:
    """Run the ingest role: MQTT and gRPC in, ClickHouse out; `ingest.workers` processes of it.

    Stops cleanly on SIGTERM or Ctrl-C: sockets first, then the pipeline drains, then the store gets what the spool has.

    Example:
        cityfleet ingest --config /etc/cityfleet.toml
    """
    from ingest.errors import ConfigError

    settings = load_settings(config, data)
    try:
        if worker is None and settings.ingest.workers > 1:
            _run_parent(settings, config)
        else:
            _run_worker(settings, worker)
    except ConfigError as exc:
        raise CommandError(str(exc), ExitCode.USAGE) from exc
    except RoleFailedError as exc:
        raise CommandError(str(exc)) from exc


def _run_worker(settings: Settings, worker: int | None) -> None:
    from ingest.app import run
    from ingest.workers.parent import role_of
    from ingest.workers.place import Place

    registry = settings.ingest.registry or f"{settings.registry.listen.host}:{settings.registry.listen.port}"
    place = Place(settings.data_path, worker or 0, settings.ingest.workers if worker is not None else 1)
    go_behind(settings.ingest.nice)
    run_role(
        role_of(worker) if worker is not None else "ingest",
        settings,
        lambda stop, on_listening: run(settings.ingest, settings.store, registry, place, stop, on_listening),
    )


def _run_parent(settings: Settings, config: Path | None) -> None:
    from ingest.workers.parent import run_workers

    arguments = ["--data", str(settings.data_path), *(["--config", str(config)] if config else [])]
    run_role(
        "ingest",
        settings,
        lambda stop, on_listening: run_workers(
            settings.ingest,
            settings.data_path,
            lambda number: [sys.executable, "-m", "cli.main", "ingest", "--worker", str(number), *arguments],
            stop,
            on_listening,
        ),
    )
