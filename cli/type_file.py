"""Device types as files: YAML (one or several documents), TOML or JSON."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from cityfleet.registry.v1 import device_type_pb2 as pb
from cli.errors import CommandError, ExitCode

_SUFFIXES = (".yaml", ".yml", ".toml", ".json")


class TypeFileMetric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    metric: str
    min_value: float | None = None
    max_value: float | None = None


class TypeFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device type. What `type get -o yaml` prints can be applied again: the last four are read and let go."""

    device_type: str
    display_name: str = ""
    description: str = ""
    is_gateway: bool = False
    default_encoding: str = "senml-json"
    expected_interval_s: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    metrics: list[str | TypeFileMetric] = []
    etag: str = ""
    type_num: int = 0
    version: int = 0
    create_time: str = ""
    update_time: str = ""

    def message(self) -> pb.DeviceType:
        entries = [TypeFileMetric(entry) if isinstance(entry, str) else entry for entry in self.metrics]
        return pb.DeviceType(
            name=f"deviceTypes/{self.device_type}",
            display_name=self.display_name,
            description=self.description,
            is_gateway=self.is_gateway,
            default_encoding=self.default_encoding,
            expected_interval_s=self.expected_interval_s,
            metrics=[
                pb.DeviceTypeMetric(metric=entry.metric, min_value=entry.min_value, max_value=entry.max_value)
                for entry in entries
            ],
            etag=self.etag,
        )


def read_types(paths: list[str]) -> list[tuple[str, pb.DeviceType]]:
    """Types with where each came from; `-` is standard input (YAML or JSON), a folder stands for its files.

    Raises: CommandError naming the file and the key.
    """
    found = []
    for source in paths:
        for name, text, suffix in _texts(source):
            for at, document in enumerate(_documents(name, text, suffix)):
                where = f"{name}, document {at + 1}" if at else name
                try:
                    found.append((where, msgspec.convert(document, type=TypeFile).message()))
                except (msgspec.ValidationError, ValueError) as exc:
                    raise CommandError(f"{where}: {exc}", ExitCode.USAGE) from exc
    if not found:
        raise CommandError(f"no device type in {', '.join(paths)}", ExitCode.USAGE)
    return found


def _texts(source: str) -> list[tuple[str, str, str]]:
    if source == "-":
        return [("standard input", sys.stdin.read(), ".yaml")]
    path = Path(source)
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES) if path.is_dir() else [path]
    texts = []
    for file in files:
        if file.suffix not in _SUFFIXES:
            raise CommandError(f"{file}: not a {', '.join(_SUFFIXES)} file", ExitCode.USAGE)
        try:
            texts.append((str(file), file.read_text(encoding="utf-8"), file.suffix))
        except (OSError, UnicodeDecodeError) as exc:
            raise CommandError(f"cannot read {file}: {exc}", ExitCode.USAGE) from exc
    return texts


def _documents(name: str, text: str, suffix: str) -> list[Any]:
    try:
        if suffix == ".toml":
            return [tomllib.loads(text)]
        if suffix == ".json":
            documents = json.loads(text)
            return documents if isinstance(documents, list) else [documents]
        loaded = [document for document in yaml.safe_load_all(text) if document is not None]
        return loaded[0] if len(loaded) == 1 and isinstance(loaded[0], list) else loaded
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, yaml.YAMLError) as exc:
        raise CommandError(f"{name} is not valid {suffix[1:].upper()}: {exc}", ExitCode.USAGE) from exc
