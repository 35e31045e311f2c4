"""The one settings file of a deployment, as a tree: a section per role."""

import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ingest.settings import IngestSettings
from registry.settings import RegistrySettings
from runtime.logging import LogSettings
from runtime.settings import load
from share.settings import ShareSettings
from store.settings import StoreSettings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="CITYFLEET_CONFIG", help="Settings file (TOML). Defaults need none."),
]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder. Default: `data_dir` of the settings.")]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a deployment can be told; `CITYFLEET_INGEST__MQTT__PORT=1884` sets `ingest.mqtt.port`."""

    data_dir: str = "cityfleet-data"
    log: LogSettings = LogSettings()
    store: StoreSettings = StoreSettings()
    registry: RegistrySettings = RegistrySettings()
    ingest: IngestSettings = IngestSettings()
    share: ShareSettings = ShareSettings()

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir).expanduser().resolve()


def load_settings(config: Path | None, data: Path | None) -> Settings:
    """Defaults, then the file, then the environment, then `--data`. Raises SettingsError."""
    return load(Settings, config, os.environ, {"data_dir": str(data)} if data else None)
