"""Files of documents: YAML (one or several documents), TOML or JSON; a folder stands for its files."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

from cli.errors import CommandError, ExitCode

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
        return [("standard input", sys.stdin.read(), ".yaml")]
    path = Path(source)
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES) if path.is_dir() else [path]
    texts = []
    for file in files:
        if file.suffix not in SUFFIXES:
            raise CommandError(f"{file}: not a {', '.join(SUFFIXES)} file", ExitCode.USAGE)
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
    except RecursionError as exc:
        raise CommandError(f"{name}: nested too deeply", ExitCode.USAGE) from exc
