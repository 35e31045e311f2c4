"""`cityfleet registry`: run the registry role."""

from cli.role import go_behind, run_role
from cli.settings import ConfigOption, DataOption, load_settings


def registry(config: ConfigOption = None, data: DataOption = None) -> None:
    """Run the registry: device identities over gRPC, until SIGTERM or Ctrl-C.

    Example: cityfleet registry --data /var/lib/cityfleet
    """
    from registry.app import run

    settings = load_settings(config, data)
    go_behind(settings.registry.nice)
    run_role(
        "registry",
        settings,
        lambda stop, on_listening: run(settings.registry, settings.store, settings.data_path, stop, on_listening),
    )
