"""A store that has its schema already: made once for all tests of a process, copied where a new one is to start.

Migrations, views and reference data cost more than the rest of a start. Their own tests apply them to engines of their
own; a store that starts within `forkserver.executed()` makes them anew too.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_START_S = 100.0


@contextlib.contextmanager
def made() -> Iterator[Path]:
    """The folder of a store that was started and stopped. It takes some seconds."""
    with tempfile.TemporaryDirectory(prefix="store-template-") as folder:
        _make(Path(folder))
        yield Path(folder) / "store"


def _make(folder: Path) -> None:
    own = {"LISTEN__PORT": "0", "HTTP__PORT": "0", "ROLLUP__ENABLED": "false"}
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CITYFLEET_")}
    places = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto' / 'gen'}"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "store", "--data", str(folder)],
            cwd=ROOT,
            env=environ | places | {f"CITYFLEET_STORE__{key}": value for key, value in own.items()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + _START_S
        while not (folder / "run" / "store.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"the template of stores did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)
        process.terminate()
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def plant(template: Path, arguments: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
    """Where the role of a store would begin with nothing it finds the template's copy."""
    if arguments[:1] != ["store"] or (len(arguments) > 1 and not arguments[1].startswith("-")):
        return
    data = _data_folder(arguments, environ)
    if data is None:
        return
    place = folder / data / "store"
    if place.exists():
        return
    draft = place.with_name("store.copied")
    shutil.copytree(template, draft, symlinks=True)
    draft.rename(place)


def _data_folder(arguments: Sequence[str], environ: Mapping[str, str]) -> Path | None:
    given = dict(itertools.pairwise(arguments))
    if "--data" in given:
        return Path(given["--data"])
    if "CITYFLEET_DATA_DIR" in environ:
        return Path(environ["CITYFLEET_DATA_DIR"])
    config = given.get("--config") or environ.get("CITYFLEET_CONFIG")
    if config is None:
        return None
    found = tomllib.loads(Path(config).read_text(encoding="utf-8")).get("data_dir")
    return Path(found) if isinstance(found, str) else None
