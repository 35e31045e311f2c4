"""Files of documents: YAML (one or several documents), TOML or JSON; a folder stands for its files."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from cli.errors import CommandError, ExitCode

# Read whole, and as values it takes many times as much.
MAX_BYTES = 64 << 20
# What is not repeated by aliases has a character for each value at least.
MAX_EXPANSION = 20
SUFFIXES = (".yaml", ".yml", ".toml", ".json")


def read_documents(paths: list[str]) -> list[tuple[str, Any]]:
    """Documents with where each came from; `-` is standard input (YAML or JSON).

    A file that is one list has each of its entries as a document. Raises: CommandError naming the file.
    """
    found = []
    for source in paths:
        for name, text, suffix in _texts(source):
            for at, document in enumerate(_documents(name, text, suffix)):
                found.append((f"{name}, document {at + 1}" if at else name, document))
    return found


def _texts(source: str) -> list[tuple[str, str, str]]:
    if source == "-":
        return [("standard input", _text("standard input", sys.stdin.buffer), ".yaml")]
    path = Path(source)
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES) if path.is_dir() else [path]
    texts = []
    for file in files:
        if file.suffix not in SUFFIXES:
            raise CommandError(f"{file}: not a {', '.join(SUFFIXES)} file", ExitCode.USAGE)
        try:
            with file.open("rb") as opened:
                texts.append((str(file), _text(str(file), opened), file.suffix))
        except OSError as exc:
            raise CommandError(f"cannot read {file}: {exc}", ExitCode.USAGE) from exc
    return texts


def _text(name: str, source: BinaryIO) -> str:
    read = source.read(MAX_BYTES + 1)
    if len(read) > MAX_BYTES:
        said, remedy = f"{name} is larger than {MAX_BYTES >> 20} MiB", "`cityfleet import` takes devices of any number"
        raise CommandError(said, ExitCode.USAGE, remedy)
    try:
        return read.decode()
    except UnicodeDecodeError as exc:
        raise CommandError(f"{name} is not UTF-8, from byte {exc.start} on", ExitCode.USAGE) from exc


def _documents(name: str, text: str, suffix: str) -> list[Any]:
    try:
        if suffix == ".toml":
            return [tomllib.loads(text)]
        if suffix == ".json":
            documents = json.loads(text)
            return documents if isinstance(documents, list) else [documents]
        loaded = [document for document in yaml.safe_load_all(text) if document is not None]
        if _is_larger(loaded, MAX_EXPANSION * len(text)):
            raise CommandError(f"{name}: its aliases make it many times as large as it is", ExitCode.USAGE)
        return loaded[0] if len(loaded) == 1 and isinstance(loaded[0], list) else loaded
    except (ValueError, yaml.YAMLError) as exc:  # of TOML and JSON; of YAML for a date that is none
        raise CommandError(f"{name} is not valid {suffix[1:].upper()}: {exc}", ExitCode.USAGE) from exc
    except RecursionError as exc:
        raise CommandError(f"{name}: nested too deeply", ExitCode.USAGE) from exc


def _is_larger(documents: list[Any], limit: int) -> bool:
    """Whether there are more values in them; some lines of aliases can stand for billions, or for themselves."""
    waiting, seen = list(documents), 0
    while waiting and seen <= limit:
        value = waiting.pop()
        seen += 1
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return seen > limit
