"""`cityfleet ingest`: the ingest role."""

from cli.errors import CommandError, ExitCode
from cli.role import run_role
from cli.settings import ConfigOption, DataOption, load_settings


def ingest(config: ConfigOption = None, data: DataOption = None) -> None:
    """Run the ingest role: MQTT and gRPC in, ClickHouse out.

    Stops cleanly on SIGTERM or Ctrl-C: sockets first, then the pipeline drains, then the store gets what the spool has.
    """
    from ingest.app import run
    from ingest.errors import ConfigError

    settings = load_settings(config, data)
    registry = settings.ingest.registry or f"{settings.registry.listen.host}:{settings.registry.listen.port}"
    try:
        run_role(
            "ingest",
            settings,
            lambda stop, on_listening: run(
                settings.ingest, settings.store, registry, settings.data_path, stop, on_listening
            ),
        )
    except ConfigError as exc:
        raise CommandError(str(exc), ExitCode.USAGE) from exc
