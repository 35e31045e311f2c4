"""The store that benches of the operations centre run on: filled, in a folder that stays or goes."""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from loadtest.fill.__main__ import Plan, add_arguments, bring_up_to_now, plan_of


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Which folder, and what fills it. `make bench FOLDER=` tells it by the environment."""
    kept = os.environ.get("FOLDER")
    parser.add_argument(
        "--data", type=Path, default=Path(kept) if kept else None, help="folder that is kept, and taken up again"
    )
    add_arguments(parser)


@contextlib.contextmanager
def filled(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Iterator[tuple[Path, Plan]]:
    """The folder, and what is in it. Ends the program if there is no room."""
    with _folder(options.data) as folder:
        try:
            plan = plan_of(options, folder)
        except ValueError as exc:
            parser.error(str(exc))
        bring_up_to_now(folder, plan, options.limit)
        yield folder, plan


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """A folder that stays, or one that goes."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
