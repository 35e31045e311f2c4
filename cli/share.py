"""`cityfleet share`: run the share role."""

from cli.role import run_role
from cli.settings import ConfigOption, DataOption, load_settings


def share(config: ConfigOption = None, data: DataOption = None) -> None:
    """Serve open formats over HTTP (OGC SensorThings, NGSI-LD), read-only, until SIGTERM or Ctrl-C.

    Example: cityfleet share --data /var/lib/cityfleet
    """
    from share.app import run

    settings = load_settings(config, data)
    run_role(
        "share",
        settings,
        lambda stop, on_listening: run(settings.share, settings.store, settings.data_path, stop, on_listening),
    )
