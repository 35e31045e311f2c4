"""Fuzzes one target in this process, which may crash: `python -m tests.fuzz.child TARGET ...`, started by runner.py.

Before each run the input is put where the parent can read it when this process is no more.
"""

import argparse
import importlib
import mmap
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.mutator import MAX_BYTES, Mutator

HEAD = struct.Struct("<QI")


class Current:
    """A mapped file: how many runs there were, and the input of the one that is running."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.runs = 0

    def begin(self, data: bytes) -> None:
        self.runs += 1
        self._map[HEAD.size : HEAD.size + len(data)] = data
        self._map[: HEAD.size] = HEAD.pack(self.runs, len(data))


def create(path: Path) -> None:
    path.write_bytes(bytes(HEAD.size + MAX_BYTES))


def read(path: Path) -> tuple[int, bytes]:
    """Runs, and the input of the last one."""
    data = path.read_bytes()
    runs, size = HEAD.unpack_from(data)
    return runs, data[HEAD.size : HEAD.size + size]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--current", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("mutator", "atheris"), default="mutator")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--repeat", type=Path)
    arguments = parser.parse_args()
    if arguments.engine == "atheris":
        _atheris(arguments)
        return
    module = importlib.import_module(f"tests.fuzz.{arguments.target}")
    current = Current(arguments.current)
    if arguments.repeat:
        _run(module.fuzz_one, current, arguments.repeat.read_bytes())
        return
    mutator = Mutator(module.CORPUS, arguments.seed)
    end = time.monotonic() + arguments.seconds
    # The corpus itself is always run.
    while current.runs < len(module.CORPUS) or time.monotonic() < end:
        _run(module.fuzz_one, current, mutator.next())


def _run(fuzz_one: Callable[[bytes], None], current: Current, data: bytes) -> None:
    data = data[:MAX_BYTES]
    current.begin(data)
    fuzz_one(data)


def _atheris(arguments: argparse.Namespace) -> None:
    """Guided by the coverage of the Python side, which is the twins that the extensions are compared with."""
    import atheris

    with atheris.instrument_imports(include=["tests"]):
        module = importlib.import_module(f"tests.fuzz.{arguments.target}")
    current = Current(arguments.current)
    arguments.corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(module.CORPUS):
        (arguments.corpus / f"given-{number}").write_bytes(data)
    options = [
        f"-max_total_time={max(1, round(arguments.seconds))}",
        f"-seed={arguments.seed}",
        f"-max_len={MAX_BYTES}",
        "-rss_limit_mb=0",  # the parent watches it
        "-timeout=0",
        "-verbosity=0",
        "-print_final_stats=0",
        f"-artifact_prefix={arguments.current.parent}/atheris-{arguments.target}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(arguments.corpus)], lambda data: _run(module.fuzz_one, current, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
