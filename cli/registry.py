"""`cityfleet registry`: run the registry role."""

import typer
import uvloop

from cli.settings import ConfigOption, DataOption, load_settings
from registry import app as role
from runtime import logging
from runtime.shutdown import stop_on_signals


def registry(config: ConfigOption = None, data: DataOption = None) -> None:
    """Run the registry: device identities over gRPC, until SIGTERM or Ctrl-C.

    Example: cityfleet registry --data /var/lib/cityfleet
    """
    settings = load_settings(config, data)
    logging.configure(settings.log, "registry")

    async def serve() -> None:
        await role.run(settings.registry, settings.store, settings.data_path, stop_on_signals(), _say)

    uvloop.run(serve())


def _say(addresses: dict[str, str]) -> None:
    typer.echo(" ".join(f"{name}={address}" for name, address in addresses.items()))
