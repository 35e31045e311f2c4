"""Settings: one frozen msgspec tree, built once from defaults, then a TOML file, then the environment."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

ENV_PREFIX = "CITYFLEET_"
# Variables of the same prefix that are not settings: where the tests find recorded data, where the CLI finds its files.
NOT_SETTINGS = frozenset(
    {"CITYFLEET_DATA", "CITYFLEET_CONFIG", "CITYFLEET_CONTEXT", "CITYFLEET_TOKEN_FILE", "CITYFLEET_SUPERVISOR_PID"}
)


class SettingsError(Exception):
    """A person must fix the settings; the message names the key and where it was set."""


# As of nice(1): where processors are short, the process goes behind those of a lower value. 0: behind nobody.
Nice = Annotated[int, msgspec.Meta(ge=0, le=19)]


class ListenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address to listen on. Port 0 takes any free port."""

    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 0 to 65535, not {self.port}")


def load(tree: type[T], path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> T:
    """Build `tree` from defaults, then the file, then `CITYFLEET_SECTION__KEY` variables, then `overrides`.

    Raises: SettingsError (unreadable file, unknown key, wrong type, failed check); the text names the key.
    """
    raw: dict[str, Any] = {}
    if path is not None:
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as exc:
            raise SettingsError(f"cannot read the settings file {path}: {exc.strerror}") from exc
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise SettingsError(f"the settings file {path} is not valid TOML: {exc}") from exc
    for name, text in sorted(environ.items()):
        if name.startswith(ENV_PREFIX) and name not in NOT_SETTINGS:
            _put(raw, name.removeprefix(ENV_PREFIX).lower().split("__"), text, name)
    for dotted, value in (overrides or {}).items():
        _put(raw, dotted.split("."), value, dotted)
    try:
        return msgspec.convert(raw, type=tree, strict=False)
    except msgspec.ValidationError as exc:
        raise SettingsError(f"settings{f' ({path} and environment)' if path else ''}: {exc}") from exc


def _put(raw: dict[str, Any], keys: list[str], value: Any, source: str) -> None:
    node = raw
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise SettingsError(f"{source}: `{key}` is a value, not a section")
        node = child
    node[keys[-1]] = value
